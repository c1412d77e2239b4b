//! A mount namespace of one test's own, and what is mounted in it.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guestd_sdk::testkit::{Settings, TestKit};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

/// Names the test that this process was started for.
const MARK: &str = "GUESTD_PRIVATE_TEST";
/// What the tests here need.
const PROGRAMS: [&str; 7] = ["unshare", "mount", "losetup", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "btrfs"];

/// Runs a program and expects it to succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// A directory in memory that stands in for the guest, in a mount namespace of this process's own.
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// In the test's first process: runs the test `name` again, in a new namespace, and returns `None`. In that
    /// second process: the place.
    pub fn private(name: &str) -> Option<Self> {
        if std::env::var_os(MARK).is_some_and(|test| test == name) {
            return Some(Self::new());
        }
        if let Err(why) = can_be_private() {
            guestd_sdk::testkit::skip(&why);
            return None;
        }
        let again = std::env::current_exe().unwrap();
        let done = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(again)
            .args(["--exact", name, "--nocapture", "--test-threads", "1"])
            .env(MARK, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{said}");
        assert!(said.contains("1 passed"), "the test did not run: {said}");
        for line in said.lines().filter(|line| line.starts_with("skipped: ")) {
            eprintln!("{line}");
        }
        None
    }

    fn new() -> Self {
        // The machine sees an empty directory; what is in it is in memory and in this namespace.
        let root = tempfile::Builder::new().prefix("guestd-storage-").tempdir().unwrap().keep();
        run("mount", &["-t", "tmpfs", "none", root.to_str().unwrap()]);
        let place = Self { root };
        for directory in ["mnt", "images", "proc/self", "run/guestd"] {
            place.make_dir(directory);
        }
        symlink("/sys", place.at("sys")).unwrap();
        symlink("/dev", place.at("dev")).unwrap();
        symlink("/proc/diskstats", place.at("proc/diskstats")).unwrap();
        place
    }

    /// The path of something in it.
    pub fn at(&self, path: &str) -> String {
        self.root.join(path).to_str().unwrap().to_owned()
    }

    pub fn make_dir(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.root.join("images").join(name.replace('/', "-"))
    }

    /// Makes a file system in an image and mounts it as `mnt/NAME`.
    pub fn mount(&self, kind: &str, name: &str, options: &[&str]) {
        let image = self.image(name);
        // xfs and btrfs accept no less than 300 and 110 MiB.
        File::create(&image).unwrap().set_len(if kind == "ext4" { 64 << 20 } else { 400 << 20 }).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()]);
        self.make_dir(&format!("mnt/{name}"));
        let target = self.at(&format!("mnt/{name}"));
        let arguments = [&["-o", "loop"], options, &[image.to_str().unwrap(), target.as_str()]].concat();
        run("mount", &arguments);
    }

    /// The loop device of an image.
    pub fn loop_device(&self, name: &str) -> String {
        let image = self.image(name);
        let said = run("losetup", &["--noheadings", "--output", "NAME", "--associated", image.to_str().unwrap()]);
        said.lines().next().unwrap().trim().to_owned()
    }

    /// The set, for which the guest is this directory as it is mounted now.
    pub fn kit(&self, config: Value) -> TestKit {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = format!(" {}/mnt/", self.root.display());
        let ours = table.lines().filter(|line| line.contains(&below));
        let lines: String = ours.map(|line| format!("{}\n", line.replacen(&below, " /mnt/", 1))).collect();
        assert!(!lines.is_empty());
        fs::write(self.at("proc/self/mountinfo"), lines).unwrap();
        self.kit_for(config, &self.root)
    }

    /// The set, for which the guest is this namespace with the machine's own file systems in it. To look at, not to
    /// trim!
    pub fn kit_of_namespace(&self) -> TestKit {
        self.kit_for(json!({}), Path::new("/"))
    }

    fn kit_for(&self, config: Value, root: &Path) -> TestKit {
        let mut config = config;
        config.as_object_mut().unwrap().insert("rehearsal".to_owned(), json!(root));
        let facts = json!({"run-dir": self.at("run/guestd")});
        TestKit::start_with(guestd_storage::plugin_module(), Settings { config, facts }).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Failing leaves an empty directory behind; the mounts go with the namespace.
        let _ = Command::new("umount").arg("--lazy").arg(&self.root).status();
        let _ = fs::remove_dir(&self.root);
    }
}

fn can_be_private() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for program in PROGRAMS {
        if !directories.iter().any(|directory| directory.join(program).exists()) {
            return Err(format!("{program} is not installed"));
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there are no loop devices".to_owned());
    }
    let tried = Command::new("unshare").args(["--mount", "true"]).status();
    if tried.is_ok_and(|status| status.success()) { Ok(()) } else { Err("no mount namespace can be made".to_owned()) }
}

/// A FUSE file system whose server never answers: what a dead server of any network file system looks like.
pub struct DeadServer(Option<File>);

impl DeadServer {
    /// One that a block device stands behind.
    pub fn mount_block(place: &Place, name: &str) -> Option<Self> {
        let image = place.image(name);
        File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let device = run("losetup", &["--find", "--show", image.to_str().unwrap()]);
        let server = Self::mount(place, name, "fuseblk", device.trim(), ",blksize=512");
        // The mount keeps it for as long as it needs it.
        run("losetup", &["--detach", device.trim()]);
        server
    }

    /// One without.
    pub fn mount_network(place: &Place, name: &str) -> Option<Self> {
        Self::mount(place, name, "fuse", "server:/export", "")
    }

    fn mount(place: &Place, name: &str, kind: &str, source: &str, more: &str) -> Option<Self> {
        let Ok(server) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
            guestd_sdk::testkit::not_here("there is no /dev/fuse");
            return None;
        };
        // The kernel takes the connection by the number of the descriptor in the process that mounts.
        fcntl_setfd(&server, FdFlags::empty()).unwrap();
        place.make_dir(&format!("mnt/{name}"));
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0{more}", server.as_raw_fd());
        run("mount", &["-i", "-t", kind, "-o", &options, source, &place.at(&format!("mnt/{name}"))]);
        fcntl_setfd(&server, FdFlags::CLOEXEC).unwrap();
        Some(Self(Some(server)))
    }

    /// How many requests the kernel has for the server now. They are read and never answered.
    pub fn requests(&mut self) -> usize {
        let server = self.0.as_mut().unwrap();
        let flags = fcntl_getfl(&*server).unwrap();
        fcntl_setfl(&*server, flags | OFlags::NONBLOCK).unwrap();
        let mut request = vec![0; 1 << 20];
        (0..).take_while(|_| server.read(&mut request).is_ok()).count()
    }

    /// Everything that waits for it fails now.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

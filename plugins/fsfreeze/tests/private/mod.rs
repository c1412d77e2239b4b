//! A place where freezing for real harms nobody: a mount namespace of its own, whose root is a copy in memory and in
//! which no file system of the machine is mounted.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Set inside, to the directory in which everything is made.
const INSIDE: &str = "GUESTD_FSFREEZE_PRIVATE";

/// The root becomes an overlay over the machine's, with its changes in memory, and the machine's own mounts go.
const PRIVATE_ROOT: &str = r#"
set -e
mount --make-rprivate /
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for dir in proc sys dev; do mount --rbind "/$dir" "$1/root/$dir"; done
cd "$1/root"
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
"#;

/// Runs a test in such a place, in a process of its own. `name`: the test's, by which that process finds it.
/// Says so and returns where the machine does not let it.
pub fn privately(name: &str, test: impl FnOnce(&Path)) {
    match std::env::var_os(INSIDE) {
        Some(base) => inside(Path::new(&base), test),
        None => outside(name),
    }
}

fn outside(name: &str) {
    if let Err(why) = possible() {
        guestd_sdk::testkit::skip(&format!("{name}: {why}"));
        return;
    }
    let base = TempDir::new_in("/dev/shm").unwrap();
    let mut command = Command::new("unshare");
    command.arg("-m").arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(INSIDE, base.path());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "in its private root: {}", String::from_utf8_lossy(&said));
}

fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root".to_owned());
    }
    for program in ["unshare", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "fsfreeze", "losetup"] {
        if Command::new(program).arg("--version").output().is_err() && Command::new(program).arg("-V").output().is_err()
        {
            return Err(format!("there is no {program}"));
        }
    }
    let mounted = Command::new("unshare").args(["-m", "true"]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return Err("no mount namespace can be made".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there are no loop devices".to_owned());
    }
    Ok(())
}

fn inside(base: &Path, test: impl FnOnce(&Path)) {
    sh_in(base, &format!("set -- '{}'\n{PRIVATE_ROOT}", base.display()));
    std::env::set_current_dir("/").unwrap();
    assert_eq!(device_mounts(), Vec::<PathBuf>::new(), "the machine's own file systems are still in sight");
    let result = panic::catch_unwind(AssertUnwindSafe(|| test(base)));
    // A file system that stays frozen would outlive the namespace.
    for point in device_mounts() {
        let _ = Command::new("fsfreeze").arg("-u").arg(point).output();
    }
    if let Err(panic) = result {
        panic::resume_unwind(panic);
    }
}

/// The table of mounts, as far as it is text.
pub fn mounts() -> String {
    String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").unwrap()).into_owned()
}

/// The mount points of everything on a block device, without escapes: tests name theirs plainly.
pub fn device_mounts() -> Vec<PathBuf> {
    let table = mounts();
    let on_device = |line: &&str| {
        let fields: Vec<&str> = line.split(' ').collect();
        !fields[2].starts_with("0:") || line.contains(" - btrfs ")
    };
    table.lines().filter(on_device).map(|line| line.split(' ').nth(4).unwrap().into()).collect()
}

/// Runs shell lines in a directory; they must succeed.
pub fn sh_in(dir: &Path, lines: &str) {
    let output = Command::new("sh").arg("-ec").arg(lines).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}: {}: {said}", output.status);
}

/// Whether FIFREEZE by another program finds a file system frozen already.
pub fn is_frozen(point: &Path) -> bool {
    let freezes = |flag: &str| Command::new("fsfreeze").arg(flag).arg(point).output().unwrap().status.success();
    if !freezes("-f") {
        return true;
    }
    assert!(freezes("-u"));
    false
}

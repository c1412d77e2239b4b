//! A root of its own for a case that freezes, trims or shuts down.
//!
//! The process moves into a mount namespace whose root is an overlay kept in memory.
//! No file system on a block device is mounted there, so that even an agent which
//! freezes everything in sight cannot freeze the machine; and the programs that could
//! stop the machine do nothing.  Every step is checked before the next one relies on it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::pivot_root;

/// Programs that could stop the machine or set its clock.
const STOPPERS: [&str; 6] = ["poweroff", "halt", "reboot", "shutdown", "hwclock", "systemctl"];
/// Where they may be.
const PROGRAM_DIRS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    point: PathBuf,
    kind: String,
    options: String,
}

/// The private root; when dropped, what has been mounted in it since is thawed and
/// taken away.
pub struct PrivateRoot {
    /// The mounts that there were at the start.
    first: Vec<u64>,
}

impl PrivateRoot {
    /// Move this process, which must have one thread, into a private root that is
    /// kept in `base`, a directory in memory.
    pub fn enter(base: &Path) -> Result<PrivateRoot> {
        let kind = statfs(base).with_context(|| format!("{}", base.display()))?.filesystem_type();
        ensure!(kind == TMPFS_MAGIC, "{} is not in memory", base.display());
        let outside = namespace()?;
        unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace can be had")?;
        ensure!(namespace()? != outside, "still in the machine's mount namespace");
        build(base).context("no private root can be made")?;
        let mounts = mounts()?;
        check(&mounts, base)?;
        disable_stoppers()?;
        Ok(PrivateRoot { first: mounts.iter().map(|mount| mount.id).collect() })
    }
}

impl Drop for PrivateRoot {
    fn drop(&mut self) {
        let mounts = match mounts() {
            Ok(mounts) => mounts,
            Err(err) => return eprintln!("cannot thaw anything: {err:#}"),
        };
        // The last one first, since it may hide another one at the same place.
        for mount in mounts.iter().rev().filter(|mount| !self.first.contains(&mount.id)) {
            thaw(&mount.point);
            if let Err(err) = umount2(&mount.point, MntFlags::MNT_DETACH) {
                eprintln!("cannot unmount {}: {err}", mount.point.display());
            }
        }
    }
}

/// What tells one mount namespace from another.
fn namespace() -> Result<PathBuf> {
    fs::read_link("/proc/self/ns/mnt").context("/proc/self/ns/mnt")
}

fn build(base: &Path) -> Result<()> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("mounts cannot be made private")?;
    let [upper, work, root] = [".up", ".work", ".root"].map(|name| base.join(name));
    for directory in [&upper, &work, &root] {
        fs::create_dir(directory).with_context(|| format!("{}", directory.display()))?;
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(layers.as_str())).context("overlay")?;
    for tree in ["/proc", "/sys", "/dev"] {
        let place = root.join(tree.trim_start_matches('/'));
        mount(Some(tree), &place, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).context(tree)?;
    }
    std::env::set_current_dir(&root).context("new root")?;
    fs::create_dir(".old").context("place of the old root")?;
    pivot_root(".", ".old").context("pivot_root")?;
    std::env::set_current_dir("/").context("new root")?;
    umount2("/.old", MntFlags::MNT_DETACH).context("old root")?;
    fs::remove_dir("/.old").context("place of the old root")
}

/// Refuse to go on unless the root is the overlay in `base` and nothing of the
/// machine's disks is mounted.
fn check(mounts: &[Mount], base: &Path) -> Result<()> {
    let upper = format!("upperdir={}", base.join(".up").display());
    let root = mounts.iter().rfind(|mount| mount.point == Path::new("/")).context("no root")?;
    let is_ours = root.options.split(',').any(|option| option == upper);
    ensure!(root.kind == "overlay" && is_ours, "the root is no overlay in {}", base.display());
    let diskless = diskless_kinds()?;
    let on_disk = |mount: &&Mount| !mount.device.starts_with("0:") || !diskless.contains(&mount.kind);
    if let Some(mount) = mounts.iter().find(on_disk) {
        bail!("still mounted in the private root: {} ({})", mount.point.display(), mount.kind);
    }
    Ok(())
}

/// The kinds of file systems that need no block device.
fn diskless_kinds() -> Result<Vec<String>> {
    let list = fs::read_to_string("/proc/filesystems").context("/proc/filesystems")?;
    let kinds = list.lines().filter_map(|line| line.strip_prefix("nodev"));
    Ok(kinds.map(|kind| kind.trim().to_owned()).collect())
}

/// Put something harmless in the place of what stops the machine.  Only to be called
/// after [`check`].
fn disable_stoppers() -> Result<()> {
    for name in STOPPERS {
        for directory in PROGRAM_DIRS {
            let path = Path::new(directory).join(name);
            if path.symlink_metadata().is_ok() {
                fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
            }
        }
        let path = Path::new("/usr/sbin").join(name);
        symlink("/bin/false", &path).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

fn mounts() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    text.lines().map(|line| read_mount(line).with_context(|| format!("mount `{line}`"))).collect()
}

fn read_mount(line: &str) -> Option<Mount> {
    let (fields, source) = line.split_once(" - ")?;
    let mut fields = fields.split(' ');
    let mut source = source.split(' ');
    Some(Mount {
        id: fields.next()?.parse().ok()?,
        device: fields.nth(1)?.to_owned(),
        point: unescape(fields.nth(1)?),
        kind: source.next()?.to_owned(),
        options: source.next_back()?.to_owned(),
    })
}

/// Undo the octal escapes of `/proc/self/mountinfo`.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

mod ioctl {
    nix::ioctl_readwrite!(fithaw, b'X', 120, nix::libc::c_int);
}

/// Thaw the file system at a mount point of the case, however often it was frozen.
fn thaw(point: &Path) {
    let Ok(directory) = File::open(point) else { return };
    let mut unused = 0;
    for _ in 0..8 {
        // SAFETY: FITHAW takes no argument, the descriptor is open for the whole call,
        // and the pointer is that of a live local integer.
        if unsafe { ioctl::fithaw(directory.as_raw_fd(), &raw mut unused) }.is_err() {
            return; // It is not frozen, or cannot be.
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Mount, check, read_mount};
    use std::path::Path;

    const BASE: &str = "/dev/shm/ga-1";
    const ROOT: &str = "9 1 0:50 / / rw - overlay overlay rw,lowerdir=/,upperdir=/dev/shm/ga-1/.up,workdir=/w";

    fn verdict(lines: &[&str]) -> Result<(), String> {
        let mounts: Vec<Mount> = lines.iter().map(|line| read_mount(line).unwrap()).collect();
        check(&mounts, Path::new(BASE)).map_err(|err| err.to_string())
    }

    #[test]
    fn lines_are_read_with_and_without_optional_fields() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,a=b";
        let mount = read_mount(line).unwrap();
        assert_eq!((mount.id, mount.device.as_str()), (36, "98:0"));
        assert_eq!(mount.point, Path::new("/mnt 2"));
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("ext3", "rw,a=b"));
    }

    #[test]
    fn only_memory_backed_mounts_are_accepted() {
        assert_eq!(verdict(&[ROOT, "10 9 0:22 / /proc rw - proc proc rw"]), Ok(()));
        let disk = "11 9 254:0 / /home rw - ext4 /dev/vda rw";
        assert!(verdict(&[ROOT, disk]).unwrap_err().contains("/home"));
        // The device number of btrfs looks like that of a file system in memory.
        let btrfs = "11 9 0:40 / /data rw - btrfs /dev/vdb rw";
        assert!(verdict(&[ROOT, btrfs]).unwrap_err().contains("/data"));
    }

    #[test]
    fn the_root_must_be_the_overlay_of_this_case() {
        assert!(verdict(&["1 0 254:0 / / rw - ext4 /dev/vda rw"]).is_err());
        assert!(verdict(&[&ROOT.replace("ga-1", "ga-2")]).is_err());
        assert!(verdict(&[ROOT, "12 9 0:60 / / rw - tmpfs none rw"]).is_err());
        assert!(verdict(&[]).is_err());
    }
}

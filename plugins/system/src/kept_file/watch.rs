//! The kernel's word that nothing has happened to a file, nor to the way to it: cheaper than any look at it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fs::inotify::{self, WatchFlags};
use rustix::fs::statfs;
use rustix::time::Timespec;

use super::{RAMFS_MAGIC, TMPFS_MAGIC};

/// Changed whenever something is mounted or unmounted, which inotify(7) does not tell.
const MOUNTS: &str = "/proc/self/mountinfo";

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The file systems that tell inotify(7) of every change, since each is made through this kernel; their `f_type` of
/// statfs(2). Not among them are those of servers and of the host (NFS, virtiofs), and the kernel's own (procfs).
const TELLING: [u32; 12] = [
    0x0000_EF53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    TMPFS_MAGIC,
    RAMFS_MAGIC,
    0x794C_7630, // overlayfs
    0x7371_7368, // squashfs
    0xE0F5_E1E2, // erofs
    0xF2F5_2010, // f2fs
    0x2FC1_2FC1, // zfs
    0xCA45_1A4E, // bcachefs
    0x0000_9660, // iso9660
];

/// Notes what happens to files. One that has noted something is of no more use.
pub(super) struct Watch {
    all: OwnedFd,
    // Closed together with what looks at them.
    _files: OwnedFd,
    _mounts: File,
}

impl Watch {
    /// Watches the candidates and the ways to them, up to the first that is a regular file. May wait for a disk. Fails
    /// where there are no more watches to have, and on file systems that do not tell of every change.
    pub fn on(candidates: &[PathBuf]) -> io::Result<Self> {
        let files = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mounts = File::open(MOUNTS)?;
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&all, &files, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        epoll::add(&all, &mounts, epoll::EventData::new_u64(1), epoll::EventFlags::PRI)?;
        for path in candidates {
            if watch_way(&files, path)? {
                break;
            }
        }
        Ok(Self { all, _files: files, _mounts: mounts })
    }

    /// Whether nothing has happened. Never waits.
    pub fn is_quiet(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.all, spare_capacity(&mut events), Some(&now)).is_ok_and(|count| count == 0)
    }
}

/// Watches a file and all that is on the way to it, links followed by hand. Returns whether it leads to a regular file.
fn watch_way(files: &OwnedFd, path: &Path) -> io::Result<bool> {
    let mut at = PathBuf::from("/");
    let mut rest: Vec<OsString> = steps(path);
    let mut links = 0;
    while let Some(step) = rest.pop() {
        match Path::new(&step).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                let Some(kind) = watch_step(files, &at, &next)? else { return Ok(false) };
                if kind.is_symlink() {
                    links += 1;
                    if links > MOST_LINKS {
                        return Ok(false);
                    }
                    rest.extend(steps(&fs::read_link(&next)?));
                } else if rest.is_empty() {
                    return Ok(kind.is_file());
                } else {
                    at = next;
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

/// The components of a path, the first at the end.
fn steps(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|component| component.as_os_str().to_owned()).collect()
}

/// Watches what is at `path`, or for what comes to be there, and returns its type.
fn watch_step(files: &OwnedFd, parent: &Path, path: &Path) -> io::Result<Option<fs::FileType>> {
    let gone = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::DONT_FOLLOW;
    let look = || match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    };
    if look()?.is_none() {
        add(files, parent, gone | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    }
    // Something may have come before the watch.
    let Some(kind) = look()? else { return Ok(None) };
    // A directory would also tell of what is done to everything in it.
    let changed = if kind.is_dir() { WatchFlags::empty() } else { WatchFlags::MODIFY | WatchFlags::ATTRIB };
    add(files, path, gone | changed)?;
    Ok(Some(kind))
}

fn add(files: &OwnedFd, path: &Path, events: WatchFlags) -> io::Result<()> {
    let kind = statfs(path.parent().unwrap_or(path))?.f_type as u32;
    if !TELLING.contains(&kind) {
        return Err(io::Error::other(format!("{} is on a file system that does not tell of changes", path.display())));
    }
    inotify::add_watch(files, path, events | WatchFlags::MASK_ADD)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A way over a directory and three links to `real/file`, and a candidate before it that is not there.
    struct Way {
        directory: tempfile::TempDir,
        watch: Watch,
    }

    impl Way {
        fn new() -> Option<Self> {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            fs::create_dir_all(root.join("real/first")).unwrap();
            fs::write(root.join("real/file"), "text").unwrap();
            symlink("real", root.join("one")).unwrap();
            symlink("../one/./first/../file", root.join("real/two")).unwrap();
            symlink(root.join("one/two"), root.join("three")).unwrap();
            match Watch::on(&[root.join("real/first/none"), root.join("three")]) {
                Ok(watch) => Some(Self { directory, watch }),
                Err(error) => {
                    guestd_sdk::testkit::not_here(&error.to_string());
                    None
                }
            }
        }
    }

    fn replace(path: PathBuf) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, "text")?;
        fs::rename(new, path)
    }

    #[test]
    fn every_change_on_the_way_is_noted() {
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, Change); 9] = [
            ("content", |root| fs::write(root.join("real/file"), "other")),
            ("mode", |root| fs::set_permissions(root.join("real/file"), fs::Permissions::from_mode(0o600))),
            ("replaced", |root| replace(root.join("real/file"))),
            ("removed", |root| fs::remove_file(root.join("real/file"))),
            ("link replaced", |root| replace(root.join("one"))),
            ("second link replaced", |root| replace(root.join("real/two"))),
            ("third link removed", |root| fs::remove_file(root.join("three"))),
            ("directory moved", |root| fs::rename(root.join("real"), root.join("other"))),
            ("first candidate made", |root| fs::write(root.join("real/first/none"), "")),
        ];
        for (name, change) in changes {
            let Some(way) = Way::new() else { return };
            assert!(way.watch.is_quiet(), "{name}");
            change(way.directory.path()).unwrap();
            assert!(!way.watch.is_quiet(), "{name}");
        }
    }

    #[test]
    fn what_happens_beside_the_way_is_not_noted() {
        let Some(way) = Way::new() else { return };
        let root = way.directory.path();
        fs::write(root.join("other"), "").unwrap();
        fs::write(root.join("real/other"), "").unwrap();
        fs::read(root.join("three")).unwrap();
        assert!(way.watch.is_quiet());
    }

    #[test]
    fn a_way_that_never_ends_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("loop");
        symlink("loop", &path).unwrap();
        let Ok(watch) = Watch::on(&[path]) else { return };
        assert!(watch.is_quiet());
    }

    #[test]
    fn a_file_system_that_does_not_tell_is_not_watched() {
        assert!(Watch::on(&[PathBuf::from("/proc/self/stat")]).is_err());
    }
}

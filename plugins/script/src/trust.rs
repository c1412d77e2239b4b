//! Which programs may be run: those that nobody can exchange who could not do without the daemon what the program does.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use guestd_sdk::errno_text;

/// How many symbolic links a path may have, as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// Mode bits, as in inode(7).
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Checks a program's path: the file, every directory on the way and every link in them belongs to one of
/// `owners` or root, and nobody else may write to it. In a directory with the sticky bit others may write, since they cannot
/// exchange what is not theirs. The error is a sentence that names the place.
pub(crate) fn check(path: &Path, owners: &[u32]) -> Result<(), String> {
    let mut todo: VecDeque<OsString> = components(path);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    check_one(&here, &read(&here)?, owners)?;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(name);
        let metadata = read(&next)?;
        check_one(&next, &metadata, owners)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(format!("'{}' has too many symbolic links", path.display()));
            }
            let target = fs::read_link(&next).map_err(|error| cannot_read(&next, &error))?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            for component in components(&target).into_iter().rev() {
                todo.push_front(component);
            }
        } else if metadata.is_dir() {
            here = next;
        } else if metadata.is_file() && todo.is_empty() {
            return Ok(());
        } else {
            return Err(format!("'{}' is no regular file", next.display()));
        }
    }
    Err(format!("'{}' is a directory", here.display()))
}

fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn read(path: &Path) -> Result<Metadata, String> {
    fs::symlink_metadata(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("'{}' cannot be looked at: {}", path.display(), errno_text(error))
}

fn check_one(path: &Path, metadata: &Metadata, owners: &[u32]) -> Result<(), String> {
    let (owner, mode) = (metadata.uid(), metadata.mode());
    if owner != 0 && !owners.contains(&owner) {
        return Err(format!("'{}' is owned by user {owner}, who could change it", path.display()));
    }
    let is_safe = metadata.is_symlink() || (metadata.is_dir() && mode & STICKY != 0);
    if mode & WRITABLE_BY_OTHERS != 0 && !is_safe {
        return Err(format!("'{}' can be written by others (mode {:04o})", path.display(), mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A directory with the program `bin/program` and a way to ask about paths in it.
    fn with_program() -> (tempfile::TempDir, impl Fn(&str) -> Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/program"), "").unwrap();
        set_mode(dir.path(), 0o755);
        set_mode(&dir.path().join("bin"), 0o755);
        set_mode(&dir.path().join("bin/program"), 0o755);
        let root = dir.path().to_owned();
        (dir, move |path| check(&root.join(path), &[geteuid().as_raw()]))
    }

    #[test]
    fn a_program_that_only_its_owner_can_change_is_trusted() {
        let (dir, check) = with_program();
        symlink("bin/../bin", dir.path().join("link")).unwrap();
        symlink(dir.path().join("link/program"), dir.path().join("bin/absolute")).unwrap();
        for path in ["bin/program", "bin/./program", "bin/../bin/program", "link/program", "bin/absolute"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_others_can_change_is_not() {
        let (dir, check) = with_program();
        let fails = |path: &str, words: &str| {
            let error = check(path).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        for mode in [0o775, 0o757] {
            for path in ["bin", "bin/program"] {
                let path = dir.path().join(path);
                set_mode(&path, mode);
                fails("bin/program", &format!("'{}' can be written by others (mode 0{mode:o})", path.display()));
                set_mode(&path, 0o755);
            }
        }
        fs::create_dir(dir.path().join("open")).unwrap();
        symlink("../bin", dir.path().join("open/link")).unwrap();
        symlink("open/link", dir.path().join("link")).unwrap();
        set_mode(&dir.path().join("open"), 0o777);
        fails("open/link/program", "/open' can be written by others");
        fails("link/program", "/open' can be written by others");
        set_mode(&dir.path().join("open"), 0o1777);
        assert_eq!(check("link/program"), Ok(()));
        if geteuid().is_root() {
            for path in ["open/link", "bin", "bin/program"] {
                let path = dir.path().join(path);
                std::os::unix::fs::lchown(&path, Some(4242), None).unwrap();
                fails("link/program", &format!("'{}' is owned by user 4242, who could change it", path.display()));
                std::os::unix::fs::lchown(&path, Some(0), None).unwrap();
            }
            chown(dir.path().join("bin/program"), Some(4242), None).unwrap();
            assert_eq!(super::check(&dir.path().join("bin/program"), &[4242]), Ok(()));
        }
    }

    #[test]
    fn what_is_no_program_is_named() {
        let (dir, check) = with_program();
        symlink("loop", dir.path().join("loop")).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), kind, mode, 0).unwrap();
        for (path, words) in [
            ("bin", "/bin' is a directory"),
            ("bin/program/x", "/bin/program' is no regular file"),
            ("bin/none", "/bin/none' cannot be looked at: No such file or directory"),
            ("loop", "has too many symbolic links"),
            ("fifo", "/fifo' is no regular file"),
        ] {
            let error = check(path).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

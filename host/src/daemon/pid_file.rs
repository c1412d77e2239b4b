//! The pid file of a daemon in the background.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use guestd_guest::trust::Trust;
use guestd_sdk::errno_text;
use nix::fcntl::{Flock, FlockArg};

/// How often the file is opened anew, since a daemon that ends has removed it meanwhile.
const TRIES: usize = 10;

/// A file with the number of this process, locked for as long as this lives, so that a second daemon does not start beside it.
/// It is removed at the end.
pub struct PidFile {
    /// Absolute: the daemon changes its directory.
    path: PathBuf,
    file: Flock<File>,
}

impl PidFile {
    /// Writes the file, with mode 0600 if it is new, and locks it. What others could have put in its place is an error, and
    /// so is a lock that another process holds.
    pub fn write(path: &Path) -> Result<Self, String> {
        let failed =
            |error: &io::Error| format!("the pid file {} cannot be written: {}", path.display(), errno_text(error));
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        for _ in 0..TRIES {
            let file = Trust::of_agent().writable(&path, 0o600);
            let file = file.map_err(|error| format!("the pid file {} {}", path.display(), error.about(&path)))?;
            let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                .map_err(|_| format!("the pid file {} is locked: another daemon runs", path.display()))?;
            // A daemon that ends may have removed the file since it was opened.
            if !is(&file, fs::metadata(&path)) {
                continue;
            }
            let write = |file: &mut File| {
                file.set_len(0)?;
                file.write_all(format!("{}\n", process::id()).as_bytes())
            };
            write(&mut file).map_err(|error| failed(&error))?;
            return Ok(Self { path, file });
        }
        Err(format!("the pid file {} is exchanged all the time", path.display()))
    }
}

impl Drop for PidFile {
    /// Removes the file, unless another has taken its place.
    fn drop(&mut self) {
        if is(&self.file, fs::symlink_metadata(&self.path))
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("the pid file {} cannot be removed: {}", self.path.display(), errno_text(&error));
        }
    }
}

/// Whether what was found is a file that is open.
fn is(file: &File, found: io::Result<Metadata>) -> bool {
    let identity = |found: Metadata| (found.dev(), found.ino());
    match (file.metadata(), found) {
        (Ok(open), Ok(found)) => identity(open) == identity(found),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_file_is_private_locked_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = PidFile::write(&path).map(drop).unwrap_err();
        assert!(second.ends_with("is locked: another daemon runs"), "{second}");
        drop(file);
        assert!(!path.exists());
        // One that a daemon has left behind, which was killed.
        fs::write(&path, "123456789\n").unwrap();
        drop(PidFile::write(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_the_daemons_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("pid"), dir.path().join("target"));
        let file = PidFile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        fs::write(&target, "kept").unwrap();
        fs::remove_file(&path).unwrap();
        // A link of one's own leads to the file, and stays.
        symlink(&target, &path).unwrap();
        drop(PidFile::write(&path).unwrap());
        assert_eq!(fs::read_to_string(&target).unwrap(), format!("{}\n", process::id()));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}

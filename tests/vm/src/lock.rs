//! One virtual machine at a time: several would starve each other on two processors.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{Flock, FlockArg};

use crate::Error;

/// Held while a machine lives; other tests, threads and processes alike, wait for it.
#[derive(Debug)]
pub(crate) struct BootLock {
    _file: Flock<File>,
}

impl BootLock {
    /// Waits until no other machine of this user runs.
    pub(crate) fn take() -> Result<Self, Error> {
        let uid = std::fs::metadata("/proc/self").map_or(0, |data| data.uid());
        let path = std::env::temp_dir().join(format!("guestd-vm-{uid}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(format!("opening {}", path.display())))?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| std::io::Error::from(error));
        Ok(Self { _file: locked.map_err(Error::io(format!("locking {}", path.display())))? })
    }
}

//! The files that clients have open, by their handles.
//!
//! The table's own lock is held only to look something up, never over a system call. Each file has a lock of its own,
//! which a call takes for as long as it lasts and no other call waits for: a file on a dead server makes calls on its
//! own handle fail, and no others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use guestd_guest::descriptors;
use guestd_sdk::locks::Locks;
use guestd_sdk::prelude::*;

use crate::open_file::OpenFile;

/// The section `[plugins.file]` of the configuration.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// How many handles may be open at a time.
    max_open: NonZeroU32,
}

impl Default for Options {
    fn default() -> Self {
        // Half of the 1024 descriptors that a process may have by default (systemd.exec(5), "LimitNOFILE").
        Self { max_open: const { NonZeroU32::new(512).unwrap() } }
    }
}

/// How many calls at a time may open files of one mount: as many hang if its server is gone, and no more.
const MAX_OPENING: usize = 3;

/// The state of the set.
pub struct Files {
    /// The mounts, by their numbers, on which files are being opened.
    pub(crate) opening: Locks<u64>,
    table: Mutex<Table>,
    max_open: AtomicUsize,
    /// What the permissions of new files lack.
    pub(crate) umask: u32,
}

/// A file under its lock; `None`: it has been closed.
type Shared = Arc<Mutex<Option<OpenFile>>>;

#[derive(Default)]
struct Table {
    open: HashMap<i64, Shared>,
    /// How many calls are about to open a file.
    opening: usize,
}

/// The right to open one more file.
pub struct Slot<'f>(&'f Files);

impl Files {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let max_open = max_open(daemon)?;
        Ok(Self {
            opening: Locks::new(MAX_OPENING),
            table: Mutex::default(),
            max_open: max_open.into(),
            umask: daemon.facts().umask,
        })
    }

    /// Takes a changed limit over. Handles above it stay open.
    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        ctx.state.max_open.store(max_open(ctx)?, Ordering::Relaxed);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to open one more file; `Err` is the limit that has been reached.
    pub fn reserve(&self) -> Result<Slot<'_>, usize> {
        let limit = self.max_open.load(Ordering::Relaxed);
        let mut table = self.table();
        if table.open.len() + table.opening >= limit {
            return Err(limit);
        }
        table.opening += 1;
        Ok(Slot(self))
    }

    /// Runs `body` on the file of a handle. Fails if there is none, or if another call is using it.
    pub fn with<T>(
        &self,
        handle: i64,
        body: impl FnOnce(&mut OpenFile) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let shared = self.table().open.get(&handle).cloned();
        let shared = shared.ok_or_else(|| not_found(handle))?;
        let mut file = try_lock(&shared, handle)?;
        body(file.as_mut().ok_or_else(|| not_found(handle))?)
    }

    /// Whether a call could use the handle now; the error is the one that it would get.
    pub fn check(&self, handle: i64) -> Result<(), CommandError> {
        let table = self.table();
        let shared = table.open.get(&handle).ok_or_else(|| not_found(handle))?;
        try_lock(shared, handle).map(drop)
    }

    /// Takes the file out of the table: the handle is gone, whatever becomes of the file.
    pub fn take(&self, handle: i64) -> Result<OpenFile, CommandError> {
        let mut table = self.table();
        let Entry::Occupied(entry) = table.open.entry(handle) else { return Err(not_found(handle)) };
        let file = try_lock(entry.get(), handle)?.take();
        entry.remove();
        file.ok_or_else(|| not_found(handle))
    }
}

impl Slot<'_> {
    /// Lists a file under its handle.
    pub fn insert(self, handle: i64, file: OpenFile) {
        self.0.table().open.insert(handle, Arc::new(Mutex::new(Some(file))));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.table().opening -= 1;
    }
}

fn try_lock(shared: &Shared, handle: i64) -> Result<MutexGuard<'_, Option<OpenFile>>, CommandError> {
    match shared.try_lock() {
        Ok(file) => Ok(file),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(CommandError::new(format!("handle '{handle}' is in use by a call that has not returned")))
        }
    }
}

fn not_found(handle: i64) -> CommandError {
    CommandError::new(format!("handle '{handle}' has not been found"))
}

/// The limit that the configuration asks for, as far as the process may have that many descriptors.
fn max_open(daemon: &Daemon) -> Result<usize, CommandError> {
    let wanted = u64::from(daemon.config::<Options>()?.max_open.get());
    let possible = descriptors::for_a_set()?;
    if wanted > possible {
        daemon.log(
            guestd_sdk::LogLevel::Warn,
            format_args!("max-open is {wanted}, but the limit on descriptors leaves room for {possible} files"),
        );
    }
    Ok(usize::try_from(wanted.min(possible))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_file::Origin;
    use std::fs::File;

    fn files(max_open: usize) -> Files {
        Files { opening: Locks::new(MAX_OPENING), table: Mutex::default(), max_open: max_open.into(), umask: 0o022 }
    }

    fn insert(files: &Files, handle: i64) {
        let file = OpenFile::new(File::open("/dev/null").unwrap()).unwrap();
        files.reserve().ok().unwrap().insert(handle, file);
    }

    #[test]
    fn a_handle_in_use_fails_at_once_and_others_work() {
        let files = files(9);
        insert(&files, 1);
        insert(&files, 2);
        let busy = "handle '1' is in use by a call that has not returned";
        let answer = files.with(1, |_| {
            assert_eq!(files.with(1, |_| Ok(())).unwrap_err().desc(), busy);
            assert_eq!(files.check(1).unwrap_err().desc(), busy);
            assert_eq!(files.take(1).err().unwrap().desc(), busy);
            files.check(2)?;
            files.with(2, |file| Ok(file.seek(0, Origin::Set)?))?;
            files.take(2)?.close()?;
            Ok(7)
        });
        assert_eq!(answer.unwrap(), 7);
        files.check(1).unwrap();
        assert_eq!(files.check(2).unwrap_err().desc(), "handle '2' has not been found");
    }

    #[test]
    fn a_call_that_panicked_leaves_the_handle_usable() {
        let files = files(9);
        insert(&files, 1);
        let call =
            std::panic::AssertUnwindSafe(|| files.with(1, |_| -> Result<(), CommandError> { panic!("on purpose") }));
        assert!(std::panic::catch_unwind(call).is_err());
        files.check(1).unwrap();
        files.take(1).unwrap().close().unwrap();
    }

    #[test]
    fn files_that_are_being_opened_count() {
        let files = files(3);
        insert(&files, 1);
        let (second, third) = (files.reserve().ok().unwrap(), files.reserve().ok().unwrap());
        assert_eq!(files.reserve().err(), Some(3));
        drop(second);
        let fourth = files.reserve().ok().unwrap();
        assert_eq!(files.reserve().err(), Some(3));
        drop((third, fourth));
        insert(&files, 2);
        insert(&files, 3);
        assert_eq!(files.reserve().err(), Some(3));
        files.take(2).unwrap().close().unwrap();
        insert(&files, 4);
    }
}

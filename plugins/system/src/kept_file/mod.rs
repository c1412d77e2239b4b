//! A small file of the guest that is at hand without waiting for its disk.
//!
//! [`KeptFile::get`] never waits, and returns what the file says now:
//!
//! * As long as `watch` has the kernel's word that nothing has happened, that is what was read last.
//! * Else `look` compares and reads the file, out of the kernel's caches only.
//! * Where that cannot be done it returns what the file said last, and a thread reads it for the next time. So a disk
//!   that has gone does not matter.

mod look;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use look::{Look, Stamp, nanoseconds};
use watch::Watch;

/// The stamps of files move on with the kernel's tick, which takes 10 ms at most: a file that was changed more
/// recently than this, in nanoseconds, may be changed again without another stamp.
const UNSETTLED: i128 = 100_000_000;

/// The `f_type` of file systems that are in memory only: statfs(2).
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58F6;

/// A value made from a file's content.
pub(crate) struct KeptFile<T>(Arc<Shared<T>>);

struct Shared<T> {
    candidates: Vec<PathBuf>,
    limit: u64,
    derive: fn(&[u8]) -> T,
    known: Mutex<Known<T>>,
    /// A thread is at the file.
    refreshing: AtomicBool,
    /// The file can be watched, as far as is known.
    watchable: AtomicBool,
}

struct Known<T> {
    state: State,
    value: Arc<T>,
    /// Since before the file was read.
    watch: Option<Watch>,
}

/// What there was to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None of the candidates.
    Absent,
    /// This file.
    File(Stamp),
    /// A file that may have changed since, or none that could be read.
    Unsettled,
}

impl<T: Send + Sync + 'static> KeptFile<T> {
    /// Reads the first of `candidates` that is a regular file, and makes a value of its content, of nothing where there is
    /// none. Of a file of more than `limit` bytes it is the first `limit`. May wait for a disk.
    pub(crate) fn new(candidates: Vec<PathBuf>, limit: u64, derive: fn(&[u8]) -> T) -> Self {
        let known = Known { state: State::Unsettled, value: Arc::new(derive(&[])), watch: None };
        let shared = Shared {
            candidates,
            limit,
            derive,
            known: Mutex::new(known),
            refreshing: AtomicBool::new(false),
            watchable: AtomicBool::new(true),
        };
        shared.refresh_and_watch();
        Self(Arc::new(shared))
    }

    /// The value of the file as it is now, or as it was when it could last be read. Never waits.
    pub(crate) fn get(&self) -> Arc<T> {
        if let Some(value) = self.0.watched() {
            return value;
        }
        let found = self.0.find(Look::CachedOnly).is_ok_and(|found| {
            let state = found.map_or(State::Absent, |(_, stamp)| State::File(stamp));
            state == self.0.known().state || self.0.refresh(Look::CachedOnly, None).is_ok()
        });
        if !found || self.0.watchable.load(Ordering::Relaxed) {
            self.refresh_later();
        }
        Arc::clone(&self.0.known().value)
    }

    /// Has a thread read and watch the file, unless one is already at it.
    fn refresh_later(&self) {
        if self.0.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new().name("refresh".to_owned()).spawn(move || {
            shared.refresh_and_watch();
            shared.refreshing.store(false, Ordering::Release);
        });
        if started.is_err() {
            self.0.refreshing.store(false, Ordering::Release);
        }
    }
}

impl<T> Shared<T> {
    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if nothing has happened since it was made.
    fn watched(&self) -> Option<Arc<T>> {
        let mut known = self.known();
        if known.watch.as_ref()?.is_quiet() {
            return Some(Arc::clone(&known.value));
        }
        known.watch = None;
        None
    }

    fn refresh_and_watch(&self) {
        let watch = if self.watchable.load(Ordering::Relaxed) { Watch::on(&self.candidates).ok() } else { None };
        self.watchable.store(watch.is_some(), Ordering::Relaxed);
        // What cannot be read now may be at the next call.
        let _ = self.refresh(Look::Waiting, watch);
    }

    /// Reads the file and takes over what it says.
    fn refresh(&self, look: Look, watch: Option<Watch>) -> io::Result<()> {
        let (state, content) = match self.find(look)? {
            None => (State::Absent, Vec::new()),
            Some((path, _)) => {
                let (stamp, content) = look.read(path, self.limit)?;
                (state_of(stamp), content)
            }
        };
        let value = Arc::new((self.derive)(&content));
        *self.known() = Known { state, value, watch };
        Ok(())
    }

    /// The first candidate that can be read.
    fn find(&self, look: Look) -> Result<Option<(&Path, Stamp)>, Errno> {
        for path in &self.candidates {
            if let Some(stamp) = look.at(path)? {
                return Ok(Some((path, stamp)));
            }
        }
        Ok(None)
    }
}

fn state_of(stamp: Stamp) -> State {
    let now = clock_gettime(ClockId::Realtime);
    let settled = stamp.changed < nanoseconds(now.tv_sec, now.tv_nsec) - UNSETTLED;
    if settled { State::File(stamp) } else { State::Unsettled }
}

#[cfg(test)]
mod tests;

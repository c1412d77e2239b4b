//! A small file of the guest that is at hand without waiting for its disk.
//!
//! [`KeptFile::get`] never waits. It asks the kernel whether the file is still the one that was read, and reads it
//! anew where it is not, but only out of the kernel's caches: openat2(2) with `RESOLVE_CACHED`, statx(2) with
//! `AT_STATX_DONT_SYNC`, preadv2(2) with `RWF_NOWAIT`. Where something is not there (or the kernel, before 5.12, or the
//! file system cannot say so) it returns what the file said last, and a thread reads the file for the next time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, open, openat2, statx};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::time::{ClockId, clock_gettime};

/// The stamps of files move on with the kernel's tick, which takes 10 ms at most: a file that was changed more
/// recently than this, in nanoseconds, may be changed again without another stamp.
const UNSETTLED: i128 = 100_000_000;

/// A value made from a file's content.
pub(crate) struct KeptFile<T>(Arc<Shared<T>>);

struct Shared<T> {
    candidates: Vec<PathBuf>,
    limit: u64,
    derive: fn(&[u8]) -> T,
    known: Mutex<Known<T>>,
    refreshing: AtomicBool,
}

struct Known<T> {
    state: State,
    value: Arc<T>,
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

/// Which file it is and when it was changed, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

/// Whether a look at a file may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Waiting,
    CachedOnly,
}

impl<T: Send + Sync + 'static> KeptFile<T> {
    /// Reads the first of `candidates` that is a regular file of at most `limit` bytes, and makes a value of its
    /// content, of nothing where there is no such file. May wait for a disk.
    pub(crate) fn new(candidates: Vec<PathBuf>, limit: u64, derive: fn(&[u8]) -> T) -> Self {
        let known = Mutex::new(Known { state: State::Unsettled, value: Arc::new(derive(&[])) });
        let shared = Arc::new(Shared { candidates, limit, derive, known, refreshing: AtomicBool::new(false) });
        shared.refresh(Access::Waiting);
        Self(shared)
    }

    /// The value of the file as it is now, or of as it was when it could last be read. Never waits.
    pub(crate) fn get(&self) -> Arc<T> {
        let found =
            self.0.find(Access::CachedOnly).map(|found| found.map_or(State::Absent, |(_, stamp)| State::File(stamp)));
        let known = self.0.known();
        if found == Ok(known.state) {
            return Arc::clone(&known.value);
        }
        drop(known);
        if found.is_err() || !self.0.refresh(Access::CachedOnly) {
            self.refresh_later();
        }
        Arc::clone(&self.0.known().value)
    }

    /// Has a thread read the file, unless one is already at it.
    fn refresh_later(&self) {
        if self.0.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new().name("refresh".to_owned()).spawn(move || {
            shared.refresh(Access::Waiting);
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

    /// Reads the file and takes over what it says. Returns whether that was possible.
    fn refresh(&self, access: Access) -> bool {
        let Ok(found) = self.find(access) else { return false };
        let (state, content) = match found {
            None => (State::Absent, Vec::new()),
            Some((path, _)) => match self.read(path, access) {
                Ok(read) => read,
                Err(_) => return false,
            },
        };
        let value = Arc::new((self.derive)(&content));
        *self.known() = Known { state, value };
        true
    }

    /// The first candidate that can be read.
    fn find(&self, access: Access) -> Result<Option<(&Path, Stamp)>, Errno> {
        for path in &self.candidates {
            match open_with(path, OFlags::PATH, access) {
                Ok(file) => {
                    if let Some(stamp) = self.stamp(&file, access)? {
                        return Ok(Some((path, stamp)));
                    }
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(&self, path: &Path, access: Access) -> io::Result<(State, Vec<u8>)> {
        let file = open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, access)?;
        // Before the content, so that a change in between shows.
        let stamp = self.stamp(&file, access)?.ok_or(Errno::AGAIN)?;
        let content = read_at_most(file, self.limit, access)?;
        let now = clock_gettime(ClockId::Realtime);
        let settled = stamp.changed < nanoseconds(now.tv_sec, now.tv_nsec) - UNSETTLED;
        Ok((if settled { State::File(stamp) } else { State::Unsettled }, content))
    }

    /// The stamp of a file that is regular and not too large.
    fn stamp(&self, file: &OwnedFd, access: Access) -> Result<Option<Stamp>, Errno> {
        let (mode, stamp) = match access {
            Access::Waiting => stamp_of(file)?,
            Access::CachedOnly => cached_stamp_of(file)?,
        };
        let fits = FileType::from_raw_mode(mode) == FileType::RegularFile && stamp.size <= self.limit;
        Ok(fits.then_some(stamp))
    }
}

fn open_with(path: &Path, flags: OFlags, access: Access) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    match access {
        Access::Waiting => open(path, flags, Mode::empty()),
        Access::CachedOnly => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED),
    }
}

fn stamp_of(file: &OwnedFd) -> Result<(u32, Stamp), Errno> {
    let stat = fstat(file)?;
    let stamp = Stamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size.try_into().unwrap_or(u64::MAX),
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    };
    Ok((stat.st_mode, stamp))
}

fn cached_stamp_of(file: &OwnedFd) -> Result<(u32, Stamp), Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, "", flags, StatxFlags::BASIC_STATS)?;
    let stamp = Stamp {
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        size: stat.stx_size,
        modified: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    };
    Ok((stat.stx_mode.into(), stamp))
}

fn nanoseconds(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> i128 {
    seconds.into() * 1_000_000_000 + nanoseconds.into()
}

fn read_at_most(file: OwnedFd, limit: u64, access: Access) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match access {
        Access::Waiting => {
            io::Read::read_to_end(&mut io::Read::take(File::from(file), limit), &mut content)?;
        }
        Access::CachedOnly => {
            let mut piece = [0; 4096];
            while let read @ 1.. = read_cached(file.as_fd(), &mut piece, content.len() as u64)? {
                content.extend_from_slice(piece.get(..read).unwrap_or_default());
                if content.len() as u64 > limit {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
            }
        }
    }
    Ok(content)
}

fn read_cached(file: impl AsFd, into: &mut [u8], at: u64) -> Result<usize, Errno> {
    preadv2(file, &mut [io::IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;

    fn kept(candidates: &[&Path]) -> KeptFile<String> {
        let candidates = candidates.iter().map(|path| path.to_path_buf()).collect();
        KeptFile::new(candidates, 10_000, |content| String::from_utf8_lossy(content).into_owned())
    }

    /// Asks until the answer is this; after a change a file system without `RWF_NOWAIT` takes one call more.
    fn becomes(file: &KeptFile<String>, expected: &str) {
        let since = Instant::now();
        while *file.get() != expected {
            assert!(since.elapsed() < Duration::from_secs(20), "{} instead of {expected}", file.get());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_kept_follows_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        let file = kept(&[&first, &second]);
        becomes(&file, "");
        fs::write(&second, "two").unwrap();
        becomes(&file, "two");
        for text in ["a", "b", "c"] {
            fs::write(&first, text).unwrap();
            becomes(&file, text);
        }
        fs::write(directory.path().join("new"), "d").unwrap();
        fs::rename(directory.path().join("new"), &first).unwrap();
        becomes(&file, "d");
        fs::write(&first, vec![b'x'; 10_001]).unwrap();
        becomes(&file, "two");
        fs::write(&first, vec![b'x'; 10_000]).unwrap();
        becomes(&file, &"x".repeat(10_000));
        fs::remove_file(&first).unwrap();
        fs::create_dir(&first).unwrap();
        becomes(&file, "two");
        fs::remove_file(&second).unwrap();
        becomes(&file, "");
    }

    #[test]
    fn a_file_that_has_settled_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "text").unwrap();
        let file = kept(&[&path]);
        while SystemTime::now().duration_since(fs::metadata(&path).unwrap().modified().unwrap()).unwrap().as_nanos()
            < UNSETTLED as u128
        {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(file.0.refresh(Access::Waiting));
        assert!(matches!(file.0.known().state, State::File(_)));
        if open_with(&path, OFlags::PATH, Access::CachedOnly).is_err() {
            eprintln!("skipped: openat2(2) knows no RESOLVE_CACHED here");
            return;
        }
        let before = file.get();
        assert!(Arc::ptr_eq(&before, &file.get()));
    }

    #[test]
    fn a_file_that_cannot_be_read_without_waiting_is_read_by_a_thread() {
        // procfs knows no RWF_NOWAIT, and nothing in it settles.
        let file = kept(&[Path::new("/proc/self/stat")]);
        file.0.known().value = Arc::new("old".to_owned());
        file.0.known().state = State::Unsettled;
        assert_eq!(*file.get(), "old");
        let since = Instant::now();
        while *file.get() == "old" {
            assert!(since.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_fifo_and_a_device_are_no_files() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(*kept(&[&fifo, Path::new("/dev/zero")]).get(), "");
    }
}

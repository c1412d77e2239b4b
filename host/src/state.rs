//! What outlives the daemon: numbers that were given out, and that a freeze is under way.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use guestd_guest::trust::Trust;
use guestd_sdk::errno_text;

/// qemu-ga's file for its counter.
const STATE_FILE: &str = "qga.state";
/// qemu-ga's marker for a freeze.
const FROZEN_FILE: &str = "qga.state.isfrozen";
/// Numbers are reserved on disk this many at a time, so that a disk that is full for a while does not stop them.
const RESERVE: u64 = 64;

/// The state directory.
pub struct State {
    dir: PathBuf,
    counters: Mutex<BTreeMap<String, Counter>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counter {
    next: u64,
    /// The file says that all numbers below this are taken.
    reserved: u64,
}

impl State {
    /// Opens the state in `dir`, which is made if `make` says so. A state file that is damaged is replaced, with a warning;
    /// its numbers then go on from the time in seconds, which is ahead of any count. A disk that is full, read-only or broken is
    /// a warning: what needs it is refused until it can be written. Fails where others could write to the directory or the file.
    pub fn open(dir: &Path, make: bool) -> Result<Self, String> {
        if make {
            let made = DirBuilder::new().mode(0o700).create(dir);
            if let Err(error) = made
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(format!("the state directory {} cannot be made: {}", dir.display(), errno_text(&error)));
            }
        }
        let trust = Trust::of_agent();
        trust.directory(dir).map_err(|error| format!("the state directory {} {}", dir.display(), error.about(dir)))?;
        let path = dir.join(STATE_FILE);
        let counters = match trust.text(&path) {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                tracing::warn!("{} is damaged and is replaced", path.display());
                damaged()
            }),
            Err(error) if error.is_absent() => BTreeMap::new(),
            Err(error) if error.is_about_content() => {
                tracing::warn!("{} is damaged and is replaced", path.display());
                damaged()
            }
            Err(error) => return Err(format!("{} {}", path.display(), error.about(&path))),
        };
        let state = Self { dir: dir.to_owned(), counters: Mutex::new(counters) };
        match state.try_save(&state.lock(), Exact(false)) {
            Err(error) if is_of_the_disk(&error) => {
                tracing::warn!("{}; what needs it is refused until it can be", cannot_be_written(&path, &error))
            }
            written => written.map_err(|error| cannot_be_written(&path, &error))?,
        }
        Ok(state)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes `count` numbers under `name`; see [`guestd_abi::Host::take_numbers`].
    pub fn take_numbers(&self, name: &str, first: u64, count: u32) -> Result<u64, String> {
        let count = u64::from(count);
        let mut counters = self.lock();
        let floor = counters.get(DAMAGED).map_or(first, |counter| counter.next.max(first));
        let old = counters.get(name).copied();
        let mut counter = old.unwrap_or(Counter { next: floor, reserved: floor });
        let taken = counter.next;
        counter.next = taken.checked_add(count).ok_or("there are no more numbers")?;
        if counter.next > counter.reserved {
            counter.reserved = counter.next.saturating_add(RESERVE);
            counters.insert(name.to_owned(), counter);
            if let Err(error) = self.save(&counters, Exact(false)) {
                match old {
                    Some(old) => counters.insert(name.to_owned(), old),
                    None => counters.remove(name),
                };
                return Err(error);
            }
        } else {
            counters.insert(name.to_owned(), counter);
        }
        Ok(taken)
    }

    /// Gives back what was reserved and not used: the daemon ends.
    pub fn close(&self) {
        if let Err(error) = self.save(&self.lock(), Exact(true)) {
            tracing::warn!("{error}");
        }
    }

    /// Marks that the set called `owner` freezes file systems.
    pub fn mark_frozen(&self, owner: &str) -> Result<(), String> {
        self.write(FROZEN_FILE, &format!("owner={owner}\nboot={}\n", boot_id()))
            .map_err(|error| cannot_be_written(&self.dir.join(FROZEN_FILE), &error))
    }

    /// Removes that mark.
    pub fn unmark_frozen(&self) -> Result<(), String> {
        match fs::remove_file(self.dir.join(FROZEN_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{} cannot be removed: {}", self.dir.join(FROZEN_FILE).display(), errno_text(&error)))
            }
            _ => Ok(()),
        }
    }

    /// The set that a daemon before this one froze file systems with and did not get to thaw; empty where it is not
    /// known, as for qemu-ga's own mark or one that cannot be read. A mark from before the guest's start is removed.
    pub fn frozen_by(&self) -> Option<String> {
        let text = match Trust::of_agent().text(&self.dir.join(FROZEN_FILE)) {
            Err(error) if error.is_absent() => return None,
            // To thaw what is not frozen harms nobody.
            text => text.inspect_err(|error| tracing::warn!("{error}")).unwrap_or_default(),
        };
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        if value("boot").is_some_and(|boot| boot != boot_id()) {
            if let Err(error) = self.unmark_frozen() {
                tracing::warn!("{error}");
            }
            return None;
        }
        Some(value("owner").unwrap_or_default().to_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, counters: &BTreeMap<String, Counter>, exact: Exact) -> Result<(), String> {
        self.try_save(counters, exact).map_err(|error| cannot_be_written(&self.dir.join(STATE_FILE), &error))
    }

    fn try_save(&self, counters: &BTreeMap<String, Counter>, exact: Exact) -> io::Result<()> {
        let mut text = "[global]\n".to_owned();
        for (name, counter) in counters {
            text += &format!("{name}={}\n", if exact.0 { counter.next } else { counter.reserved });
        }
        self.write(STATE_FILE, &text)
    }

    /// Replaces a file as a whole: a kill in between leaves the old one.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let write = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
            options.open(&new)?.write_all(text.as_bytes())?;
            fs::rename(&new, &path)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

fn cannot_be_written(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {}", path.display(), errno_text(error))
}

/// Whether a disk is full, read-only or broken, which passes, and not the directory's owner at fault.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
        || error.raw_os_error() == Some(nix::libc::EIO)
}

/// Whether the file is to say what was given out, rather than what is reserved.
#[derive(Clone, Copy)]
struct Exact(bool);

/// The entry under which a damaged file leaves the number that all counters go on from.
const DAMAGED: &str = "after_damage";

fn damaged() -> BTreeMap<String, Counter> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    BTreeMap::from([(DAMAGED.to_owned(), Counter { next: now, reserved: now })])
}

/// Reads the state file: a group and `name=number` lines. `None` where it is anything else.
fn parse(text: &str) -> Option<BTreeMap<String, Counter>> {
    let mut counters = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        let (name, number) = line.split_once('=')?;
        let number = number.trim().parse().ok()?;
        counters.insert(name.trim().to_owned(), Counter { next: number, reserved: number });
    }
    Some(counters)
}

/// What tells this run of the kernel from others (proc(5), /proc/sys/kernel/random/boot_id).
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> State {
        State::open(dir, false).unwrap()
    }

    #[test]
    fn numbers_grow_over_restarts_and_crashes() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        assert_eq!(state.take_numbers("fd_counter", 1000, 1), Ok(1000));
        assert_eq!(state.take_numbers("fd_counter", 1000, 2), Ok(1001));
        assert_eq!(state.take_numbers("other", 1, 1), Ok(1));
        state.close();
        let state = open(dir.path());
        assert_eq!(state.take_numbers("fd_counter", 1000, 1), Ok(1003), "after a clean end");
        drop(state);
        let next = open(dir.path()).take_numbers("fd_counter", 1000, 1).unwrap();
        assert!(next > 1003, "after a crash: {next}");
    }

    #[test]
    fn the_file_of_qemu_ga_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATE_FILE), "[global]\nfd_counter=1234\n").unwrap();
        assert_eq!(open(dir.path()).take_numbers("fd_counter", 1000, 1), Ok(1234));
    }

    #[test]
    fn a_damaged_file_is_replaced_and_no_number_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        for damage in [b"nonsense".as_slice(), b"\xFF\xFE", b"[global]\nfd_counter=x\n"] {
            fs::write(dir.path().join(STATE_FILE), damage).unwrap();
            let number = open(dir.path()).take_numbers("fd_counter", 1000, 1).unwrap();
            assert!(number > 1_000_000_000, "{number}");
        }
    }

    #[test]
    fn numbers_last_for_a_while_when_nothing_can_be_written_and_then_fail() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        assert_eq!(state.take_numbers("n", 1, 1), Ok(1));
        // A directory in the way of the new file stops root as well.
        fs::create_dir(dir.path().join("qga.state.new")).unwrap();
        let mut last = 1;
        let error = loop {
            match state.take_numbers("n", 1, 1) {
                Ok(number) => last = number,
                Err(error) => break error,
            }
        };
        assert_eq!(last, 1 + RESERVE);
        assert!(error.contains("cannot be written"), "{error}");
        fs::remove_dir(dir.path().join("qga.state.new")).unwrap();
        assert_eq!(state.take_numbers("n", 1, 1), Ok(last + 1));
    }

    #[test]
    fn the_mark_of_a_freeze_is_for_this_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        assert_eq!(state.frozen_by(), None);
        state.mark_frozen("fsfreeze").unwrap();
        assert_eq!(state.frozen_by().as_deref(), Some("fsfreeze"));
        state.unmark_frozen().unwrap();
        state.unmark_frozen().unwrap();
        let mark = dir.path().join(FROZEN_FILE);
        fs::write(&mark, "owner=fsfreeze\nboot=another\n").unwrap();
        assert_eq!(state.frozen_by(), None);
        assert!(!mark.exists());
        fs::write(&mark, "").unwrap();
        assert_eq!(state.frozen_by().as_deref(), Some(""), "qemu-ga's mark is empty");
    }
}

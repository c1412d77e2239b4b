//! What outlives a crash of the agent: the plan of a freeze that is under way, and what the host has not been told.
//!
//! Both are small JSON files in a directory in memory, which can be written whatever is frozen, and are replaced by
//! rename, so that a reader finds the old text or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock, statfs};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58F6];

const PLAN: &str = "fsfreeze.plan";
const NOTICE: &str = "fsfreeze.notice";
const LOCK: &str = "fsfreeze.lock";
/// The set `storage` holds this one while it trims.
const TRIM_LOCK: &str = "fstrim.lock";
/// How often that is looked at. It is seldom held, and nothing waits for the freeze but its client.
const TRIM_POLL: Duration = Duration::from_millis(20);

/// The format of the plan. A plan of another one is not understood.
const FORMAT: u32 = 1;

/// How far a freeze had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Hooks are run; nothing is frozen.
    Hooks,
    /// File systems are being frozen.
    Freezing,
    /// All are frozen.
    Frozen,
    /// They are being thawed.
    Thawing,
}

/// A freeze, as the next agent of this boot needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Only [`FORMAT`] is understood.
    pub format: u32,
    /// The boot that it belongs to, [`crate::clock::boot_id`].
    pub boot_id: String,
    /// How far it had come.
    pub stage: Stage,
    /// When it was begun, in seconds since 1970.
    pub started: u64,
    /// When it is to end, in milliseconds of [`crate::clock::since_boot`].
    pub lease_end_ms: Option<u64>,
    /// The file systems, in the order of freezing.
    pub mounts: Vec<RecordedMount>,
    /// The hooks, in the order of freezing.
    pub hooks: Vec<RecordedHook>,
}

/// A file system of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedMount {
    /// Its mount point, with mountinfo's escapes.
    pub point: String,
    /// Its superblock, `major:minor`.
    pub device: String,
    /// Its type.
    pub fstype: String,
}

/// A hook of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedHook {
    /// Its path, with mountinfo's escapes.
    pub path: String,
    /// Whether it is a script of the hooks directory.
    pub script: bool,
    /// Whether its freeze half was started.
    pub started: bool,
    /// Whether its thaw half has ended.
    pub thawed: bool,
}

impl Record {
    /// The format that this version writes.
    pub const FORMAT: u32 = FORMAT;
}

/// That the agent thawed on its own, which the host is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The sentence that the next thaw is answered with.
    pub text: String,
}

/// The directory in memory.
pub struct Store {
    directory: PathBuf,
}

/// That a freeze of this process is under way. The kernel gives the lock back when the process dies.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a program that is being started has it, too, until its exec.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Store {
    /// Uses a directory if it lies in memory; else says why not.
    pub fn open(directory: &Path) -> Result<Self, String> {
        let stat = statfs(directory).map_err(|errno| format!("{}: {errno}", directory.display()))?;
        // The type of the field differs between architectures; the values fit into all of them.
        #[allow(clippy::unnecessary_cast)]
        let magic = stat.f_type as i64 & 0xFFFF_FFFF;
        if !IN_MEMORY.contains(&magic) {
            return Err(format!("{} does not lie in memory", directory.display()));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Marks a freeze as under way. `None`: another living process has one.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        self.take_lock(LOCK)
    }

    /// Waits for `guest-fstrim` to end, but no longer than `patience`, and keeps it from beginning. `None`: it goes on.
    pub fn lock_out_trim(&self, patience: Duration) -> io::Result<Option<Lock>> {
        let until = Instant::now() + patience;
        loop {
            let lock = self.take_lock(TRIM_LOCK)?;
            if lock.is_some() || Instant::now() >= until {
                return Ok(lock);
            }
            thread::sleep(TRIM_POLL);
        }
    }

    fn take_lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let file = options().create(true).truncate(false).open(self.directory.join(name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes the plan.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        self.write(PLAN, record)
    }

    /// Reads the plan. `None`: there is none. An error: there is one that says nothing.
    pub fn read_record(&self) -> io::Result<Option<Record>> {
        match self.read(PLAN)? {
            Some(Record { format, .. }) if format != FORMAT => Err(io::Error::other(format!("its format is {format}"))),
            record => Ok(record),
        }
    }

    /// Removes the plan.
    pub fn remove_record(&self) -> io::Result<()> {
        self.remove(PLAN)
    }

    /// Keeps what the host is to be told.
    pub fn write_notice(&self, notice: &Notice) -> io::Result<()> {
        self.write(NOTICE, notice)
    }

    /// What the host is to be told, unless it cannot be read.
    pub fn read_notice(&self) -> Option<Notice> {
        self.read(NOTICE).ok().flatten()
    }

    /// The host has been told.
    pub fn remove_notice(&self) -> io::Result<()> {
        self.remove(NOTICE)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let new = self.directory.join(format!("{name}.new"));
        let mut file = options().create(true).truncate(true).open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        fs::rename(&new, self.directory.join(name))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let path = self.directory.join(name);
        let mut file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let stat = file.metadata()?;
        // What another user could have written decides over nothing.
        if stat.uid() != rustix::process::geteuid().as_raw() || stat.mode() & 0o022 != 0 || !stat.is_file() {
            return Err(io::Error::other("it is not this user's own file"));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Some(serde_json::from_str(&text)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// A file that only its owner can use, and no link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

//! The guest's stand-in, so that no test can shut down, reboot or suspend the machine it runs on.
//!
//! With `rehearsal = "/some/directory"` in `[plugins.power]` everything that the set looks at or starts is looked for
//! below that directory (`/some/directory/usr/sbin/shutdown`, `/some/directory/sys/power/state`), and reboot(2) is
//! not called but written down. Device nodes and swap files are texts there, of the number of what they lie on:
//! `254:1` (a device), `0:40 in memory`. Without it the set does not start under the sdk's test kit at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use guestd_sdk::Daemon;
use rustix::system::RebootCommand;

use crate::hibernation::number;
use crate::machine::{Holder, Kernel};

/// The version of the daemon that the sdk's test kit plays, which no real one has.
const TEST_KIT_VERSION: &str = "0.0.0";

/// Where the calls are written down, below the rehearsal's directory: a line each.
const RECORD: &str = "system-calls";

/// Whether this daemon is a test, or does not say what it is.
pub(crate) fn is_test(daemon: &Daemon) -> bool {
    let version = daemon.facts().version;
    version.is_empty() || version == TEST_KIT_VERSION
}

/// Writes down what it is asked for.
pub(crate) struct Recorder {
    record: PathBuf,
}

impl Recorder {
    pub(crate) fn new(root: &Path) -> Self {
        Self { record: root.join(RECORD) }
    }

    fn note(&self, line: &str) -> io::Result<()> {
        let mut record = OpenOptions::new().append(true).create(true).open(&self.record)?;
        writeln!(record, "{line}")
    }
}

impl Kernel for Recorder {
    fn sync(&self) -> bool {
        self.note("sync").is_ok()
    }

    fn reboot(&self, command: RebootCommand) -> io::Result<()> {
        self.note(&format!("reboot {command:?}"))
    }
    fn holder(&self, path: &Path) -> io::Result<Holder> {
        let text = fs::read_to_string(path)?;
        let (device, in_memory) = match text.trim().strip_suffix(" in memory") {
            Some(device) => (device, true),
            None => (text.as_str(), false),
        };
        let device = number(device).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Holder { device, in_memory })
    }
}

//! The guest's stand-in, so that no test can change an account of the machine it runs on.
//!
//! With `rehearsal = "/some/directory"` in `[plugins.account]` the users are those of `/some/directory/etc/passwd`,
//! their home directories lie below `/some/directory`, and a password is not set but written down. Without it the
//! set does not start under the sdk's test kit at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guestd_sdk::{CommandError, Daemon};
use rustix::process::{Gid, Uid};

use crate::accounts::{NewPassword, Passwords};
use crate::users::{User, Users};

/// The version of the daemon that the sdk's test kit plays, which no real one has.
const TEST_KIT_VERSION: &str = "0.0.0";

/// Where passwords are written down, below the rehearsal's directory: a line each.
const RECORD: &str = "passwords";

/// Whether this daemon is a test, or does not say what it is.
pub(crate) fn is_test(daemon: &Daemon) -> bool {
    let version = daemon.facts().version;
    version.is_empty() || version == TEST_KIT_VERSION
}

/// Users of a file in the form of passwd(5).
pub(crate) struct PasswdFile {
    root: PathBuf,
}

impl PasswdFile {
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn user(&self, line: &str, name: &str) -> Option<User> {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = Gid::from_raw(fields.next()?.parse().ok()?);
        let home = self.root.join(fields.nth(1)?.trim_start_matches('/'));
        Some(User { uid: Uid::from_raw(uid), gid, groups: vec![gid], home })
    }
}

impl Users for PasswdFile {
    fn lookup(&self, name: &str) -> io::Result<Option<User>> {
        let text = fs::read_to_string(self.root.join("etc/passwd"))?;
        Ok(text.lines().find_map(|line| self.user(line, name)))
    }
}

/// Writes down the passwords it is given.
pub(crate) struct Recorder {
    record: PathBuf,
}

impl Recorder {
    pub(crate) fn below(root: &Path) -> Self {
        Self { record: root.join(RECORD) }
    }
}

impl Passwords for Recorder {
    fn set(&self, password: &NewPassword<'_>, _: Duration) -> Result<(), CommandError> {
        let mut record = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.record)?;
        let kind = if password.crypted { "crypted" } else { "plain" };
        let secret = String::from_utf8_lossy(password.secret);
        Ok(writeln!(record, "{kind} {}:{secret}", password.username)?)
    }
}

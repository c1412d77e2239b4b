//! The state of the set.

use std::time::Duration;

use guestd_sdk::locks::{Lock, Locks};
use guestd_sdk::prelude::*;
use guestd_sdk::{LogLevel, errno_text};

use crate::chpasswd::Chpasswd;
use crate::config::Config;
use crate::rehearsal::{self, PasswdFile, Recorder};
use crate::users::{NameService, User, Users};

/// What makes the difference between a guest and a test: the act after which a user has another password.
pub(crate) trait Passwords: Send + Sync {
    /// Sets the password of one user within `limit`. The error is the one for the client.
    fn set(&self, password: &NewPassword<'_>, limit: Duration) -> Result<(), CommandError>;
}

/// A password for a user.
pub(crate) struct NewPassword<'a> {
    /// The user's name, without a colon and a line feed.
    pub username: &'a str,
    /// The password, or its hash in the form of crypt(5); without a line feed and a NUL.
    pub secret: &'a [u8],
    /// Whether it is a hash.
    pub crypted: bool,
}

/// What a user is locked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserKey {
    /// The name.
    Name(String),
    /// The number.
    Number(u32),
}

/// The state of the set.
pub struct Accounts {
    users: Box<dyn Users>,
    passwords: Box<dyn Passwords>,
    /// Held by each command for its user: a home directory on a dead server, or a directory service that does not answer, holds
    /// up nobody else.
    pub(crate) locks: Locks<UserKey>,
}

impl Accounts {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let config: Config = daemon.config()?;
        let (users, passwords): (Box<dyn Users>, Box<dyn Passwords>) = match config.rehearsal {
            Some(root) => {
                daemon.log(LogLevel::Warn, format_args!("only rehearses in {}: no password is set", root.display()));
                (Box::new(PasswdFile::below(&root)), Box::new(Recorder::below(&root)))
            }
            None if rehearsal::is_test(daemon) => {
                return Err(CommandError::new("a test must not act on its own machine: configure `rehearsal`"));
            }
            None => (Box::new(NameService), Box::new(Chpasswd::installed())),
        };
        Ok(Self { users, passwords, locks: Locks::new(1) })
    }

    /// The user of that name, and the locks that keep other commands from the user meanwhile. The error has qemu-ga's words.
    pub(crate) fn user(&self, name: &str) -> Result<(User, [Lock<'_, UserKey>; 2]), CommandError> {
        // By name first: to look the user up may hang already. Two names may be one user.
        let by_name = self.lock(UserKey::Name(name.to_owned()))?;
        let user = self.look_up(name)?;
        let by_number = self.lock(UserKey::Number(user.uid.as_raw()))?;
        Ok((user, [by_name, by_number]))
    }

    /// Takes one of a user's locks.
    pub(crate) fn lock(&self, key: UserKey) -> Result<Lock<'_, UserKey>, CommandError> {
        self.locks.take(key).map_err(|held| CommandError::new(format!("another command for this user {held}")))
    }

    fn look_up(&self, name: &str) -> Result<User, CommandError> {
        let failed = |why: &dyn std::fmt::Display| CommandError::new(format!("failed to lookup user '{name}': {why}"));
        match self.users.lookup(name) {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(failed(&"there is no such user")),
            Err(error) => Err(failed(&errno_text(&error))),
        }
    }

    pub(crate) fn passwords(&self) -> &dyn Passwords {
        &*self.passwords
    }
}

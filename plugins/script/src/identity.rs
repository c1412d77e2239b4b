//! The user that a program runs as.

use std::ffi::CString;
use std::path::PathBuf;

use guestd_program::User;
use guestd_sdk::{CommandError, errno_text};
use nix::unistd::{self, getgrouplist};

/// A user.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The name.
    pub name: String,
    /// The numbers of the user and the groups.
    pub rights: User,
    /// The home directory.
    pub home: PathBuf,
}

impl Identity {
    /// Looks a user up. It may take as long as a directory service takes.
    pub fn of(name: &str) -> Result<Self, CommandError> {
        let failed = |why: &str| CommandError::new(format!("the user '{name}' cannot be looked up: {why}"));
        let c_name = CString::new(name).map_err(|_| failed("its name has a NUL in it"))?;
        let found = unistd::User::from_name(name).map_err(|error| failed(&errno_text(&error.into())))?;
        let found = found.ok_or_else(|| CommandError::new(format!("there is no user '{name}'")))?;
        let groups = getgrouplist(&c_name, found.gid).map_err(|error| failed(&errno_text(&error.into())))?;
        Ok(Self {
            name: found.name,
            rights: User {
                uid: found.uid.as_raw(),
                gid: found.gid.as_raw(),
                groups: groups.into_iter().map(|group| group.as_raw()).collect(),
            },
            home: found.dir,
        })
    }
}

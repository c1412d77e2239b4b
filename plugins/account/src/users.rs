//! Users of the guest.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd;
use rustix::process::{Gid, Uid};

/// A user, as far as files in the home directory are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's number.
    pub uid: Uid,
    /// The number of the user's own group.
    pub gid: Gid,
    /// The numbers of all groups that the user is a member of.
    pub groups: Vec<Gid>,
    /// The home directory.
    pub home: PathBuf,
}

/// Where users are known.
pub(crate) trait Users: Send + Sync {
    /// The user of that name, if there is one. It may take as long as a directory service takes.
    fn lookup(&self, name: &str) -> io::Result<Option<User>>;
}

/// The guest's own sources, in the order of nsswitch.conf(5).
pub(crate) struct NameService;

impl Users for NameService {
    fn lookup(&self, name: &str) -> io::Result<Option<User>> {
        // Not one of the library's names: it could not even be asked for.
        let Ok(c_name) = CString::new(name) else { return Ok(None) };
        let found = match unistd::User::from_name(name) {
            Ok(Some(found)) => found,
            // What getpwnam_r(3) of different libraries returns where it has not found the name; see its manual page.
            Ok(None) | Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let groups = unistd::getgrouplist(&c_name, found.gid)?;
        Ok(Some(User {
            uid: Uid::from_raw(found.uid.as_raw()),
            gid: Gid::from_raw(found.gid.as_raw()),
            groups: groups.into_iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
            home: found.dir,
        }))
    }
}

//! A file system with all its mounts, and opening it by one of them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use guestd_sdk::errno_text;
use rustix::io::Errno;

use super::mountinfo::{DeviceId, Mount};
use super::tree::Tree;
use crate::kernel::OpenError;
use crate::kernel::limited::Limited;

/// A file system with all its mounts.
pub struct Superblock {
    /// In the order of the table, but a mount at `/` first. Never empty.
    mounts: Vec<Mount>,
}

/// Why a file system cannot be opened.
pub enum Blocked {
    /// No path leads to it, for this reason: it is left out.
    Unreachable(String),
    /// The kernel, or a server on the way, has refused it, or does not answer.
    Failed(String),
}

/// Groups mounts by superblock, in the order of their first mounts.
pub fn superblocks(mounts: &[Mount]) -> Vec<Superblock> {
    let mut places = BTreeMap::new();
    let mut found: Vec<Superblock> = Vec::new();
    for mount in mounts {
        let place = *places.entry(mount.device).or_insert(found.len());
        match found.get_mut(place) {
            Some(superblock) => superblock.mounts.push(mount.clone()),
            None => found.push(Superblock { mounts: vec![mount.clone()] }),
        }
    }
    found.iter_mut().for_each(|superblock| superblock.prefer(Path::new("/")));
    found
}

impl Superblock {
    /// The mount by whose mount point it is known: the one at `/`, else the first.
    pub fn known_by(&self) -> Option<&Mount> {
        self.mounts.first()
    }

    /// Its number.
    pub fn device(&self) -> Option<DeviceId> {
        self.mounts.first().map(|mount| mount.device)
    }

    /// All its mounts.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Puts a mount at this mount point first.
    pub fn prefer(&mut self, point: &Path) {
        self.mounts.sort_by_key(|mount| mount.point != point);
    }

    /// Opens it by the first of its mounts that can be opened. Those to which no server has to show the way are tried first;
    /// where one does not answer, the others that need one are left alone.
    pub fn open(&self, kernel: &Limited, tree: &Tree<'_>) -> Result<OwnedFd, Blocked> {
        let mut ways: Vec<_> = self
            .mounts
            .iter()
            .filter(|mount| tree.leads_to(mount))
            .map(|mount| (mount, tree.server_on_the_way(&mount.point)))
            .collect();
        ways.sort_by_key(|(_, server)| server.is_some());
        let mut why = None;
        for (mount, server) in ways {
            let blocked = match kernel.open(mount) {
                Ok(Ok(mounted)) => return Ok(mounted),
                Ok(Err(OpenError::Unreachable)) => continue,
                Ok(Err(OpenError::NoFile)) => {
                    Blocked::Unreachable("mounted only as a fifo, a socket or a device node".to_owned())
                }
                Ok(Err(OpenError::RefusedOnTheWay(errno))) => match server.filter(|_| is_a_servers(errno)) {
                    Some(server) => Blocked::Unreachable(format!(
                        "reachable only through {} ({}): {}",
                        server.point.display(),
                        server.fstype,
                        errno_text(&errno.into())
                    )),
                    None => Blocked::Failed(errno_text(&errno.into())),
                },
                Ok(Err(OpenError::Refused(errno))) => Blocked::Failed(errno_text(&errno.into())),
                Err(no_answer) => {
                    let through =
                        server.map(|server| format!(", through {} ({})", server.point.display(), server.fstype));
                    why = Some(Blocked::Failed(format!("{no_answer}{}", through.unwrap_or_default())));
                    break;
                }
            };
            why = match (why, blocked) {
                (None | Some(Blocked::Unreachable(_)), Blocked::Failed(reason)) => Some(Blocked::Failed(reason)),
                (None, blocked) => Some(blocked),
                (why, _) => why,
            };
        }
        Err(why.unwrap_or_else(|| Blocked::Unreachable("mounted over, and reachable nowhere else".to_owned())))
    }
}

/// Whether a server on the way that has ended, or lets nobody in, is answered with this.
fn is_a_servers(errno: Errno) -> bool {
    [
        Errno::NOTCONN,
        Errno::STALE,
        Errno::ACCESS,
        Errno::CONNABORTED,
        Errno::CONNREFUSED,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::TIMEDOUT,
        Errno::IO,
    ]
    .contains(&errno)
}

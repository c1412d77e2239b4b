//! Who may be a client of a socket.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{SockaddrStorage, getpeername, getsockopt};
use nix::unistd::geteuid;

use crate::config::ChannelSettings;

/// Those who may connect, whatever the mode of a socket's file says: whoever connects can do as the daemon's user what the
/// commands can.
pub struct Peers {
    /// Users, besides root and the daemon's own.
    users: Vec<u32>,
    /// Addresses of virtual machines and their hosts (vsock(7)).
    cids: Vec<u32>,
}

impl Peers {
    /// Those whom a channel's settings name.
    pub fn of(settings: &ChannelSettings) -> Self {
        Self { users: settings.users.clone(), cids: settings.cids.clone() }
    }

    /// Whether other users are admitted than those who can do anything with the daemon as it is.
    pub fn are_more(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether the other end of a connection is admitted; the error says who it is.
    ///
    /// Neither can be forged: the kernel notes who has called connect(2) (unix(7), `SO_PEERCRED`), and the loopback of vsock
    /// gives its users the address 1.
    pub fn admit(&self, connection: &OwnedFd) -> Result<(), String> {
        let unknown = |error| format!("a client that has left ({error})");
        let address: SockaddrStorage = getpeername(connection.as_raw_fd()).map_err(unknown)?;
        if let Some(address) = address.as_vsock_addr() {
            return if self.cids.contains(&address.cid()) {
                Ok(())
            } else {
                Err(format!("a client with the vsock address {}", address.cid()))
            };
        }
        if address.as_unix_addr().is_none() {
            return Err("a client of another kind of socket than unix and vsock".to_owned());
        }
        let uid = getsockopt(connection, PeerCredentials).map_err(unknown)?.uid();
        if uid == 0 || uid == geteuid().as_raw() || self.users.contains(&uid) {
            return Ok(());
        }
        Err(format!("a client of user {uid}"))
    }
}

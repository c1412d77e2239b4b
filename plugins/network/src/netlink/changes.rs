//! The kernel's word that interfaces are as they were: cheaper than to ask for them again.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// `RTMGRP_LINK` of rtnetlink(7). The kernel tells of a change to an interface before the change is over. It does not
/// of a new address of IPv6 that is not in use yet, and of routes it would tell all the time on a router.
const GROUPS: u32 = 0x1;

/// Notes what happens to interfaces. One that has noted something is of no more use.
pub(crate) struct Changes(OwnedFd);

impl Changes {
    /// Notes all that happens from now on.
    pub(crate) fn from_now_on() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        // One change is as good as many: what finds no room makes recv(2) fail, which is noted as well. The kernel
        // makes the least it can do of this.
        set_socket_recv_buffer_size(&socket, 0)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Whether nothing has happened. Never waits.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut any = [0; 1];
        matches!(recv(&self.0, &mut any, RecvFlags::DONTWAIT), Err(Errno::AGAIN | Errno::INTR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_happens_to_a_network_that_nobody_touches() {
        // That changes are noted is shown in a network of its own, in the tests of the set.
        let changes = Changes::from_now_on().unwrap();
        for _ in 0..100 {
            if changes.is_quiet() {
                return;
            }
        }
        panic!("there was always something");
    }
}

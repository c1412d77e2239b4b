//! The kernel's announcements of devices: netlink(7), the family `NETLINK_KOBJECT_UEVENT`.
//!
//! A message is `ACTION@DEVPATH` and lines `KEY=value`, each ended by a NUL (the kernel's
//! `lib/kobject_uevent.c` and `Documentation/ABI/testing/sysfs-uevent`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt};

/// The multicast group of the kernel's own messages; 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// A message takes 2 KiB at most (`UEVENT_BUFFER_SIZE`), and its first line a path more.
const LONGEST: usize = 8192;
/// Room for the blocks of a large piece of memory that is added at once, in bytes.
const QUEUE: usize = 1 << 20;

/// A socket on which the kernel announces devices.
pub(super) struct Socket(OwnedFd);

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// An announcement.
    Event(Event),
    /// Nothing of interest.
    Nothing,
    /// Announcements did not fit into the queue and are lost.
    Lost,
}

/// That a device came or went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// `add`, `remove`, `online`, `offline`, `change` and others.
    pub action: String,
    /// `cpu`, `memory` and others.
    pub subsystem: String,
    /// The device's own name, as `cpu3`.
    pub name: String,
}

impl Socket {
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        // A shorter queue works too: what is lost is caught up with.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, QUEUE);
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// Reads one message, if there is one.
    pub fn receive(&self) -> io::Result<Received> {
        let mut buf = [0; LONGEST];
        match recvfrom(&self.0, &mut buf, RecvFlags::empty()) {
            Ok((len, _, sender)) => {
                // Port 0 is the kernel; a process may send to the group too.
                let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                let event = parse(buf.get(..len).unwrap_or_default());
                let from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
                Ok(event.filter(|_| from_kernel).map_or(Received::Nothing, Received::Event))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(Errno::NOBUFS) => Ok(Received::Lost),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes a message apart; `None` if it is not one of the kernel's.
fn parse(message: &[u8]) -> Option<Event> {
    let mut lines = message.split(|byte| *byte == 0).map(std::str::from_utf8);
    let (action, path) = lines.next()?.ok()?.split_once('@')?;
    let subsystem = lines.filter_map(Result::ok).find_map(|line| line.strip_prefix("SUBSYSTEM="))?;
    let (_, name) = path.rsplit_once('/')?;
    Some(Event { action: action.to_owned(), subsystem: subsystem.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart() {
        let message = b"add@/devices/system/cpu/cpu3\0ACTION=add\0DEVPATH=/devices/system/cpu/cpu3\0\
            SUBSYSTEM=cpu\0DRIVER=processor\0SEQNUM=4711\0";
        let event = Event { action: "add".into(), subsystem: "cpu".into(), name: "cpu3".into() };
        assert_eq!(parse(message), Some(event));
    }

    #[test]
    fn hostile_messages_are_none() {
        let messages: [&[u8]; 8] = [
            b"",
            b"\0",
            b"libudev\0\xfe\xed\xca\xfe",
            b"add@/devices/system/cpu/cpu3\0",
            b"add@cpu3\0SUBSYSTEM=cpu\0",
            b"add/devices/cpu3\0SUBSYSTEM=cpu\0",
            b"add@/d/\xff\0SUBSYSTEM=cpu\0",
            b"add@/d/cpu3\0SUBSYSTEM\0",
        ];
        for message in messages {
            assert_eq!(parse(message), None, "{message:?}");
        }
    }

    #[test]
    fn an_empty_queue_is_no_error() {
        match Socket::open().and_then(|socket| socket.receive()) {
            Ok(received) => assert_ne!(received, Received::Lost),
            Err(error) => guestd_sdk::testkit::not_here(&format!("no uevent socket: {error}")),
        }
    }
}

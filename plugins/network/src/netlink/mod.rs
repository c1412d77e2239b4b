//! Questions to the kernel by rtnetlink(7): one datagram out, the whole answer back.

pub(crate) mod changes;
pub(crate) mod message;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with};

use message::{Kind, Message, messages};

/// The kernel puts no more than this into one datagram of a dump, in bytes (`netlink_dump`, and the kernel's
/// `netlink/intro.rst`, "Buffer sizing").
const DATAGRAM: usize = 32 * 1024;

/// How often a dump is begun anew when the interfaces change while it is made.
const TRIES: u32 = 4;

/// A socket to the kernel.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // No protocol is 0, which is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Asks for all that there is of a kind, and makes a value of each message of the answer; `None` leaves it out.
    pub(crate) fn dump<T>(
        &mut self,
        kind: Kind,
        request: &[u8],
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut tries = 1;
        loop {
            let mut found = Vec::new();
            let consistent = self.ask(kind, request, |message| found.extend(read(message)))?;
            if consistent || tries == TRIES {
                return Ok(found);
            }
            tries += 1;
        }
    }

    /// Asks for a dump and hands on the messages of the answer. Returns whether nothing changed meanwhile.
    fn ask(&mut self, kind: Kind, request: &[u8], mut each: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message::request(kind, message::DUMP, self.sequence, request);
        let kernel = SocketAddrNetlink::new(0, 0);
        retry_on_intr(|| sendto(&self.socket, &request, SendFlags::empty(), &kernel))?;
        let mut consistent = true;
        loop {
            let datagram = receive(&self.socket, &mut self.buffer)?;
            for message in messages(datagram) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                consistent &= !message.interrupted;
                match message.error() {
                    None => each(&message),
                    Some(Ok(())) => return Ok(consistent),
                    Some(Err(error)) => return Err(error),
                }
            }
        }
    }
}

/// The next datagram from the kernel. It is there as soon as it was asked for, so this does not wait.
fn receive<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    loop {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (_, length, sender) = match retry_on_intr(|| recvfrom(socket, &mut *buffer, flags)) {
            Err(Errno::AGAIN) => return Err(message::cut_off()),
            other => other?,
        };
        let from_kernel =
            sender.is_none_or(|sender| SocketAddrNetlink::try_from(sender).is_ok_and(|from| from.pid() == 0));
        if from_kernel {
            return buffer.get(..length).ok_or_else(message::cut_off);
        }
    }
}

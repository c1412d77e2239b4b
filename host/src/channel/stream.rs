//! A connection to a client: a socket or a device, read and written without blocking.

use std::cell::Cell;
use std::io::{self, IoSlice, IsTerminal};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::uio::writev;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wire::{MAX_SLICES, Outbox};

/// The most bytes that are read at a time: nobody waits for long until they have been looked at.
const MAX_READ: usize = 64 << 10;
/// The most that is written in a turn, from when on others have theirs first.
pub const MAX_WRITE: usize = 1 << 20;
/// How long after its last bytes a port that tells of no host may have one all the same: the kernel takes a host's bytes and
/// the news of its coming and going by two ways, and under load the news is late.
const DOUBT: Duration = Duration::from_millis(100);

/// A connection.
pub struct Stream {
    kind: Kind,
    /// Whether a read, or a write, is worth trying: nothing has said since that it would block.
    may_read: Cell<bool>,
    may_write: Cell<bool>,
}

enum Kind {
    Socket(Socket),
    Device(Device),
}

/// A connected socket. Room for bytes is waited for only while there is none: watched all the time, every reply that a
/// client takes would wake the daemon.
struct Socket {
    fd: AsyncFd<OwnedFd>,
    /// The same once more, watched for room (epoll(7), "Q1": a duplicate may have other events), while bytes wait for it.
    room: Option<AsyncFd<OwnedFd>>,
}

/// A character device. While the host's side is closed it is hung up (EPOLLHUP) for as long as that lasts, which
/// tokio would report over and over; behind an edge-triggered epoll of its own only changes are seen
/// (epoll(7), "Level-triggered and edge-triggered"), so that the wait for a host costs nothing.
struct Device {
    fd: OwnedFd,
    /// A terminal that has been hung up stays so, while a virtio port's host comes back.
    is_terminal: bool,
    epoll: Epoll,
    /// The epoll's descriptor once more, for the runtime to watch.
    events: AsyncFd<OwnedFd>,
    host: Host,
}

/// What is known of the host's side of a port.
#[derive(Default)]
struct Host {
    /// When the last bytes came, since a host was last found to be gone.
    last_bytes: Cell<Option<Instant>>,
    /// Whether the port told last that it has no host, too soon after its bytes to be believed.
    in_doubt: Cell<bool>,
}

impl Host {
    fn bytes_came(&self, now: Instant) {
        self.last_bytes.set(Some(now));
        self.in_doubt.set(false);
    }

    /// The port tells that it has no host and no bytes. Returns whether whoever sent the last ones is gone.
    fn is_gone(&self, now: Instant) -> bool {
        let Some(last) = self.last_bytes.get() else { return false };
        let is_gone = now.duration_since(last) >= DOUBT;
        if is_gone {
            self.last_bytes.set(None);
        }
        self.in_doubt.set(!is_gone);
        is_gone
    }
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes were appended.
    Some,
    /// Nothing, now.
    Nothing,
    /// The end of the stream.
    End,
    /// Nothing, and the host that sent what came before is gone.
    HostGone,
}

impl Stream {
    /// A connected socket, in non-blocking mode.
    pub fn socket(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::new(Kind::Socket(Socket { fd: watch(fd, Interest::READABLE)?, room: None })))
    }

    /// An open character device, in non-blocking mode.
    pub fn device(fd: OwnedFd) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let changes = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&fd, EpollEvent::new(changes, 0))?;
        let events = watch(epoll.0.try_clone()?, Interest::READABLE)?;
        let is_terminal = fd.is_terminal();
        Ok(Self::new(Kind::Device(Device { fd, is_terminal, epoll, events, host: Host::default() })))
    }

    fn new(kind: Kind) -> Self {
        Self { kind, may_read: Cell::new(true), may_write: Cell::new(true) }
    }

    /// Whether the stream is a device, which outlives its clients.
    pub fn is_device(&self) -> bool {
        matches!(self.kind, Kind::Device(_))
    }

    fn fd(&self) -> &OwnedFd {
        match &self.kind {
            Kind::Socket(socket) => socket.fd.get_ref(),
            Kind::Device(device) => &device.fd,
        }
    }

    /// Waits until a read is worth trying.
    pub async fn readable(&self) -> io::Result<()> {
        while !self.may_read.get() {
            match &self.kind {
                Kind::Socket(socket) => {
                    // The readiness is cleared by `read`, where it says that there is no more.
                    socket.fd.readable().await?.retain_ready();
                    self.may_read.set(true);
                }
                Kind::Device(device) => self.device_event(device).await?,
            }
        }
        Ok(())
    }

    /// Waits until a write is worth trying.
    pub async fn writable(&self) -> io::Result<()> {
        while !self.may_write.get() {
            match &self.kind {
                Kind::Socket(socket) => {
                    if let Some(room) = &socket.room {
                        room.writable().await?.retain_ready();
                    }
                    self.may_write.set(true);
                }
                Kind::Device(device) => self.device_event(device).await?,
            }
        }
        Ok(())
    }

    async fn device_event(&self, device: &Device) -> io::Result<()> {
        let mut guard = device.events.readable().await?;
        guard.clear_ready();
        let mut events = [EpollEvent::empty()];
        device.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        self.may_read.set(true);
        self.may_write.set(true);
        Ok(())
    }

    /// Until when it is open whether the host is gone; then a read tells.
    pub fn doubt_ends(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Device(Device { host, .. }) if host.in_doubt.get() => Some(host.last_bytes.get()? + DOUBT),
            Kind::Device(_) | Kind::Socket(_) => None,
        }
    }

    /// Reads into the room that `buffer` has left.
    pub fn read(&self, buffer: &mut Vec<u8>) -> io::Result<Read> {
        let room = (buffer.capacity() - buffer.len()).min(MAX_READ);
        let outcome = loop {
            match read_into(self.fd(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match outcome {
            Ok(0) => {
                self.nothing_to_read();
                match &self.kind {
                    Kind::Socket(_) => Ok(Read::End),
                    Kind::Device(device) if device.is_terminal => Err(nix::Error::EIO.into()),
                    // A port that was unplugged fails with ENODEV.
                    Kind::Device(device) if device.host.is_gone(Instant::now()) => Ok(Read::HostGone),
                    Kind::Device(_) => Ok(Read::Nothing),
                }
            }
            Ok(count) => {
                // A stream socket that gave less than was asked for has no more (epoll(7), question 9); a device gives a
                // buffer of its own size at a time.
                match &self.kind {
                    Kind::Socket(_) if count < room => self.nothing_to_read(),
                    Kind::Socket(_) => {}
                    Kind::Device(device) => device.host.bytes_came(Instant::now()),
                }
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.nothing_to_read();
                if let Kind::Device(device) = &self.kind {
                    // A port without a host would have said so.
                    device.host.in_doubt.set(false);
                }
                Ok(Read::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn nothing_to_read(&self) {
        self.may_read.set(false);
        if let Kind::Socket(socket) = &self.kind {
            clear(&socket.fd, Interest::READABLE);
        }
    }

    /// Writes what the outbox holds, as far as it goes in a turn, and returns how many bytes. Fails where the client is gone.
    pub fn write(&mut self, outbox: &mut Outbox) -> io::Result<usize> {
        let mut all = 0;
        while !outbox.is_empty() && self.may_write.get() && all < MAX_WRITE {
            let mut room = [IoSlice::new(&[]); MAX_SLICES];
            let count = outbox.slices(&mut room);
            match writev(self.fd(), room.get(..count).unwrap_or_default()) {
                Ok(written) => {
                    outbox.advance(written);
                    all += written;
                }
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => self.watch_for_room()?,
                Err(error) => return Err(error.into()),
            }
        }
        if let Kind::Socket(socket) = &mut self.kind
            && outbox.is_empty()
        {
            socket.room = None;
        }
        Ok(all)
    }

    fn watch_for_room(&mut self) -> io::Result<()> {
        self.may_write.set(false);
        if let Kind::Socket(Socket { fd, room }) = &mut self.kind {
            match room {
                Some(room) => clear(room, Interest::WRITABLE),
                // Room that came since is reported at once (epoll(7), "Q7").
                None => *room = Some(watch(fd.get_ref().try_clone()?, Interest::WRITABLE)?),
            }
        }
        Ok(())
    }
}

/// Has the runtime watch a descriptor.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open descriptor, always the same, until it is dropped, which is with the result.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Clears the readiness that tokio has cached, so that it waits for the next edge.
fn clear(socket: &AsyncFd<OwnedFd>, interest: Interest) {
    // The closure "would block", which is what clears it; the error is the one made here.
    let _ = socket.try_io(interest, |_| -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
}

/// Reads into a vector's spare room, at most [`MAX_READ`] bytes.
fn read_into(fd: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let length = spare.len().min(MAX_READ);
    // SAFETY: the kernel writes at most `length` bytes to memory that is the vector's own.
    let count = unsafe { nix::libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), length) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: that many bytes behind the old end have just been written.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_sent_goes_with_it_once() {
        let (host, start) = (Host::default(), Instant::now());
        assert!(!host.is_gone(start), "nothing has come");
        host.bytes_came(start);
        assert!(!host.is_gone(start) && host.in_doubt.get());
        assert!(host.is_gone(start + DOUBT) && !host.in_doubt.get());
        assert!(!host.is_gone(start + DOUBT * 2));
    }

    #[test]
    fn bytes_that_come_before_the_news_of_their_host_are_kept() {
        let (host, start) = (Host::default(), Instant::now());
        host.bytes_came(start);
        // The next host's bytes are there before the news that the first one has gone.
        let late = start + DOUBT * 10;
        host.bytes_came(late);
        assert!(!host.is_gone(late) && host.in_doubt.get());
        // Then comes the news of the next.
        host.in_doubt.set(false);
        assert!(host.is_gone(late + DOUBT * 5), "it has gone too");
    }
}

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
const MAX_READ: usize = 256 << 10;
/// The most that is written in a turn, from when on others have theirs first.
pub const MAX_WRITE: usize = 1 << 20;
/// How long bytes of a port that seems to have no host may be those of one whose coming is about to be told: the kernel takes them
/// and the news by two ways.
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
    host: Cell<HostSide>,
    hung_up: Cell<bool>,
}

/// What is known of the host's side of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostSide {
    /// It was open when the port was last looked at.
    Open,
    /// Nothing has come since it was closed.
    Closed,
    /// Bytes came while it was closed: the last ones of the host that has gone, or the first of one whose coming the kernel has
    /// not told yet.
    Unsure(Instant),
}

impl HostSide {
    /// After bytes were read.
    fn after_bytes(self, hung_up: bool, now: Instant) -> Self {
        if hung_up || self != Self::Open { Self::Unsure(now) } else { self }
    }

    /// After a read of 0, with which the kernel says that there is no host and are no bytes; whether everything that came is a
    /// gone host's.
    fn after_nothing(self, now: Instant) -> (Self, bool) {
        match self {
            Self::Unsure(since) if now.duration_since(since) < DOUBT => (self, false),
            Self::Open | Self::Unsure(_) => (Self::Closed, true),
            Self::Closed => (Self::Closed, false),
        }
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
        let (host, hung_up) = (Cell::new(HostSide::Closed), Cell::new(false));
        Ok(Self::new(Kind::Device(Device { fd, is_terminal, epoll, events, host, hung_up })))
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
        if device.epoll.wait(&mut events, EpollTimeout::ZERO)? > 0 {
            device.note_events(events[0].events());
        }
        self.may_read.set(true);
        self.may_write.set(true);
        Ok(())
    }

    /// Until when it is open whether the host is gone; then a read tells.
    pub fn doubt_ends(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Device(Device { host, .. }) => match host.get() {
                HostSide::Unsure(since) if !self.may_read.get() => Some(since + DOUBT),
                _ => None,
            },
            Kind::Socket(_) => None,
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
                    Kind::Device(device) => {
                        let (host, is_gone) = device.host.get().after_nothing(Instant::now());
                        device.host.set(host);
                        Ok(if is_gone { Read::HostGone } else { Read::Nothing })
                    }
                }
            }
            Ok(count) => {
                // A stream socket that gave less than was asked for has no more (epoll(7), question 9); a device gives a
                // buffer of its own size at a time.
                match &self.kind {
                    Kind::Socket(_) if count < room => self.nothing_to_read(),
                    Kind::Socket(_) => {}
                    Kind::Device(Device { host, hung_up, .. }) => {
                        host.set(host.get().after_bytes(hung_up.get(), Instant::now()));
                    }
                }
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.nothing_to_read();
                if let Kind::Device(device) = &self.kind {
                    // A port without a host would have said so.
                    device.host.set(HostSide::Open);
                    device.hung_up.set(false);
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

impl Device {
    fn note_events(&self, events: EpollFlags) {
        self.hung_up.set(events.contains(EpollFlags::EPOLLHUP));
        if !self.hung_up.get() {
            self.host.set(HostSide::Open);
        }
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

    /// What a port tells, one after the other, and whether its host's bytes are dropped at the last.
    fn is_dropped(story: &[&str]) -> bool {
        let (start, mut host, mut hung_up, mut gone) = (Instant::now(), HostSide::Closed, false, false);
        let mut now = start;
        for word in story {
            gone = false;
            match *word {
                "open" => (hung_up, host) = (false, HostSide::Open),
                "hang-up" => hung_up = true,
                "bytes" => host = host.after_bytes(hung_up, now),
                "would-block" => host = HostSide::Open,
                "nothing" => (host, gone) = host.after_nothing(now),
                "later" => now += DOUBT,
                other => panic!("{other}"),
            }
        }
        gone
    }

    #[test]
    fn what_a_host_sent_goes_with_it() {
        assert!(is_dropped(&["open", "bytes", "would-block", "hang-up", "nothing"]));
        assert!(is_dropped(&["bytes", "would-block", "hang-up", "nothing"]));
        assert!(!is_dropped(&["open", "bytes", "would-block", "hang-up", "nothing", "nothing"]), "once is enough");
        assert!(
            is_dropped(&["open", "would-block", "hang-up", "bytes", "nothing", "later", "nothing"]),
            "its last words"
        );
    }

    #[test]
    fn bytes_that_come_before_the_news_of_their_host_are_kept() {
        for before in [[].as_slice(), &["open", "bytes", "would-block", "hang-up", "nothing"]] {
            let after = |words: &[&'static str]| is_dropped(&[before, words].concat());
            assert!(!after(&["hang-up", "bytes", "nothing"]));
            assert!(!after(&["hang-up", "bytes", "nothing", "open", "would-block"]));
            assert!(!after(&["hang-up", "bytes", "nothing", "would-block"]));
            assert!(after(&["hang-up", "bytes", "nothing", "later", "nothing"]), "nobody has come");
            assert!(after(&["hang-up", "bytes", "nothing", "open", "would-block", "hang-up", "nothing"]));
        }
    }
}

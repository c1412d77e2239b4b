//! Sockets that clients connect to: unix and vsock.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use guestd_sdk::errno_text;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, VsockAddr};
use nix::sys::stat::{Mode, umask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::peers::Peers;
use super::seats::Seats;
use super::session::{End, Session};
use super::stream::{Stream, watch};
use super::turns::Turns;
use crate::dispatch::Dispatcher;

/// The most clients of a socket at a time. Each costs a descriptor and a few kilobytes.
const MAX_CLIENTS: usize = 128;
/// So many clients take memory together that is worth giving back.
const CROWD: usize = 16;
/// How much of a reply the kernel is to take at once, in bytes, as far as it allows (socket(7), SO_SNDBUF, wmem_max): each
/// time that it is full the daemon and the client have to take turns, which for a reply of a megabyte costs a tenth of its time.
const SEND_BUFFER: usize = 512 << 10;
/// The wait after a failed accept, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A socket that is listened on.
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    peers: Peers,
    /// The socket's file, where the daemon made it.
    _file: Option<SocketFile>,
}

/// A socket's file, which goes with the daemon unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // Nothing can be done about a failure at the end.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on a unix socket. Its file is for the daemon's user only, unless others are admitted, too: then anybody may
    /// knock. A socket that nobody listens on any more is replaced; anything else in its place is an error.
    pub fn unix(path: &Path, peers: Peers) -> io::Result<Self> {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no socket is in its place",
                ));
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                Err(error) => return Err(error),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
            }
        }
        // The file has its mode from the start; other threads do not exist yet.
        let before = umask(Mode::from_bits_truncate(if peers.are_more() { 0o111 } else { 0o177 }));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        let inode = fs::symlink_metadata(path)?.ino();
        let file = SocketFile { path: path.to_owned(), inode };
        Self::new(listener.into(), peers, Some(file))
    }

    /// Listens on a vsock port, given as `cid:port`; the CID may be -1 for any.
    pub fn vsock(address: &str, peers: Peers) -> io::Result<Self> {
        let address = parse_vsock(address)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
        socket::bind(fd.as_raw_fd(), &address)?;
        socket::listen(&fd, Backlog::new(16)?)?;
        Self::new(fd, peers, None)
    }

    /// Takes a socket that the service manager listens on (sd_listen_fds(3)).
    pub fn activated(fd: OwnedFd, peers: Peers) -> io::Result<Self> {
        Self::new(fd, peers, None)
    }

    fn new(fd: OwnedFd, peers: Peers, file: Option<SocketFile>) -> io::Result<Self> {
        UnixListener::from(fd.try_clone()?).set_nonblocking(true)?;
        Ok(Self { socket: watch(fd, Interest::READABLE)?, peers, _file: file })
    }

    /// Serves clients for ever, several at once. Where no more fit, the one that has been idle for longest makes room.
    pub async fn serve(self, dispatcher: &Dispatcher, name: &str) {
        let (mut clients, mut seats) = (JoinSet::new(), Seats::default());
        let turns = Rc::new(Turns::new());
        let mut crowd = 0;
        let (mut told_of_full, told_of_standing) = (false, Rc::new(Cell::new(false)));
        loop {
            tokio::select! {
                Some(_) = clients.join_next() => {
                    seats.forget_left();
                    // Each has taken little, but many have left.
                    if crowd >= CROWD && clients.len() <= crowd / 2 {
                        crowd = clients.len();
                        dispatcher.memory().note_use();
                    }
                }
                client = self.accept(name) => match client {
                    Ok(stream) => {
                        if clients.len() >= MAX_CLIENTS {
                            let has_left = seats.make_room();
                            if !std::mem::replace(&mut told_of_full, true) {
                                let what = if has_left { "the one idle for longest" } else { "the newest, since all wait for commands," };
                                tracing::warn!("{name}: more than {MAX_CLIENTS} clients; {what} has to leave (told once)");
                            }
                            if !has_left {
                                continue;
                            }
                            clients.join_next().await;
                            seats.forget_left();
                        }
                        let seat = seats.seat();
                        let (dispatcher, turns, told) = (dispatcher.for_client(), Rc::clone(&turns), Rc::clone(&told_of_standing));
                        let (place, name) = (Rc::clone(&seat), name.to_owned());
                        let server = clients.spawn_local(async move {
                            let end = Session::new(&dispatcher, stream, turns, place).serve().await;
                            if matches!(end, End::Stood) && !told.replace(true) {
                                tracing::warn!("{name}: a client's message has stood still for too long; it has to leave (told once)");
                            }
                        });
                        seats.take(server, seat);
                        crowd = crowd.max(clients.len());
                    }
                    Err(error) => {
                        tracing::warn!("{name}: a client cannot be accepted: {}", errno_text(&error));
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    async fn accept(&self, name: &str) -> io::Result<Stream> {
        loop {
            let mut guard = self.socket.readable().await?;
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            match socket::accept4(self.socket.get_ref().as_raw_fd(), flags) {
                Ok(fd) => {
                    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    if let Err(who) = self.peers.admit(&fd) {
                        tracing::warn!("{name}: {who} is not admitted");
                        continue;
                    }
                    // A smaller buffer does as well, in more pieces.
                    let _ = socket::setsockopt(&fd, socket::sockopt::SndBuf, &SEND_BUFFER);
                    return Stream::socket(fd);
                }
                Err(nix::Error::EAGAIN) => guard.clear_ready(),
                Err(nix::Error::EINTR | nix::Error::ECONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The address of a text `cid:port` (vsock(7)).
pub fn parse_vsock(text: &str) -> io::Result<VsockAddr> {
    let numbers = text.split_once(':').and_then(|(cid, port)| {
        let cid = if cid == "-1" { Some(nix::libc::VMADDR_CID_ANY) } else { cid.parse().ok() };
        Some((cid?, port.parse().ok()?))
    });
    match numbers {
        Some((cid, port)) => Ok(VsockAddr::new(cid, port)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is no vsock address: cid:port"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vsock_addresses_are_two_numbers() {
        assert_eq!(parse_vsock("3:1024").unwrap(), VsockAddr::new(3, 1024));
        assert_eq!(parse_vsock("-1:1024").unwrap(), VsockAddr::new(u32::MAX, 1024));
        for wrong in ["", "3", "3:", ":3", "a:1", "1:-1", "1:2:3"] {
            assert!(parse_vsock(wrong).is_err(), "{wrong}");
        }
    }
}

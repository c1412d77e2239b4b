//! Processors and memory that are added to the running guest go online by themselves.
//!
//! A thread of its own listens to the kernel's announcements of new devices. It is started only where the
//! configuration names something to bring online. What is there when it starts is left as it is: who has taken a
//! processor offline before wanted it so. The same goes for what it has seen once: only a device that was removed
//! and added again is switched a second time.

mod devices;
mod uevent;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use guestd_sdk::{CommandError, Daemon, LogLevel};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::config::Kind;
use crate::machine::Machine;
use devices::{Added, Devices};
use uevent::{Received, Socket};

/// The watching thread. Dropping it ends the thread, at the latest after the device that it is switching.
pub(crate) struct AutoOnline {
    kinds: Vec<Kind>,
    stop: OwnedFd,
}

impl AutoOnline {
    /// Starts the thread for devices of `kinds`. Fails where the kernel gives no socket or no thread.
    pub fn start(daemon: &Daemon, machine: &Machine, kinds: Vec<Kind>) -> Result<Self, CommandError> {
        let failed = |error: &io::Error| CommandError::os("auto-online cannot be started", error);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed(&errno.into()))?;
        let stopped = stop.try_clone().map_err(|error| failed(&error))?;
        // In this order: what is added between the two is announced, and known by then.
        let socket = Socket::open().map_err(|error| failed(&error))?;
        let mut devices = Devices::present(machine.clone(), &kinds).map_err(|error| failed(&error))?;
        let daemon = daemon.clone();
        thread::Builder::new()
            .name("auto-online".to_owned())
            .spawn(move || {
                if let Err(error) = watch(&socket, &stopped, &mut devices, &daemon) {
                    let text = guestd_sdk::errno_text(&error);
                    daemon.log(LogLevel::Error, format_args!("nothing goes online by itself any more: {text}"));
                }
            })
            .map_err(|error| failed(&error))?;
        Ok(Self { kinds, stop })
    }

    /// What it brings online.
    pub fn kinds(&self) -> Vec<Kind> {
        self.kinds.clone()
    }
}

impl Drop for AutoOnline {
    fn drop(&mut self) {
        // An eventfd takes a number unless it is full, and then the thread has been told already.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

fn tell(daemon: &Daemon, added: &Added) {
    daemon.log(added.level(), format_args!("{added}"));
}

/// Listens until it is told to stop.
fn watch(socket: &Socket, stop: &OwnedFd, devices: &mut Devices, daemon: &Daemon) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [_, stop] = &fds;
        if !stop.revents().is_empty() {
            return Ok(());
        }
        match socket.receive()? {
            Received::Event(event) => devices.handle(&event).iter().for_each(|added| tell(daemon, added)),
            Received::Nothing => {}
            Received::Lost => match devices.catch_up() {
                Ok(added) => added.iter().for_each(|added| tell(daemon, added)),
                Err(error) => {
                    let text = guestd_sdk::errno_text(&error);
                    daemon.log(LogLevel::Warn, format_args!("a new device may stay offline: {text}"));
                }
            },
        }
    }
}

//! The channels: how clients reach the daemon.

mod device;
mod listen;
mod peers;
mod seats;
mod session;
mod stream;
mod turns;

pub(crate) use stream::watch;

use std::io;

use crate::config::{ChannelSettings, Method};
use crate::dispatch::Dispatcher;

use listen::Listener;
pub use listen::parse_vsock;
use peers::Peers;

/// A channel that is ready to be served.
pub struct Channel {
    settings: ChannelSettings,
    /// The socket that is listened on; a device is opened when it is served, since it may be missing still.
    listener: Option<Listener>,
}

impl Channel {
    /// Prepares a channel: binds its socket, or takes the one that the service manager has bound. Must be called in
    /// the runtime.
    pub fn open(settings: &ChannelSettings, activated: &mut Vec<std::os::fd::OwnedFd>) -> io::Result<Self> {
        let listener = match settings.method {
            Method::VirtioSerial | Method::IsaSerial => None,
            Method::UnixListen | Method::VsockListen if settings.path.is_empty() => {
                let fd =
                    activated.pop().ok_or_else(|| io::Error::other("the service manager passed no socket for it"))?;
                Some(Listener::activated(fd, Peers::of(settings))?)
            }
            Method::UnixListen => Some(Listener::unix(settings.path.as_ref(), Peers::of(settings))?),
            Method::VsockListen => Some(Listener::vsock(&settings.path, Peers::of(settings))?),
        };
        Ok(Self { settings: settings.clone(), listener })
    }

    /// Serves the channel's clients, for ever.
    pub async fn serve(self, dispatcher: Dispatcher) {
        let name = format!("{} {}", self.settings.method, self.settings.path);
        match self.listener {
            Some(listener) => listener.serve(&dispatcher, &name).await,
            None => device::serve(&self.settings, &dispatcher, &name).await,
        }
    }
}

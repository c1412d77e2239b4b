//! Serial devices: a virtio port or a UART. One that is missing is waited for, one that is lost is opened again.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use guestd_sdk::errno_text;
use nix::sys::termios::{self, ControlFlags, SetArg};

use super::seats::Seats;
use super::session::{End, Session};
use super::stream::Stream;
use super::turns::Turns;
use crate::config::{ChannelSettings, Method};
use crate::dispatch::Dispatcher;

/// The first wait for a device, which doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Serves a device for ever.
pub async fn serve(settings: &ChannelSettings, dispatcher: &Dispatcher, name: &str) {
    let mut wait = FIRST_WAIT;
    let mut told = false;
    loop {
        match open(settings) {
            Ok(stream) => {
                tracing::debug!("{name}: open");
                told = false;
                let since = tokio::time::Instant::now();
                let (turns, seat) = (Rc::new(Turns::new()), Seats::default().seat());
                match Session::new(dispatcher, stream, turns, seat).serve().await {
                    End::Lost(error) => tracing::warn!("{name}: lost: {}", errno_text(&error)),
                    End::Left | End::Stood => tracing::warn!("{name}: closed"),
                }
                // A device that is lost as soon as it is open must not be opened over and over.
                if since.elapsed() > LAST_WAIT {
                    wait = FIRST_WAIT;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("{name}: waiting for it: {}", errno_text(&error));
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

fn open(settings: &ChannelSettings) -> io::Result<Stream> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(Path::new(&settings.path))?;
    let fd = OwnedFd::from(file);
    if settings.method == Method::IsaSerial {
        make_raw(&fd)?;
    }
    Stream::device(fd)
}

/// Makes a terminal pass bytes as they are, with no regard to modem lines (termios(3), "Raw mode").
fn make_raw(fd: &OwnedFd) -> io::Result<()> {
    let mut attributes = termios::tcgetattr(fd)?;
    termios::cfmakeraw(&mut attributes);
    attributes.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
    attributes.control_flags &= !ControlFlags::HUPCL;
    termios::tcsetattr(fd, SetArg::TCSANOW, &attributes)?;
    Ok(())
}

//! Version 0.15 of the protocol has the errors of a shutdown in the guest's syslog.

use std::io;
use std::os::unix::net::UnixDatagram;

use crate::machine::Machine;

/// RFC 3164: the facility `daemon` (3) and the severity `error` (3).
const DAEMON_ERROR: u8 = 3 << 3 | 3;
/// RFC 3164: a packet has at most 1024 bytes.
const MAX_TEXT: usize = 900;

/// Writes a line to the guest's syslog, without waiting for it.
pub(crate) fn write(machine: &Machine, line: &str) -> io::Result<()> {
    let text: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let packet = format!("<{DAEMON_ERROR}>guestd[{}]: {}", std::process::id(), text.get(..end).unwrap_or_default());
    socket.send_to(packet.as_bytes(), machine.path("/dev/log")).map(drop)
}

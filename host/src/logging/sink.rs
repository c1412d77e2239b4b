//! Where log lines end up.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use guestd_abi::LogLevel;
use guestd_guest::trust::Trust;
use guestd_sdk::errno_text;

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error; where that is the journal, with the journal's priorities.
    Stderr,
    /// The system's log, by the socket `/dev/log`.
    Syslog,
    /// A file or a terminal, which is appended to.
    File(PathBuf),
}

impl LogTarget {
    /// The target of the configuration's text: `stderr`, `syslog` or a path.
    pub fn from_text(text: &str) -> Self {
        match text {
            "stderr" => Self::Stderr,
            "syslog" => Self::Syslog,
            path => Self::at_path(path),
        }
    }

    /// The target of `-l`. The kernel's link `/dev/stderr` may lead to a pipe or a socket, which has no path.
    pub fn at_path(path: &str) -> Self {
        if path == "/dev/stderr" { Self::Stderr } else { Self::File(path.into()) }
    }
}

/// An open target.
pub(super) enum Sink {
    /// `journal`: lines begin with `<priority>`, as sd-daemon(3) has it.
    Stderr {
        journal: bool,
    },
    Syslog(UnixDatagram),
    File(File),
}

impl Sink {
    pub fn stderr() -> Self {
        Self::Stderr { journal: std::env::var_os("JOURNAL_STREAM").is_some() }
    }

    pub fn open(target: &LogTarget) -> Result<Self, String> {
        match target {
            LogTarget::Stderr => Ok(Self::stderr()),
            LogTarget::Syslog => {
                let connect = || {
                    let socket = UnixDatagram::unbound()?;
                    socket.set_nonblocking(true)?;
                    socket.connect("/dev/log").map(|()| socket)
                };
                let socket: io::Result<_> = connect();
                socket.map(Self::Syslog).map_err(|error| format!("/dev/log cannot be opened: {}", errno_text(&error)))
            }
            LogTarget::File(path) => {
                let file = Trust::of_agent().log(path, 0o640);
                file.map(Self::File).map_err(|error| format!("the log file {} {}", path.display(), error.about(path)))
            }
        }
    }

    /// Writes a line. There is nobody to tell of a failure.
    pub fn write(&mut self, when: Duration, level: LogLevel, text: &str) {
        let priority = priority(level);
        let _ = match self {
            Self::Stderr { journal: true } => writeln!(io::stderr(), "<{priority}>{text}"),
            Self::Stderr { journal: false } => writeln!(io::stderr(), "guestd: {}: {text}", name(level)),
            // RFC 3164 leaves time and host to the receiver of a local message; 24 is the facility "daemon".
            Self::Syslog(socket) => {
                socket.send(format!("<{}>guestd[{}]: {text}", 24 + priority, std::process::id()).as_bytes()).map(drop)
            }
            Self::File(file) => {
                // The form of qemu-ga's log file.
                let line = format!("{}.{:06}: {}: {text}\n", when.as_secs(), when.subsec_micros(), name(level));
                file.write_all(line.as_bytes())
            }
        };
    }
}

/// The priority in syslog(3).
fn priority(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug | LogLevel::Trace => 7,
    }
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug | LogLevel::Trace => "debug",
    }
}

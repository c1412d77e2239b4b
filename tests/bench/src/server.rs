//! A server under measurement: an agent or the floor, in a directory of its own on tmpfs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use crate::client::Client;
use crate::options::Options;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Floor,
    QemuGa,
    Guestd,
}

impl Kind {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 3] = [Self::Floor, Self::QemuGa, Self::Guestd];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "echo floor",
            Self::QemuGa => "qemu-ga",
            Self::Guestd => "guestd",
        })
    }
}

/// A running server. It is killed when this is dropped.
pub struct Server {
    dir: TempDir,
    child: Child,
}

impl Server {
    /// Starts a server. Returns it, the first client, which has had one reply, and the time from the start to that.
    pub fn start(kind: Kind, options: &Options, ping: &[u8]) -> Result<(Self, Client, Duration)> {
        let dir = directory()?;
        let socket = dir.path().join("s");
        let mut command = command(kind, options, dir.path(), &socket)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let buffer = Client::buffer();
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("{kind} cannot be started"))?;
        let server = Self { dir, child };
        let mut client = Client::connect(&socket, buffer).with_context(|| kind.to_string())?;
        client.succeed(ping)?;
        Ok((server, client, began.elapsed()))
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory in memory, so that no disk is measured.
fn directory() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("bench-").tempdir_in(parent).context("no directory for a server")
}

fn command(kind: Kind, options: &Options, dir: &Path, socket: &Path) -> Result<Command> {
    let program = match kind {
        Kind::Floor => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--floor").arg(socket);
            return Ok(command);
        }
        Kind::QemuGa => &options.qemu_ga,
        Kind::Guestd => &options.guestd,
    };
    let state = dir.join("state");
    fs::create_dir(&state)?;
    let mut command = Command::new(program);
    command.args(["-m", "unix-listen", "-p"]).arg(socket).arg("-t").arg(state).arg("-f").arg(dir.join("pid"));
    for name in ["QGA_CONF", "NOTIFY_SOCKET", "LISTEN_FDS", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    Ok(command)
}

//! The configuration: where it comes from and what it amounts to.
//!
//! Later sources win over earlier ones, and lists add up: built-in values, `guestd.toml`, the files of `guestd.d` in the
//! order of their names, `qemu-ga.conf`, the command line.

mod key_file;
mod load;
mod toml_file;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

pub use key_file::text as key_file_text;
pub use load::{Purpose, Sources, from_text, load, names, suggestion};

use crate::logging::LogTarget;
use guestd_abi::LogLevel;

/// Where virtio-serial shows the port that hosts give to guest agents.
pub const VIRTIO_PATH: &str = "/dev/virtio-ports/org.qemu.guest_agent.0";
/// The serial port that qemu-ga takes by default.
pub const ISA_PATH: &str = "/dev/ttyS0";

/// What went wrong with the configuration, in one line that names the place.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError(pub String);

/// The line goes to terminals and logs, and may quote anything.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char.is_control() {
                true => write!(f, "{}", char.escape_default())?,
                false => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The channels to serve.
    pub channels: Vec<ChannelSettings>,
    /// Which sets there are.
    pub plugins: PluginSettings,
    /// Which commands answer.
    pub commands: CommandSettings,
    /// What is logged, and where to.
    pub log: LogSettings,
    /// The protocol.
    pub protocol: ProtocolSettings,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Whether the directory above is a default, which is made if it does not exist.
    pub state_dir_is_default: bool,
    /// Where a daemon in the background writes its process number.
    pub pid_file: PathBuf,
    /// Whether to go into the background.
    pub daemonize: bool,
    /// qemu-ga's `retry-path`; devices are always waited for, so that it is only shown again.
    pub retry_path: bool,
    /// The files that were read, in their order.
    pub files: Vec<String>,
    /// What is doubtful: a sentence each, with its place.
    pub warnings: Vec<String>,
    /// A method that is none, with the place that names it; only where the configuration is shown.
    pub unknown_method: Option<(String, String)>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// What kind it is.
    pub method: Method,
    /// The device, the socket's path, or `cid:port`; empty: socket activation gives it.
    pub path: String,
    /// For `unix-listen`: the numbers of the users who may connect, besides root and the daemon's own.
    pub users: Vec<u32>,
    /// For `vsock-listen`: the addresses that may connect.
    pub cids: Vec<u32>,
}

impl ChannelSettings {
    /// A channel that those may use whom the method is made for; without a path at the usual one.
    pub fn new(method: Method, path: Option<String>) -> Self {
        let path = path.unwrap_or_else(|| method.default_path().unwrap_or_default().to_owned());
        Self { method, path, users: Vec::new(), cids: vec![nix::libc::VMADDR_CID_HOST] }
    }
}

/// A kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A port of a virtio-serial device.
    VirtioSerial,
    /// A serial port.
    IsaSerial,
    /// A unix socket that the daemon listens on.
    UnixListen,
    /// A vsock port that the daemon listens on.
    VsockListen,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::VirtioSerial, Self::IsaSerial, Self::UnixListen, Self::VsockListen];

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Its name, as qemu-ga spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtioSerial => "virtio-serial",
            Self::IsaSerial => "isa-serial",
            Self::UnixListen => "unix-listen",
            Self::VsockListen => "vsock-listen",
        }
    }

    /// The path that is taken where none is given.
    pub fn default_path(self) -> Option<&'static str> {
        match self {
            Self::VirtioSerial => Some(VIRTIO_PATH),
            Self::IsaSerial => Some(ISA_PATH),
            Self::UnixListen | Self::VsockListen => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which sets there are, and what they are told.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// Where plugins are looked for, in this order.
    pub directories: Vec<PathBuf>,
    /// Only these sets; empty: all.
    pub enable: Vec<String>,
    /// Not these, whatever `enable` says.
    pub disable: Vec<String>,
    /// The sets that may claim names which are not their vendor's own, also from other sets.
    pub overrides: Vec<String>,
    /// After how many faults in a row a set is switched off; 0: never.
    pub max_faults: u32,
    /// The sets' own sections.
    pub sections: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            enable: Vec::new(),
            disable: Vec::new(),
            overrides: Vec::new(),
            // More than one bad request of a client that tries it again a few times.
            max_faults: 10,
            sections: BTreeMap::new(),
        }
    }
}

impl PluginSettings {
    /// Whether a set is used.
    pub fn enables(&self, set: &str) -> bool {
        let lists = |list: &[String]| list.iter().any(|entry| entry == set);
        (self.enable.is_empty() || lists(&self.enable)) && !lists(&self.disable)
    }

    /// The text of a set's section: a JSON object.
    pub fn section(&self, set: &str) -> String {
        self.sections
            .get(set)
            .and_then(|section| serde_json::to_string(section).ok())
            .unwrap_or_else(|| "{}".to_owned())
    }
}

/// Which commands answer. Each entry comes with the place that it was read from, for `guestd explain`.
#[derive(Debug, Clone, Default)]
pub struct CommandSettings {
    /// Only these; empty: all.
    pub allow: Vec<ListEntry>,
    /// Not these, whatever `allow` says.
    pub block: Vec<ListEntry>,
    /// How long the daemon waits for a command, in seconds, instead of what its set wants.
    pub deadline: BTreeMap<String, u32>,
}

/// An entry of a list of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The command's name, to the byte.
    pub name: String,
    /// Where it was read: a file, or `the command line`.
    pub source: String,
}

/// What is logged, and where to.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// Where to.
    pub target: LogTarget,
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct ProtocolSettings {
    /// The version whose answers are wanted where today's differ: `"0.15"`; empty: today's.
    pub compat: String,
    /// The version that `guest-info` reports; empty: guestd's own.
    pub reported_version: String,
    /// How much memory messages may take together, in bytes: requests being read or carried out, and replies not yet read.
    pub memory_limit: usize,
    /// How long a message may make no progress, in either direction; `None`: for ever.
    pub message_timeout: Option<Duration>,
}

/// The least memory for messages, in MiB: the largest message, and what a command makes of it.
pub const MIN_MEMORY_LIMIT: u32 = 80;
/// The most that is taken by default, in MiB: three of the largest messages at a time, and more small ones than there can be.
const DEFAULT_MEMORY_LIMIT: usize = 256;
/// How long a message may stand still by default. No client takes a minute's break in the middle of one.
const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

impl Default for ProtocolSettings {
    fn default() -> Self {
        Self {
            compat: String::new(),
            reported_version: String::new(),
            memory_limit: default_memory_limit(),
            message_timeout: Some(DEFAULT_MESSAGE_TIMEOUT),
        }
    }
}

/// An eighth of the guest's memory, within bounds.
fn default_memory_limit() -> usize {
    let number = |variable| sysconf(variable).ok().flatten().and_then(|number| usize::try_from(number).ok());
    let guest = number(SysconfVar::_PHYS_PAGES).zip(number(SysconfVar::PAGE_SIZE));
    let eighth = guest.map_or(usize::MAX, |(pages, size)| pages.saturating_mul(size) / 8);
    eighth.clamp((MIN_MEMORY_LIMIT as usize) << 20, DEFAULT_MEMORY_LIMIT << 20)
}

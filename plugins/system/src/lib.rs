#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! The command set `system`: what the guest says of itself, and its time.
//!
//! * [`types`] is what goes into the commands and what comes out,
//! * `os`, `timezone`, `load`, `memory`, `users` and `time` are the commands,
//! * `guest` reads the guest's files, `kept_file` keeps one at hand, `assignments` reads those that look like a shell's.

mod assignments;
mod config;
mod guest;
mod kept_file;
mod load;
mod memory;
mod os;
mod time;
mod timezone;
pub mod types;
mod users;

use std::sync::Mutex;

use guestd_sdk::prelude::*;

use config::Config;
use guest::Guest;
use time::clock::{Clock, Linux};
use time::rehearsal::{Fixed, Recorder, is_test};

/// The set's state.
pub struct System {
    guest: Guest,
    os_info: os::OsInfoText,
    zone: timezone::Zone,
    clock: Box<dyn Clock>,
    /// Held while clocks are turned.
    setting_time: Mutex<()>,
}

impl System {
    fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let config: Config = daemon.config()?;
        let (guest, clock): (_, Box<dyn Clock>) = match config.rehearsal {
            Some(directory) => (Guest::rehearsal(directory.clone()), Box::new(Recorder::new(directory))),
            None if is_test(daemon) => (Guest::real(), Box::new(Fixed)),
            None => (Guest::real(), Box::new(Linux)),
        };
        let (os_info, zone) = (os::os_info_text(&guest), timezone::Zone::of(&guest));
        Ok(Self { guest, os_info, zone, clock, setting_time: Mutex::new(()) })
    }
}

// INSTANT are those that ask only the kernel, or what `kept_file` has at hand: the disk under any other may be gone.
guestd_sdk::plugin! {
    name: "system",
    vendor: "guestd",
    summary: "The guest's operating system, users, load, memory and time",
    capabilities: [CAP_SYS_TIME],
    state: System = System::start,
    commands: {
        "guest-get-osinfo" [INSTANT] => raw os::os_info as fn(NoArgs) -> types::OsInfo,
        "guest-get-host-name" [INSTANT] => os::host_name,
        "guest-get-timezone" [INSTANT] => timezone::timezone,
        "guest-get-time" [INSTANT] => time::get,
        "guest-set-time" within 10 => time::set,
        "guest-get-load" [INSTANT] => load::load,
        "guest-get-users" => users::users,
        "__org.guestd_get-memory" [INSTANT] => memory::memory,
    }
}

//! Which devices are new, and bringing them online.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use guestd_sdk::LogLevel;

use super::uevent::Event;
use crate::config::Kind;
use crate::machine::Machine;
use crate::{memory, vcpus};

/// The devices that have been seen.
pub(super) struct Devices {
    machine: Machine,
    kinds: Vec<Kind>,
    known: BTreeSet<(Kind, u64)>,
}

/// A device was added, and this became of it: whether it had to be switched, or why it could not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added {
    kind: Kind,
    number: u64,
    switched: Result<bool, String>,
}

impl Added {
    /// How much it matters.
    pub fn level(&self) -> LogLevel {
        match self.switched {
            Ok(true) => LogLevel::Info,
            Ok(false) => LogLevel::Debug,
            Err(_) => LogLevel::Warn,
        }
    }
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Cpu => "processor",
            Kind::Memory => "memory block",
        };
        write!(f, "{what} {} was added and ", self.number)?;
        match &self.switched {
            Ok(true) => f.write_str("is online"),
            Ok(false) => f.write_str("was online already"),
            Err(text) => write!(f, "stays offline: {text}"),
        }
    }
}

impl Devices {
    /// All that are there now, which are never switched. Fails where they cannot be listed: then none could be told
    /// from a new one.
    pub fn present(machine: Machine, kinds: &[Kind]) -> io::Result<Self> {
        let mut devices = Self { machine, kinds: kinds.to_owned(), known: BTreeSet::new() };
        devices.known = devices.there()?;
        Ok(devices)
    }

    /// Takes note of an announcement, and brings a new device online.
    pub fn handle(&mut self, event: &Event) -> Option<Added> {
        let (kind, prefix) = match event.subsystem.as_str() {
            "cpu" => (Kind::Cpu, "cpu"),
            "memory" => (Kind::Memory, "memory"),
            _ => return None,
        };
        let number = vcpus::number_of(&event.name, prefix).filter(|_| self.kinds.contains(&kind))?;
        match event.action.as_str() {
            "add" => self.take((kind, number)),
            "remove" => {
                self.known.remove(&(kind, number));
                None
            }
            _ => None,
        }
    }

    /// Does what lost announcements would have done.
    pub fn catch_up(&mut self) -> io::Result<Vec<Added>> {
        let there = self.there()?;
        self.known.retain(|device| there.contains(device));
        Ok(there.into_iter().filter_map(|device| self.take(device)).collect())
    }

    /// Brings a device online, if it is a new one.
    fn take(&mut self, (kind, number): (Kind, u64)) -> Option<Added> {
        if !self.known.insert((kind, number)) {
            return None;
        }
        let switched = match kind {
            Kind::Cpu => {
                let id = i64::try_from(number).ok()?;
                vcpus::set_online(&self.machine, id, true).map_err(|error| error.desc().to_owned())
            }
            Kind::Memory => memory::set_online(&self.machine, number, true).map_err(|error| error.to_string()),
        };
        Some(Added { kind, number, switched })
    }

    fn there(&self) -> io::Result<BTreeSet<(Kind, u64)>> {
        let mut there = BTreeSet::new();
        for kind in &self.kinds {
            let numbers = match kind {
                Kind::Cpu => vcpus::numbers(&self.machine)?,
                Kind::Memory => memory::numbers(&self.machine)?,
            };
            there.extend(numbers.into_iter().map(|number| (*kind, number)));
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn cpu(root: &Path, number: u64, online: &str) {
        let directory = root.join(format!("sys/devices/system/cpu/cpu{number}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("online"), online).unwrap();
    }

    fn state(root: &Path, number: u64) -> String {
        fs::read_to_string(root.join(format!("sys/devices/system/cpu/cpu{number}/online"))).unwrap()
    }

    fn event(action: &str, subsystem: &str, name: &str) -> Event {
        Event { action: action.into(), subsystem: subsystem.into(), name: name.into() }
    }

    #[test]
    fn after_a_loss_exactly_the_new_ones_go_online() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        cpu(root, 1, "0");
        cpu(root, 2, "0");
        let mut devices = Devices::present(Machine::below(root), &[Kind::Cpu]).unwrap();
        cpu(root, 3, "0");
        cpu(root, 4, "1");
        let added = devices.catch_up().unwrap();
        let added: Vec<String> = added.iter().map(ToString::to_string).collect();
        assert_eq!(added, ["processor 3 was added and is online", "processor 4 was added and was online already"]);
        assert_eq!([1, 2, 3].map(|number| state(root, number)), ["0", "0", "1"]);

        cpu(root, 3, "0");
        assert_eq!(devices.catch_up().unwrap(), []);
        fs::remove_dir_all(root.join("sys/devices/system/cpu/cpu2")).unwrap();
        assert_eq!(devices.catch_up().unwrap(), []);
        cpu(root, 2, "0");
        assert_eq!(devices.catch_up().unwrap().len(), 1);
        assert_eq!([1, 2, 3].map(|number| state(root, number)), ["0", "1", "0"]);
    }

    #[test]
    fn a_list_that_cannot_be_read_switches_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(Devices::present(Machine::below(root.path()), &[Kind::Cpu]).is_err());
        cpu(root.path(), 1, "1");
        let mut devices = Devices::present(Machine::below(root.path()), &[Kind::Cpu]).unwrap();
        fs::remove_dir_all(root.path().join("sys")).unwrap();
        assert!(devices.catch_up().is_err());
        cpu(root.path(), 1, "0");
        assert_eq!(devices.catch_up().unwrap(), []);
    }

    #[test]
    fn other_announcements_do_nothing() {
        let root = tempfile::tempdir().unwrap();
        cpu(root.path(), 1, "1");
        let mut devices = Devices::present(Machine::below(root.path()), &[Kind::Cpu]).unwrap();
        cpu(root.path(), 2, "0");
        for (action, subsystem, name) in [
            ("change", "cpu", "cpu2"),
            ("online", "cpu", "cpu2"),
            ("add", "block", "cpu2"),
            ("add", "cpu", "memory2"),
            ("add", "memory", "memory2"),
            ("add", "cpu", "cpu02"),
            ("add", "cpu", "cpu2/../cpu2"),
            ("", "", ""),
        ] {
            assert_eq!(devices.handle(&event(action, subsystem, name)), None, "{action} {subsystem} {name}");
        }
        assert_eq!(state(root.path(), 2), "0");
        assert_eq!(devices.handle(&event("add", "cpu", "cpu2")).unwrap().level(), LogLevel::Info);
        assert_eq!(devices.handle(&event("add", "cpu", "cpu7")).unwrap().level(), LogLevel::Warn);
    }
}

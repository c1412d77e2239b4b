//! A guest made of files: the parts of `/proc`, `/sys`, `/dev` and `/run/udev` that the set reads, below a directory.

#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use guestd_sdk::CommandError;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory that looks like a guest without disks.
pub struct Guest(TempDir);

impl Guest {
    pub fn new() -> Self {
        let guest = Self(tempfile::tempdir().unwrap());
        for directory in ["sys/class/block", "sys/dev/block", "dev", "run/udev/data"] {
            fs::create_dir_all(guest.path(directory)).unwrap();
        }
        guest
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A block device with its two links; `path` is its directory below `/sys/devices`.
    pub fn device(&self, path: &str, number: &str) -> &Self {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        self.file(&format!("sys/devices/{path}/size"), "131072\n");
        self.file(&format!("sys/devices/{path}/dev"), format!("{number}\n"));
        self.link(&format!("sys/class/block/{name}"), &format!("../../devices/{path}"));
        self.link(&format!("sys/dev/block/{number}"), &format!("../../devices/{path}"))
    }

    /// A partition of a device.
    pub fn partition(&self, path: &str, number: &str) -> &Self {
        self.device(path, number).file(&format!("sys/devices/{path}/partition"), "1\n")
    }

    /// A volume made of others.
    pub fn volume(&self, name: &str, number: &str, members: &[&str]) -> &Self {
        self.device(&format!("virtual/block/{name}"), number);
        self.dir(&format!("sys/devices/virtual/block/{name}/slaves"));
        for member in members {
            self.link(&format!("sys/devices/virtual/block/{name}/slaves/{member}"), "nowhere");
        }
        self
    }

    pub fn kit_with(&self, config: Value) -> TestKit {
        let mut config = config;
        config.as_object_mut().unwrap().insert("rehearsal".to_owned(), json!(self.0.path()));
        let facts = json!({"run-dir": self.path("run/guestd")});
        TestKit::start_with(guestd_storage::plugin_module(), Settings { config, facts }).unwrap()
    }

    pub fn kit(&self) -> TestKit {
        self.kit_with(json!({}))
    }

    /// The answer of a command without arguments, which is a list.
    pub fn list(&self, command: &str) -> Vec<Value> {
        match self.kit().call(command, json!({})).unwrap() {
            Value::Array(items) => items,
            other => panic!("{command} answered {other}"),
        }
    }
}

/// The sentence of an error.
pub fn error(result: Result<Value, CommandError>) -> String {
    result.unwrap_err().desc().to_owned()
}

/// QEMU's address of a disk that is on PCI bus 0.
pub fn address(bus_type: &str, slot: i64, bus: i64, target: i64, unit: i64, dev: &str) -> Value {
    let pci = json!({"domain": 0, "bus": 0, "slot": slot, "function": 0});
    json!({"bus-type": bus_type, "pci-controller": pci, "bus": bus, "target": target, "unit": unit, "dev": dev})
}

/// The same for one that is not on PCI.
pub fn elsewhere(bus_type: &str, dev: &str) -> Value {
    let mut address = address(bus_type, -1, 0, 0, 0, dev);
    for number in address["pci-controller"].as_object_mut().unwrap().values_mut() {
        *number = json!(-1);
    }
    address
}

/// `value` with a member more.
pub fn with(mut value: Value, key: &str, member: impl Into<Value>) -> Value {
    value.as_object_mut().unwrap().insert(key.to_owned(), member.into());
    value
}

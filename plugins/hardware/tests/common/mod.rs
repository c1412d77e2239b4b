//! A guest made of files: the parts of `/proc` and `/sys` that the set reads and writes, below a temporary directory.

#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use guestd_sdk::CommandError;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const CPUS: &str = "sys/devices/system/cpu";
pub const BLOCKS: &str = "sys/devices/system/memory";

/// A directory that looks like a guest without processors and memory.
pub struct Guest(TempDir);

impl Guest {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Two processors, of which the first cannot be switched, and two blocks of memory.
    pub fn usual() -> Self {
        let guest = Self::new();
        guest.dir(&format!("{CPUS}/cpu0"));
        guest.cpu(1, "1\n").masks("0-1\n", "0-1\n");
        guest.block(0, "online\n", "0\n");
        guest.block(1, "offline\n", "1\n");
        guest.file(&format!("{BLOCKS}/block_size_bytes"), "8000000\n");
        guest
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    /// A file appears with its content at once, as those of sysfs do.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(self.path(".new"), text).unwrap();
        fs::rename(self.path(".new"), path).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    pub fn cpu(&self, number: u64, online: &str) -> &Self {
        self.file(&format!("{CPUS}/cpu{number}/online"), online)
    }

    /// The masks of the processors that are there and that are online.
    pub fn masks(&self, present: &str, online: &str) -> &Self {
        self.file(&format!("{CPUS}/present"), present).file(&format!("{CPUS}/online"), online)
    }

    pub fn block(&self, number: u64, state: &str, removable: &str) -> &Self {
        self.file(&format!("{BLOCKS}/memory{number}/removable"), removable);
        self.file(&format!("{BLOCKS}/memory{number}/state"), state)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn cpu_state(&self, number: u64) -> String {
        self.read(&format!("{CPUS}/cpu{number}/online"))
    }

    pub fn block_state(&self, number: u64) -> String {
        self.read(&format!("{BLOCKS}/memory{number}/state"))
    }

    /// The set's configuration for this guest with `more` in it.
    pub fn config(&self, more: Value) -> Value {
        let mut config = more;
        config.as_object_mut().unwrap().insert("rehearsal".to_owned(), json!(self.0.path()));
        config
    }

    pub fn kit_with(&self, more: Value) -> TestKit {
        let settings = Settings { config: self.config(more), ..Settings::default() };
        TestKit::start_with(guestd_hardware::plugin_module(), settings).unwrap()
    }

    pub fn kit(&self) -> TestKit {
        self.kit_with(json!({}))
    }
}

/// The sentence of an error.
pub fn error(result: Result<Value, CommandError>) -> String {
    result.unwrap_err().desc().to_owned()
}

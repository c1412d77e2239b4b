//! Commands made of programs in a temporary directory.

#![allow(dead_code, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestd_sdk::CommandError;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The command that most tests have.
pub const NAME: &str = "__com.example_test";

/// A directory with programs, which everybody may look into.
pub struct Programs(TempDir);

impl Programs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a program of the lines of a shell script.
    pub fn script(&self, name: &str, lines: &str) -> PathBuf {
        let source = self.path("source");
        fs::write(&source, format!("#!/bin/sh\n{lines}\n")).unwrap();
        self.install(&source, name)
    }

    /// Makes a program of a file.
    pub fn install(&self, source: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        // Not written by this process: what one of its threads starts meanwhile would hold the file open for writing,
        // and the kernel executes no such file.
        let made = Command::new("install").arg("-m755").arg(source).arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    /// A plugin with the command [`NAME`], which is a shell script. `more` is put into its table.
    pub fn command(&self, lines: &str, more: Value) -> TestKit {
        let mut command = json!({"program": self.script("program", lines)});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        start(json!({"commands": {NAME: command}}))
    }
}

pub fn start(config: Value) -> TestKit {
    TestKit::start_with(guestd_script::plugin_module(), Settings { config, ..Settings::default() }).unwrap()
}

/// Calls [`NAME`].
pub fn call(kit: &TestKit, arguments: Value) -> Result<Value, String> {
    call_within(kit, arguments, 0)
}

/// Calls [`NAME`] as a daemon does that waits for so many milliseconds.
pub fn call_within(kit: &TestKit, arguments: Value, deadline_ms: u32) -> Result<Value, String> {
    let reply = kit.call_raw(NAME, &arguments.to_string(), deadline_ms).map_err(text)?;
    Ok(serde_json::from_slice(&reply.body).unwrap())
}

pub fn text(error: CommandError) -> String {
    error.desc().to_owned()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

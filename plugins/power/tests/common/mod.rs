//! A guest made of files: what the set would do to a real one is written down below a temporary directory.

#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestd_sdk::testkit::{Settings, TestKit};
use guestd_sdk::{CommandError, LogLevel};
use rustix::fs::{CWD, FileType, MemfdFlags, SealFlags, fcntl_add_seals, memfd_create, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory that looks like a guest, without any means to shut it down.
pub struct Guest(TempDir);

impl Guest {
    pub fn new() -> Self {
        let guest = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(guest.0.path().join("proc/self/ns")).unwrap();
        guest.in_pid_namespace(4_026_531_836);
        guest.file("proc/1/cmdline", "init\0\0\0");
        guest
    }

    /// A program that writes down its name and arguments, says `words` on stderr, and exits with `status`.
    pub fn program(&self, name: &str, words: &str, status: i32) -> &Self {
        let record = self.0.path().join("programs");
        let script =
            format!("#!/bin/sh\necho {name} \"$@\" >>{}\nprintf '%s' '{words}' >&2\nexit {status}\n", record.display());
        self.script(name, &script)
    }

    pub fn script(&self, name: &str, script: &str) -> &Self {
        let source = self.file("script", script);
        let path = self.0.path().join("usr/sbin").join(name);
        // Not written by this process: what one of its threads starts meanwhile would hold the file open for writing,
        // and the kernel executes no such file.
        let made = Command::new("install").arg("-Dm755").arg(source).arg(path).status().unwrap();
        assert!(made.success());
        self
    }

    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A file that can be read only, even by root, as long as what is returned lives.
    pub fn unwritable(&self, path: &str, text: &str) -> fs::File {
        let file = memfd_create("unwritable", MemfdFlags::ALLOW_SEALING).unwrap();
        let mut file = fs::File::from(file);
        file.write_all(text.as_bytes()).unwrap();
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
        let path = self.0.path().join(path);
        let _ = fs::remove_file(&path);
        symlink(format!("/proc/self/fd/{}", file.as_raw_fd()), path).unwrap();
        file
    }

    pub fn fifo(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap_or_default()
    }

    pub fn dir(&self, path: &str) -> &Self {
        fs::create_dir_all(self.0.path().join(path)).unwrap();
        self
    }

    /// Makes systemd the init, with a systemctl that exits with `status`.
    pub fn systemd(&self, words: &str, status: i32) -> &Self {
        self.dir("run/systemd/system").program("systemctl", words, status)
    }

    /// Makes busybox the init.
    pub fn busybox(&self) -> &Self {
        self.program("busybox", "", 0);
        fs::create_dir_all(self.0.path().join("sbin")).unwrap();
        symlink("../usr/sbin/busybox", self.0.path().join("sbin/init")).unwrap();
        self
    }

    /// A block device below `/sys/devices` with its number, which `/dev` and `/sys` have a name for.
    pub fn device(&self, path: &str, number: &str) -> &Self {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        self.file(&format!("sys/devices/{path}/dev"), &format!("{number}\n"));
        self.link(&format!("sys/dev/block/{number}"), &format!("../../devices/{path}"));
        self.link(&format!("sys/class/block/{name}"), &format!("../../devices/{path}"));
        self.file(&format!("dev/{name}"), number);
        self
    }

    /// A device that is made of others, which are there already.
    pub fn volume(&self, name: &str, number: &str, members: &[&str]) -> &Self {
        self.device(&format!("virtual/block/{name}"), number);
        for member in members {
            let link = format!("sys/devices/virtual/block/{name}/slaves/{member}");
            self.link(&link, &format!("../../../../../class/block/{member}"));
        }
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// Swap areas of 1 GiB in this order; the device that the image of a hibernation goes to, `0:0` for none; 600 MiB of
    /// memory that are used, and an image of at most 400.
    pub fn swaps(&self, areas: &[&str], resume: &str) -> &Self {
        let lines: String = areas.iter().map(|area| format!("{area}    partition\t1048576\t\t0\t\t-2\n")).collect();
        self.file("proc/swaps", &format!("Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n{lines}"));
        self.file("sys/power/resume", &format!("{resume}\n"));
        self.file("sys/power/image_size", &format!("{}\n", 400 << 20));
        self.file("proc/meminfo", "MemTotal:        1024000 kB\nMemFree:          409600 kB\nMemAvailable:  1 kB\n");
        self
    }

    pub fn in_pid_namespace(&self, inode: u64) -> &Self {
        let link = self.0.path().join("proc/self/ns/pid");
        let _ = fs::remove_file(&link);
        symlink(format!("pid:[{inode}]"), link).unwrap();
        self
    }

    /// The programs that ran, with their arguments, in their order.
    pub fn ran(&self) -> Vec<String> {
        self.read("programs").lines().map(str::to_owned).collect()
    }

    /// The system calls that were asked for.
    pub fn system_calls(&self) -> Vec<String> {
        self.read("system-calls").lines().map(str::to_owned).collect()
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// The section of the configuration that makes the set act on this guest.
    pub fn config(&self, more: Value) -> Value {
        let mut config = json!({"rehearsal": self.0.path()});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    pub fn kit(&self) -> TestKit {
        self.kit_with(json!({}), json!({}))
    }

    pub fn kit_with(&self, config: Value, facts: Value) -> TestKit {
        start(self.config(config), facts).unwrap()
    }
}

pub fn start(config: Value, facts: Value) -> Result<TestKit, CommandError> {
    TestKit::start_with(guestd_power::plugin_module(), Settings { config, facts })
}

/// Calls a command and says whether its success was silent.
pub fn is_silent(kit: &TestKit, command: &str, arguments: &str) -> bool {
    TestKit::is_silent(&kit.call_raw(command, arguments, 0).unwrap())
}

/// The error of a command.
pub fn error(kit: &TestKit, command: &str, arguments: &str) -> String {
    match kit.call_raw(command, arguments, 0) {
        Ok(_) => panic!("{command} {arguments} succeeded"),
        Err(error) => {
            assert_eq!(error.class(), "GenericError");
            error.desc().to_owned()
        }
    }
}

/// The log's lines of one level.
pub fn logged(kit: &TestKit, level: LogLevel) -> Vec<String> {
    kit.log().into_iter().filter(|(at, _)| *at == level).map(|(_, line)| line).collect()
}

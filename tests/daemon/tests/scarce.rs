//! No memory: an error to the client, and never the daemon's end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestd_daemon_tests::{Client, Daemon};
use guestd_sdk::testkit;
use serde_json::{Value, json};

/// Sets a limit of a process with prlimit(1).
fn limit(pid: u32, what: &str) {
    let output = Command::new("prlimit").args(["--pid", &pid.to_string(), what]).output().unwrap();
    assert!(output.status.success(), "prlimit {what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The daemon is the same process, and answers old and new clients.
fn lives(daemon: &Daemon, client: &mut Client) {
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    assert_eq!(daemon.client().call("guest-sync", json!({"id": 7})), json!(7));
    assert!(Path::new(&format!("/proc/{}", daemon.pid())).exists());
}

const MEGABYTE: usize = 1 << 20;

/// A large file with nothing in it, and its handle.
fn sparse(daemon: &Daemon, client: &mut Client) -> Value {
    let path = daemon.path("sparse");
    fs::File::create(&path).unwrap().set_len(48 << 20).unwrap();
    client.call("guest-file-open", json!({"path": path}))
}

/// What takes much memory: each has an answer, whatever it is. Returns how many of them were errors.
fn large_requests(daemon: &Daemon, client: &mut Client, handle: &Value) -> usize {
    let mut errors = 0;
    let mut answered = |answer: Value| errors += usize::from(answer.get("error").is_some());
    answered(client.ask("guest-file-read", json!({"handle": handle, "count": 48_000_000})));
    let path = daemon.path("written");
    let written = client.call("guest-file-open", json!({"path": path, "mode": "w"}));
    answered(client.ask("guest-file-write", json!({"handle": written, "buf-b64": "A".repeat(48 * MEGABYTE)})));
    client.call("guest-file-close", json!({"handle": written}));
    answered(client.ask("guest-sync", json!({"id": "1,".repeat(20 * MEGABYTE)})));
    answered(client.ask("guest-ping", json!({"k": "\n".repeat(10 * MEGABYTE)})));
    errors
}

/// RLIMIT_AS: an allocation fails where it does not fit, as with `vm.overcommit_memory=2`.
#[test]
fn an_address_space_that_is_too_small_is_an_error() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    let handle = sparse(&daemon, &mut client);
    client.call("guest-get-osinfo", json!({}));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size: usize = size.trim().trim_end_matches(" kB").parse().unwrap();
    limit(daemon.pid(), &format!("--as={}:", size * 1024 + 24 * MEGABYTE));
    assert_eq!(large_requests(&daemon, &mut client, &handle), 4);
    // Many clients at a time, each with what alone would fit.
    let mut clients: Vec<_> = (0..20).map(|_| daemon.client()).collect();
    for one in &mut clients {
        one.request("guest-file-write", json!({"handle": handle, "buf-b64": "A".repeat(3 * MEGABYTE)}));
    }
    for one in &mut clients {
        assert!(one.reply().get("error").is_some());
    }
    lives(&daemon, &mut client);
    limit(daemon.pid(), "--as=unlimited:");
    client.call("guest-file-read", json!({"handle": handle, "count": 48_000_000}));
    lives(&daemon, &mut client);
}

/// A memory cgroup of a test's own, which goes with it.
struct Cgroup(PathBuf);

impl Cgroup {
    /// With this limit, in bytes; `None` where the machine has no such cgroups.
    fn new(limit: usize) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let place = |version: &str, option: &str| {
            mounts.lines().find_map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                (words[2] == version && words[3].split(',').any(|one| one == option)).then(|| PathBuf::from(words[1]))
            })
        };
        let name = format!("guestd-test-{}", std::process::id());
        let (dir, file) = match (place("cgroup", "memory"), place("cgroup2", "rw")) {
            (Some(dir), _) => (dir.join(name), "memory.limit_in_bytes"),
            (None, Some(dir)) => (dir.join(name), "memory.max"),
            _ => return None,
        };
        fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        fs::write(group.0.join(file), limit.to_string()).ok()?;
        Some(group)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It goes when the last process in it has gone.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The kernel ends a process that takes more than its cgroup may have: the daemon's own limit keeps it below.
#[test]
fn a_daemon_stays_below_a_cgroups_limit_by_its_own() {
    let group = match Cgroup::new(256 * MEGABYTE) {
        Some(group) => group,
        None => return testkit::not_here("no memory cgroup can be made"),
    };
    let daemon = Daemon::new().config("[protocol]\nmemory-limit = 96").start();
    group.take(daemon.pid());
    let mut client = daemon.client();
    let handle = sparse(&daemon, &mut client);
    large_requests(&daemon, &mut client, &handle);
    let halves: Vec<_> = (0..20)
        .map(|_| {
            let mut half = daemon.client();
            std::thread::spawn(move || {
                let data = "A".repeat(40 * MEGABYTE);
                // What is not taken is given up when the connection is.
                half.send_until_full(format!("{{\"execute\":\"guest-ping\",\"id\":\"{data}"));
                half
            })
        })
        .collect();
    let mut readers: Vec<_> = (0..20).map(|_| daemon.client()).collect();
    for reader in &mut readers {
        reader.request("guest-file-read", json!({"handle": handle, "count": 30_000_000}));
    }
    for _ in 0..100 {
        lives(&daemon, &mut client);
    }
    let halves: Vec<_> = halves.into_iter().map(|half| half.join().unwrap()).collect();
    lives(&daemon, &mut client);
    drop((halves, readers));
    lives(&daemon, &mut client);
    drop(daemon);
}

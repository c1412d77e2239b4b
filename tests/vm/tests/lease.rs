//! The lease of a freeze ends on time, whatever the host does and whatever hangs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestd_vm::{Agent, AgentConn, Fs, Vm, VmBuilder, boot_or_skip, note, request};
use serde_json::{Value, json};

const CONFIG: &str = "[plugins.fsfreeze]\nlease = 5\nhook = \"/lib/guest/hook\"\nhook-timeout = 2\n";

/// How late the last file system may be thawed, in seconds. It is promised, so it is measured; an emulated guest on a
/// busy machine gets some attempts.
const LATE: f64 = 0.5;
const ATTEMPTS: usize = 4;

/// Its thaw half hangs when it is told to.
const HOOK: &str = "#!/lib/guest/busybox sh
[ \"$1\" = thaw ] && [ -e /run/guest/hang ] && { : >/run/guest/hangs; exec sleep 1000; }
exit 0
";

/// Appends to a file, and notes on a tmpfs the time since the boot, in seconds, after each write.
const STAMPS: &str = "#!/lib/guest/busybox sh
while :; do
    echo x >>\"$1\" || exit 1
    read -r time _ </proc/uptime
    echo \"$time\" >>\"$2\"
    usleep 10000
done
";
const MOUNTS: [&str; 2] = ["ext4", "xfs"];

/// proc(5): the time in /proc/uptime is cut to hundredths.
const TICK: f64 = 0.01;

/// What the channel does while the lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Idle,
    /// One request after the other.
    Busy,
    /// Full of answers that the host does not read.
    Blocked,
    /// Idle, and the hook's thaw half hangs.
    Hook,
}

#[test]
fn the_lease_ends_on_time_whatever_the_channel_does_and_whatever_hangs() {
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).agent(Agent::Guestd);
    let builder = builder.file("/etc/guestd/guestd.toml", CONFIG).file_with_mode("/lib/guest/hook", 0o755, HOOK);
    let Some(mut vm) = boot_or_skip(builder.file_with_mode("/lib/guest/stamps", 0o755, STAMPS)) else {
        return;
    };
    for mount in MOUNTS {
        let command = format!("/lib/guest/stamps /mnt/{mount}/file {}", notes(mount));
        vm.run(&format!("setsid {command} </dev/null >/dev/null 2>&1 &")).unwrap();
    }
    for channel in [Channel::Idle, Channel::Busy, Channel::Blocked, Channel::Hook] {
        let mut late = Vec::new();
        let on_time = (0..ATTEMPTS).any(|_| {
            late.extend(lateness(&mut vm, channel));
            late.last().is_some_and(|last| *last <= LATE)
        });
        assert!(on_time, "{channel:?}: late by {late:?} s");
        note(&format!("lease: {channel:?}: late by {late:.2?} s"));
    }
}

/// How late the last writer goes on after the end of the lease, in seconds. `None`: the machine was too slow for
/// the attempt to mean anything.
fn lateness(vm: &mut Vm, channel: Channel) -> Option<f64> {
    for mount in MOUNTS {
        vm.run(&format!(": >{}", notes(mount))).unwrap();
        until(vm, mount, "the writer writes", |stamps| stamps.len() > 5);
    }
    if channel == Channel::Hook {
        vm.run("touch /run/guest/hang").unwrap();
    }
    let mut agent = vm.agent().unwrap();
    assert_eq!(agent.call("guest-fsfreeze-freeze", json!({})).unwrap(), MOUNTS.len());
    // In memory, so that it can be read; by the clock of /proc/uptime (CLOCK_BOOTTIME).
    let plan = vm.sh("cat /run/guestd/fsfreeze.plan").unwrap().stdout;
    let plan: Option<Value> = serde_json::from_str(&plan).ok();
    let end = plan.as_ref().and_then(|plan| plan["lease-end-ms"].as_u64()).map(|end| end as f64 / 1000.0);
    let prepared = meanwhile(vm, &mut agent, channel, end.unwrap_or_default());
    let gaps: Vec<(f64, f64)> = MOUNTS
        .iter()
        .map(|mount| {
            let over = |stamps: &[f64]| stamps.last().is_some_and(|last| *last > end.unwrap_or_default() + 1.0);
            gap(&until(vm, mount, "the writer goes on", over))
        })
        .collect();
    // The hook hangs when all is thawed.
    if channel == Channel::Hook {
        until_there(vm, "/run/guest/hangs");
        vm.run("rm /run/guest/hang /run/guest/hangs").unwrap();
    }
    drop(agent);
    told_once(&mut vm.agent().unwrap());
    let (end, true) = (end?, prepared) else {
        note(&format!("lease: {channel:?}: the machine is too slow; again"));
        return None;
    };
    for (last, first) in &gaps {
        assert!(*last < end - 1.0, "{channel:?}: written at {last}, though frozen until {end}");
        assert!(*first >= end - TICK, "{channel:?}: thawed at {first}, before the lease's end at {end}");
    }
    Some(gaps.iter().map(|(_, first)| first - end).fold(0.0, f64::max))
}

/// Does to the channel what is to be done. False: it was not done before the lease ended.
fn meanwhile(vm: &mut Vm, agent: &mut AgentConn, channel: Channel, end: f64) -> bool {
    match channel {
        Channel::Idle | Channel::Hook => true,
        Channel::Busy => {
            let since = Instant::now();
            let mut calls = 0;
            while uptime(vm) < end + LATE {
                for _ in 0..50 {
                    agent.call("guest-info", json!({})).unwrap();
                    calls += 1;
                }
                assert!(since.elapsed() < Duration::from_secs(60), "the guest's clock stands still");
            }
            calls > 0
        }
        Channel::Blocked => {
            // White space makes the requests large: the buffers on the way in fill sooner.
            let mut info = vec![b' '; 4000];
            info.extend(request("guest-info", json!({})));
            let flood = agent.send_until_stuck(&info, 200_000, Duration::from_millis(700)).unwrap();
            assert!(flood.stuck, "{} requests were taken without reading an answer", flood.complete);
            uptime(vm) < end
        }
    }
}

/// The host learns that the agent thawed by itself, once.
fn told_once(agent: &mut AgentConn) {
    // A hook that hangs is waited for, and a thaw that is asked for meanwhile as well.
    agent.set_timeout(Duration::from_secs(60));
    assert_eq!(call(agent, "guest-fsfreeze-status").unwrap(), "thawed");
    let error = call(agent, "guest-fsfreeze-thaw").unwrap_err();
    assert!(error.contains("because the lease was over"), "{error}");
    assert_eq!(call(agent, "guest-fsfreeze-thaw").unwrap(), 0);
}

fn notes(mount: &str) -> String {
    format!("/run/guest/stamps-{mount}")
}

fn call(agent: &mut AgentConn, command: &str) -> Result<Value, String> {
    agent.call(command, json!({})).map_err(|error| error.to_string())
}

fn uptime(vm: &mut Vm) -> f64 {
    let text = vm.run("cat /proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The writer's times, once they are as wanted.
fn until(vm: &mut Vm, mount: &str, what: &str, wanted: impl Fn(&[f64]) -> bool) -> Vec<f64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = vm.sh(&format!("cat {}", notes(mount))).unwrap().stdout;
        let stamps: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if wanted(&stamps) {
            return stamps;
        }
        assert!(Instant::now() < deadline, "{mount}: not within 60 s: {what}; {:?}", stamps.last());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn until_there(vm: &mut Vm, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while vm.sh(&format!("test -e {path}")).unwrap().status != 0 {
        assert!(Instant::now() < deadline, "there is no {path}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The times around the longest pause.
fn gap(stamps: &[f64]) -> (f64, f64) {
    let pairs = stamps.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap()
}

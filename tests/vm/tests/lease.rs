//! The lease of a freeze, in a guest whose host has stopped to read.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestd_vm::{Agent, AgentConn, Fs, Vm, VmBuilder, boot_or_skip, note, request};
use serde_json::{Value, json};

const CONFIG: &str = "[plugins.fsfreeze]\nlease = 3\n";
const LEASE: f64 = 3.0;

/// It promises 0.5 s; an emulated guest on a busy machine needs more.
const LATE: f64 = 2.0;

/// Appends to a file, and notes on a tmpfs the time since the boot, in seconds, after each write.
const STAMPS: &str = "#!/lib/guest/busybox sh
while :; do
    echo x >>\"$1\" || exit 1
    read -r time _ </proc/uptime
    echo \"$time\" >>\"$2\"
    usleep 10000
done
";
const NOTES: &str = "/run/guest/stamps";

/// proc(5): the time in /proc/uptime is cut to hundredths.
const TICK: f64 = 0.01;

#[test]
fn the_lease_ends_though_the_host_does_not_read() {
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).agent(Agent::Guestd);
    let builder = builder.file("/etc/guestd/guestd.toml", CONFIG).file_with_mode("/lib/guest/stamps", 0o755, STAMPS);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    vm.run(&format!("setsid /lib/guest/stamps /mnt/ext4/file {NOTES} </dev/null >/dev/null 2>&1 &")).unwrap();
    until(&mut vm, "the writer writes", |stamps| stamps.len() > 5);

    let mut agent = vm.agent().unwrap();
    let before = uptime(&mut vm);
    assert_eq!(agent.call("guest-fsfreeze-freeze", json!({})).unwrap(), 2);
    let frozen = uptime(&mut vm);
    let report = call(&mut agent, "__org.guestd_fsfreeze-report").unwrap();
    let reported = uptime(&mut vm);
    let left = Duration::from_millis(report["freeze"]["lease-left-ms"].as_u64().unwrap()).as_secs_f64();
    let (earliest, latest) = (frozen + left, reported + left);
    stop_reading(&mut agent);
    // The lease runs from the first file system on, which comes between the two.
    let stamps =
        until(&mut vm, "the writer goes on", |stamps| stamps.last().is_some_and(|&last| last > before + LEASE));
    let (last, first) = gap(&stamps);
    note(&format!(
        "lease: asked at {before:.2}, frozen by {frozen:.2}, to end between {earliest:.2} and {latest:.2}; the writer \
         stood still from {last:.2} to {first:.2}"
    ));
    assert!(last < frozen, "the writer wrote at {last} though frozen by {frozen}");
    assert!(first >= before + LEASE - TICK, "thawed at {first}, frozen after {before}");
    assert!(first >= earliest - TICK, "thawed at {first}, though the lease ran to {earliest}");
    assert!(first <= latest + LATE, "thawed at {first}, though the lease ended by {latest}");

    drop(agent);
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-status").unwrap(), "thawed");
    let error = call(&mut agent, "guest-fsfreeze-thaw").unwrap_err();
    assert!(error.contains("because the lease was over"), "{error}");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw").unwrap(), 0);
}

/// Asks for more than the channel holds, and reads none of it.
fn stop_reading(agent: &mut AgentConn) {
    // White space makes the requests large: the buffers on the way in fill sooner.
    let mut info = vec![b' '; 4000];
    info.extend(request("guest-info", json!({})));
    let flood = agent.send_until_stuck(&info, 200_000, Duration::from_millis(700)).unwrap();
    assert!(flood.stuck, "{} requests were taken without reading an answer", flood.complete);
    note(&format!("lease: the channel is full after {} requests", flood.complete));
}

fn call(agent: &mut AgentConn, command: &str) -> Result<Value, String> {
    agent.call(command, json!({})).map_err(|error| error.to_string())
}

fn uptime(vm: &mut Vm) -> f64 {
    let text = vm.run("cat /proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The writer's times, once they are as wanted.
fn until(vm: &mut Vm, what: &str, wanted: impl Fn(&[f64]) -> bool) -> Vec<f64> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = vm.sh(&format!("cat {NOTES}")).unwrap().stdout;
        let stamps: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if wanted(&stamps) {
            return stamps;
        }
        assert!(Instant::now() < deadline, "not within 20 s: {what}; {:?}", stamps.last());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The times around the longest pause.
fn gap(stamps: &[f64]) -> (f64, f64) {
    let pairs = stamps.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap()
}

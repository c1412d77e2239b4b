//! Millions of requests: does the daemon end as it began?

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use guestd_daemon_tests::{Daemon, FaultFs, private};
use serde_json::{Value, json};

use crate::bad::{self, Bad};
use crate::connection::Connection;
use crate::good;
use crate::process::{self, Sample};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many requests in all.
    pub requests: u64,
    /// Over how many connections at a time.
    pub connections: u64,
    /// How many of them hang, on a file system that does not answer.
    pub hung: u64,
    /// Where the mixture begins.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { requests: 2_000_000, connections: 10, hung: 64, seed: 1 }
    }
}

/// The requests before the first sample.
const FIRST: u64 = 10_000;
/// A connection ends after this many requests, and another takes its place.
const PER_CONNECTION: u64 = 700;
/// What may be there at the end beside what was there after the first requests, in KiB.
const MAX_GROWTH: u64 = 1024;
/// How long the daemon may take to become quiet.
const QUIET_LIMIT: Duration = Duration::from_secs(90);

/// What never happens by accident, and a log of errors alone: two millions of lines are no part of this.
const CONFIG: &str = r#"
[commands]
block = [
    "guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid", "guest-set-time", "guest-set-user-password",
    "guest-set-memory-blocks", "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fstrim",
    "guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys",
]
"#;

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bad: AtomicU64,
    connections: AtomicU64,
    hung: AtomicU64,
}

/// Runs the plan and prints the table. Returns whether nothing grew.
pub fn run(plan: &Plan) -> bool {
    if !private::enter() {
        return false;
    }
    let daemon = Daemon::new().quiet().config(CONFIG).start();
    let point = daemon.path("hung");
    std::fs::create_dir(&point).unwrap();
    let files = FaultFs::mount(&point);
    let counts = Counts::default();
    let idle = Sample::of_quiet(daemon.pid(), QUIET_LIMIT);
    let since = Instant::now();
    let first = FIRST.min(plan.requests);
    phase(&daemon, &files, &counts, first, plan.hung / 16, plan);
    let after_first = Sample::of_quiet(daemon.pid(), QUIET_LIMIT);
    process::forget_peak(daemon.pid());
    phase(&daemon, &files, &counts, plan.requests - first, plan.hung - plan.hung / 16, plan);
    let took = since.elapsed();
    let peak = process::peak(daemon.pid());
    let at_end = Sample::of_quiet(daemon.pid(), QUIET_LIMIT);
    report(&counts, took, peak, [("idle", idle), ("after the first", after_first), ("at the end", at_end)]);
    judge(&after_first, &at_end)
}

/// Sends requests, some of which hang until the end of it.
fn phase(daemon: &Daemon, files: &FaultFs, counts: &Counts, requests: u64, hung: u64, plan: &Plan) {
    let target = counts.requests.load(Ordering::Relaxed) + requests;
    let done = || counts.requests.load(Ordering::Relaxed) >= target;
    let handles = thread::scope(|scope| {
        for number in 0..plan.connections {
            let rng = Rng::with_seed(plan.seed.wrapping_mul(1000).wrapping_add(number).wrapping_add(target));
            scope.spawn(move || converse(daemon, counts, rng, &done));
        }
        scope.spawn(|| hang(daemon, counts, hung)).join().unwrap()
    });
    files.release();
    // Whatever has hung, the daemon is there, for the set as well.
    let mut connection = Connection::new(&daemon.path("s"));
    daemon.wait_for("the set file", || {
        let mut connection = Connection::new(&daemon.path("s"));
        let missing = connection.ask("guest-file-open", &json!({"path": "/nonexistent"})).unwrap();
        missing.to_string().contains("No such file")
    });
    for handle in handles {
        daemon.wait_for("the end of a read", || {
            let mut connection = Connection::new(&daemon.path("s"));
            connection.ask("guest-file-close", &json!({"handle": handle})).unwrap().get("return").is_some()
        });
    }
    connection.sync(7).unwrap();
}

/// One connection after the other, until enough has been asked for.
fn converse(daemon: &Daemon, counts: &Counts, mut rng: Rng, done: &(dyn Fn() -> bool + Sync)) {
    while !done() {
        let mut connection = Connection::new(&daemon.path("s"));
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let mut here = 0;
        while here < PER_CONNECTION && !done() {
            match exchange(&mut connection, &mut rng, daemon, counts) {
                Some(requests) => here += requests,
                None => break,
            }
        }
    }
}

/// A good request or two, or two bad ones and a sync; returns how many. `None`: the client has left, or was made to.
fn exchange(connection: &mut Connection, rng: &mut Rng, daemon: &Daemon, counts: &Counts) -> Option<u64> {
    if rng.bool() {
        let requests = good::some(connection, rng, &daemon.path("")).ok()?;
        counts.requests.fetch_add(requests, Ordering::Relaxed);
        return Some(requests);
    }
    let mut bytes = Vec::new();
    for _ in 0..2 {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.bad.fetch_add(1, Ordering::Relaxed);
        match bad::one(rng) {
            Bad::Bytes(more) => bytes.extend(more),
            Bad::ThenGone(more) => {
                connection.send_some(&more);
                return None;
            }
        }
        // What is not complete is over; what is complete has its answer first.
        bytes.push(0xFF);
    }
    connection.send_and_sync(&bytes, rng.u64(1..1 << 40)).ok()?;
    counts.requests.fetch_add(1, Ordering::Relaxed);
    Some(3)
}

/// Calls that hang, each followed by a sync, which overtakes it. Returns the handles that must be closed when they have come back.
fn hang(daemon: &Daemon, counts: &Counts, hung: u64) -> Vec<Value> {
    let mut connection = Connection::new(&daemon.path("s"));
    let mut handles = Vec::new();
    for number in 0..hung {
        let fault = ["hang-open", "hang-lookup", "hang-read"][number as usize % 3];
        let mut call = ("guest-file-open", json!({"path": daemon.path("hung").join(format!("{fault}-{number}"))}));
        if fault == "hang-read"
            && let Some(handle) = connection.ask(call.0, &call.1).unwrap().get("return")
        {
            handles.push(handle.clone());
            call = ("guest-file-read", json!({"handle": handle}));
        }
        connection.send(json!({"execute": call.0, "arguments": call.1}).to_string().as_bytes()).unwrap();
        connection.sync(number + 1).unwrap();
        counts.requests.fetch_add(2, Ordering::Relaxed);
        counts.hung.fetch_add(1, Ordering::Relaxed);
    }
    handles
}

fn report(counts: &Counts, took: Duration, peak: u64, samples: [(&str, Sample); 3]) {
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} requests in {} s, {} of them bad, over {} connections; {} on a file system that did not answer; peak {} KiB\n",
        count(&counts.requests),
        took.as_secs(),
        count(&counts.bad),
        count(&counts.connections),
        count(&counts.hung),
        peak,
    );
    println!("| | private dirty, KiB | resident, KiB | descriptors | threads | children |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (when, sample) in samples {
        let Sample { private_dirty, resident, descriptors, threads, children } = sample;
        println!("| {when} | {private_dirty} | {resident} | {descriptors} | {threads} | {children} |");
    }
}

fn judge(before: &Sample, after: &Sample) -> bool {
    let mut good = true;
    for (what, before, after, allowed) in [
        ("private memory", before.private_dirty, after.private_dirty, MAX_GROWTH),
        ("descriptors", before.descriptors as u64, after.descriptors as u64, 0),
        ("threads", before.threads as u64, after.threads as u64, 0),
        ("children", before.children as u64, after.children as u64, 0),
    ] {
        if after > before + allowed {
            println!("\nGREW: {what}, from {before} to {after}");
            good = false;
        }
    }
    good
}

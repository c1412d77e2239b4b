//! What the kernel knows of a daemon.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What a daemon has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Memory that is its own, in KiB (proc_pid_smaps(5), `Private_Dirty`).
    pub private_dirty: u64,
    /// Memory that is resident, in KiB; pages of files that others have mapped, too, are among it.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processes that it has started and not reaped.
    pub children: usize,
}

/// The number of a line `NAME: NUMBER kB`.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name);
    line.split_whitespace().next().unwrap().parse().unwrap()
}

impl Sample {
    /// Of a process, now.
    pub fn of(pid: u32) -> Self {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the daemon is gone");
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).expect("the daemon is gone").count();
        let children = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok).map(|task| {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().count()
        });
        Self {
            private_dirty: field(&rollup, "Private_Dirty"),
            resident: field(&rollup, "Rss"),
            descriptors: count("fd"),
            threads: count("task"),
            children: children.sum(),
        }
    }

    /// Of a process that nobody asks for anything: when it has had the same threads and memory for two seconds, at the latest after
    /// `limit`. Idle workers are kept for ten seconds.
    pub fn of_quiet(pid: u32, limit: Duration) -> Self {
        let since = Instant::now();
        let mut seen = vec![Self::of(pid)];
        while since.elapsed() < limit {
            thread::sleep(Duration::from_millis(500));
            seen.push(Self::of(pid));
            if since.elapsed() > Duration::from_secs(15)
                && seen.len() > 4
                && seen.windows(2).rev().take(4).all(|two| two[0] == two[1])
            {
                break;
            }
        }
        *seen.last().unwrap()
    }
}

/// The most memory that has been resident since [`forget_peak`], in KiB.
pub fn peak(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon is gone"), "VmHWM")
}

/// Begins to look for the peak anew (proc_pid_clear_refs(5), 5).
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak cannot be forgotten");
}

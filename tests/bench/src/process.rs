//! What the kernel knows of a process.

use std::fs;

use anyhow::{Context, Result};

/// The time that the threads of a process have run, in nanoseconds (Documentation/scheduler/sched-stats.rst, "/proc/PID/schedstat").
/// A thread that has ended is not counted.
pub fn cpu_time(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).context("a strange schedstat")?;
    }
    Ok(sum)
}

/// A size in /proc/PID/status, in kilobytes (proc(5)): `VmRSS`, `VmHWM`.
pub fn status(pid: u32, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the status of process {pid} has no {field}"))
}

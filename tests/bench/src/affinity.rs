//! Where this process runs, and with it the servers that it starts.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::results::Placement;

/// Where the process may run by itself.
static ALLOWED: OnceLock<CpuSet> = OnceLock::new();

/// Puts this thread, and every process that it starts from now on, on one processor or on all that it may have. `cpu`
/// is the one; the last, where it is not given: the first has most of the interrupts.
pub fn place(placement: Placement, cpu: Option<usize>) -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = match ALLOWED.get() {
        Some(allowed) => allowed,
        None => {
            let allowed = sched_getaffinity(this).context("sched_getaffinity")?;
            ALLOWED.get_or_init(|| allowed)
        }
    };
    let set = match placement {
        Placement::Unpinned | Placement::Guest => *allowed,
        Placement::Pinned => {
            let last = || (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
            let mut one = CpuSet::new();
            one.set(cpu.or_else(last).context("there is no processor")?)?;
            one
        }
    };
    sched_setaffinity(this, &set).context("sched_setaffinity")
}

//! The rows of the table and the targets that the figures are held against.

use crate::commands::Commands;
use crate::measure::SIZES;

/// A row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The name of its figures.
    pub id: String,
    pub title: String,
    pub unit: &'static str,
    pub targets: Vec<Target>,
}

/// What guestd's figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most this many times qemu-ga's.
    Most(f64),
    /// At least this many times qemu-ga's.
    Least(f64),
    /// At most this many times the floor's.
    FloorTimes(f64),
}

use Target::{FloorTimes, Least, Most};

/// What each size's reads and writes are to reach.
const READS: [f64; SIZES.len()] = [3.0, 10.0, 20.0, 25.0];
const WRITES: [f64; SIZES.len()] = [5.0, 20.0, 35.0, 40.0];
/// As many command sets are there before those that qemu-ga's users lack.
const FIRST_SETS: usize = 4;

/// All rows; `sets` is the number of command sets that the daemon has.
pub fn rows(commands: &Commands, sets: usize) -> Vec<Row> {
    let row = |id: &str, title: &str, unit, targets: &[Target]| Row {
        id: id.into(),
        title: title.into(),
        unit,
        targets: targets.into(),
    };
    let mut rows = vec![
        row("ping", "ping round trip", "us", &[Most(0.5), FloorTimes(1.5)]),
        row("sync", "sync round trip", "us", &[Most(0.5), FloorTimes(1.5)]),
        row("cpu", "CPU of the agent per ping", "us", &[Most(0.4)]),
        row("pipelined", "pipelined pings", "1/s", &[Least(10.0)]),
        row("info", "guest-info", "us", &[Most(0.2)]),
    ];
    for (verb, targets) in [("read", READS), ("write", WRITES)] {
        let row = |(size, target): (&crate::measure::Size, f64)| {
            row(&format!("{verb} {}", size.name), &format!("file-{verb} of {}", size.name), "MB/s", &[Least(target)])
        };
        rows.extend(SIZES.iter().zip(targets).map(row));
    }
    for command in &commands.timed {
        let targets: Vec<_> = command.at_most.map(Most).into_iter().collect();
        rows.push(row(&command.execute, &command.execute, "us", &targets));
    }
    let used = if sets > FIRST_SETS { 1.5 } else { 1.2 };
    rows.extend([
        row("exec", "guest-exec of /bin/true until reaped", "ms", &[Most(0.5)]),
        row("start", "start to first reply", "ms", &[Most(0.8)]),
        row("start-cpu", "CPU of the agent until then", "ms", &[]),
        row("idle", "resident memory idle", "KiB", &[Most(0.8)]),
        row("used", "after a command of every set", "KiB", &[Most(used)]),
        row("peak", "peak of a 16 MiB read", "KiB", &[Most(0.6)]),
        row("kept", "kept one second after it", "KiB", &[Most(0.1)]),
        row("disk", "on disk, with plugins or shared libraries", "KiB", &[Most(2.0)]),
        row("disk-own", "the same without the C library", "KiB", &[]),
    ]);
    rows
}

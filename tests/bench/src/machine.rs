//! What the figures were taken on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::options::Options;

/// The machine, and the agents.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// The run queue's average length over the last minute, once everything was measured: 1 is this program's own.
    pub load: String,
    pub qemu_ga: String,
    pub guestd: String,
}

impl Machine {
    /// Describes this machine.
    pub fn describe(options: &Options) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let kilobytes: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kilobytes / f64::from(1 << 20)).round(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            qemu_ga: version(&options.qemu_ga),
            guestd: version(&options.guestd),
        }
    }

    /// Two lines for people.
    pub fn sentences(&self) -> String {
        let Self { processor, processors, memory_gib, kernel, load, qemu_ga, guestd } = self;
        format!(
            "{processors} x {processor}, {memory_gib:.0} GiB, Linux {kernel}; load {load} at the end.\n\
             {guestd} beside {qemu_ga}; medians of the rounds, ratios are guestd's figure to qemu-ga's.\n"
        )
    }
}

/// The first line of what a program says of its version.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("an agent of unknown version").to_owned()
}

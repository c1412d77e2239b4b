//! The figures as they come, and their medians.

use std::collections::BTreeMap;
use std::fmt;

use crate::server::Kind;

/// Where agent and client run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// Both on one processor.
    Pinned,
    /// Wherever the kernel puts them.
    Unpinned,
    /// The agent in a virtual machine, the client on this one.
    Guest,
}

impl Placement {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Pinned, Self::Unpinned, Self::Guest];
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "agent and client on one processor",
            Self::Unpinned => "agent and client on any processor",
            Self::Guest => "both agents in one virtual machine, over virtio-serial",
        })
    }
}

/// All figures: for a placement, a row and a server, one of each round.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<(Placement, String, Kind), Vec<f64>>);

impl Results {
    /// Adds a round's figure.
    pub fn add(&mut self, placement: Placement, row: &str, server: Kind, value: f64) {
        self.0.entry((placement, row.to_owned(), server)).or_default().push(value);
    }

    /// The figures of the rounds.
    pub fn rounds(&self, placement: Placement, row: &str, server: Kind) -> &[f64] {
        self.0.get(&(placement, row.to_owned(), server)).map_or(&[], Vec::as_slice)
    }

    /// Their median; `None`: there is none.
    pub fn median(&self, placement: Placement, row: &str, server: Kind) -> Option<f64> {
        median(self.rounds(placement, row, server).to_vec())
    }
}

/// What stands for a round: the median of its calls, or the fastest.
#[derive(Debug, Clone, Copy)]
pub struct Typical {
    pub fastest: bool,
}

impl Typical {
    /// That one of the times; 0, where there are none.
    pub fn of(self, times: Vec<f64>) -> f64 {
        let fastest = || times.iter().copied().min_by(f64::total_cmp);
        let typical = if self.fastest { fastest() } else { median(times) };
        typical.unwrap_or_default()
    }
}

/// The middle one of the values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

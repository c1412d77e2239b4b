//! The figures for people and for programs.

mod plot;
mod table;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Machine;
use crate::options::Options;
use crate::results::{Placement, Results};
use crate::rows::{Row, Target};
use crate::server::Kind;
use crate::vm::Guest;

pub use plot::plot;

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    machine: Machine,
    rounds: usize,
    tables: Vec<Table>,
}

/// The rows of a placement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    placement: String,
    /// The guest, where it is one.
    guest: Option<Guest>,
    rows: Vec<Line>,
}

/// A row with its figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    id: String,
    title: String,
    unit: &'static str,
    figures: Vec<Figure>,
    /// guestd's to qemu-ga's.
    ratio: Option<f64>,
    targets: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Figure {
    server: Kind,
    median: f64,
    rounds: Vec<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Verdict {
    target: String,
    met: Option<bool>,
}

impl Report {
    /// Puts the figures into their rows. Rows without a figure are left out, and so are targets away from the pinned table.
    pub fn new(options: &Options, rows: &[Row], results: &Results, guest: Option<&Guest>) -> Result<Self> {
        // Without its description, the guest's table was not completed.
        let placements = Placement::ALL.iter().filter(|placement| **placement != Placement::Guest || guest.is_some());
        let tables = placements.map(|&placement| Table {
            placement: placement.to_string(),
            guest: guest.filter(|_| placement == Placement::Guest).cloned(),
            rows: rows.iter().filter_map(|row| line(row, placement, results)).collect(),
        });
        let tables = tables.filter(|table| !table.rows.is_empty()).collect();
        Ok(Self { machine: Machine::describe(options), rounds: options.rounds, tables })
    }

    /// The report as JSON.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn line(row: &Row, placement: Placement, results: &Results) -> Option<Line> {
    let median = |kind| results.median(placement, &row.id, kind);
    let figures: Vec<_> = Kind::ALL
        .into_iter()
        .filter_map(|server| {
            let rounds = results.rounds(placement, &row.id, server).to_vec();
            Some(Figure { server, median: median(server)?, rounds })
        })
        .collect();
    if figures.is_empty() {
        return None;
    }
    let to = |other: Kind| Some(median(Kind::Guestd)? / median(other)?);
    let verdict = |target: &Target| match *target {
        Target::Most(limit) => {
            Verdict { target: format!("<= {limit} x"), met: to(Kind::QemuGa).map(|ratio| ratio <= limit) }
        }
        Target::Least(limit) => {
            Verdict { target: format!(">= {limit} x"), met: to(Kind::QemuGa).map(|ratio| ratio >= limit) }
        }
        Target::FloorTimes(limit) => {
            Verdict { target: format!("<= {limit} x floor"), met: to(Kind::Floor).map(|ratio| ratio <= limit) }
        }
    };
    let targets = match placement {
        Placement::Pinned => row.targets.iter().map(verdict).collect(),
        Placement::Unpinned | Placement::Guest => Vec::new(),
    };
    Some(Line {
        id: row.id.clone(),
        title: row.title.clone(),
        unit: row.unit,
        figures,
        ratio: to(Kind::QemuGa),
        targets,
    })
}

//! What is measured of a server, and how.

mod counts;
mod exec;
mod files;
mod latency;
mod memory;
mod start;

pub use counts::{Counts, GUEST, NATIVE};
pub use files::{SIZES, Size};

use anyhow::Result;
use serde_json::json;

use crate::client::Client;
use crate::commands::{Commands, request};
use crate::home::Home;
use crate::options::Options;
use crate::results::{Placement, Results, Typical};
use crate::server::{Kind, Server};

/// What is measured, and where.
pub struct Plan<'p> {
    pub options: &'p Options,
    pub commands: &'p Commands,
    pub placement: Placement,
}

/// A server that is measured.
pub struct Subject<'s, H> {
    pub kind: Kind,
    pub home: H,
    pub client: Client,
    pub counts: &'static Counts,
    pub placement: Placement,
    pub typical: Typical,
    pub results: &'s mut Results,
}

impl<H: Home> Subject<'_, H> {
    fn add(&mut self, row: &str, value: f64) {
        self.results.add(self.placement, row, self.kind, value);
    }

    /// Everything that needs no other start of the server.
    pub fn measure(&mut self, options: &Options, commands: &Commands) -> Result<()> {
        let wants = |group| options.wants(group);
        let is_agent = self.kind != Kind::Floor;
        if wants("ping") {
            latency::measure(self, &ping())?;
        }
        if wants("info") && is_agent {
            latency::measure_command(self, "info", &request("guest-info", &json!({})))?;
        }
        if wants("files") {
            files::measure(self)?;
        }
        if wants("commands") && is_agent {
            for command in &commands.timed {
                latency::measure_command(self, &command.execute, &command.request())?;
            }
        }
        if wants("exec") && is_agent {
            exec::measure(self)?;
        }
        Ok(())
    }
}

fn ping() -> Vec<u8> {
    request("guest-ping", &json!({}))
}

impl Plan<'_> {
    /// Measures every server once. Who comes first changes with the round.
    pub fn round(&self, round: usize, results: &mut Results) -> Result<()> {
        let mut order = Kind::ALL;
        let places = order.len();
        order.rotate_left(round % places);
        for kind in order {
            self.measure(kind, results)?;
        }
        Ok(())
    }

    fn subject<'s>(&self, kind: Kind, results: &'s mut Results) -> Result<Subject<'s, Server>> {
        let (home, client, _) = Server::start(kind, self.options, &ping())?;
        let (placement, typical) = (self.placement, self.options.typical());
        Ok(Subject { kind, home, client, counts: &NATIVE, placement, typical, results })
    }

    fn measure(&self, kind: Kind, results: &mut Results) -> Result<()> {
        let wants = |group| self.options.wants(group);
        let is_agent = kind != Kind::Floor;
        if wants("start") && is_agent {
            start::measure(self, kind, &ping(), results)?;
        }
        if wants("memory") && is_agent && self.placement == Placement::Pinned {
            memory::measure_sets(&mut self.subject(kind, results)?, self.commands)?;
            memory::measure_large(&mut self.subject(kind, results)?)?;
        }
        self.subject(kind, results)?.measure(self.options, self.commands)
    }
}

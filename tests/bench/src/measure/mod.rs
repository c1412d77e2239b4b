//! What is measured of a server, and how.

mod exec;
mod files;
mod latency;
mod memory;
mod start;

pub use files::{SIZES, Size};

use anyhow::Result;
use serde_json::json;

use crate::client::Client;
use crate::commands::{Commands, request};
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
struct Subject<'s> {
    kind: Kind,
    server: Server,
    client: Client,
    placement: Placement,
    typical: Typical,
    results: &'s mut Results,
}

impl Subject<'_> {
    fn add(&mut self, row: &str, value: f64) {
        self.results.add(self.placement, row, self.kind, value);
    }
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

    fn subject<'s>(&self, kind: Kind, ping: &[u8], results: &'s mut Results) -> Result<Subject<'s>> {
        let (server, client, _) = Server::start(kind, self.options, ping)?;
        Ok(Subject { kind, server, client, placement: self.placement, typical: self.typical(), results })
    }

    fn typical(&self) -> Typical {
        Typical { fastest: self.options.fastest }
    }

    fn measure(&self, kind: Kind, results: &mut Results) -> Result<()> {
        let ping = request("guest-ping", &json!({}));
        let wants = |group| self.options.wants(group);
        let is_agent = kind != Kind::Floor;
        if wants("start") && is_agent {
            start::measure(self, kind, &ping, results)?;
        }
        if wants("memory") && is_agent && self.placement == Placement::Pinned {
            memory::measure_sets(&mut self.subject(kind, &ping, results)?, self.commands)?;
            memory::measure_large(&mut self.subject(kind, &ping, results)?)?;
        }
        let mut subject = self.subject(kind, &ping, results)?;
        if wants("ping") {
            latency::measure(&mut subject, &ping)?;
        }
        if wants("info") && is_agent {
            latency::measure_command(&mut subject, "info", &request("guest-info", &json!({})))?;
        }
        if wants("files") {
            files::measure(&mut subject)?;
        }
        if wants("commands") && is_agent {
            for command in &self.commands.timed {
                latency::measure_command(&mut subject, &command.execute, &command.request())?;
            }
        }
        if wants("exec") && is_agent {
            exec::measure(&mut subject)?;
        }
        Ok(())
    }
}

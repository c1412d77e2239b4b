//! From the start of the program to its first reply.

use anyhow::Result;

use super::Plan;
use crate::process;
use crate::results::Results;
use crate::server::{Kind, Server};

const STARTS: usize = 11;

/// The time and the agent's part of it on a processor, in milliseconds; the first start is not counted.
pub fn measure(plan: &Plan<'_>, kind: Kind, ping: &[u8], results: &mut Results) -> Result<()> {
    let (mut times, mut cpu) = (Vec::with_capacity(STARTS), Vec::with_capacity(STARTS));
    for start in 0..STARTS {
        let (server, _client, took) = Server::start(kind, plan.options, ping)?;
        if start != 0 {
            times.push(took.as_secs_f64() * 1e3);
            cpu.push(process::cpu_time(server.pid())? as f64 / 1e6);
        }
    }
    results.add(plan.placement, "start", kind, plan.options.typical().of(times));
    results.add(plan.placement, "start-cpu", kind, plan.options.typical().of(cpu));
    Ok(())
}

//! Round trips.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::{Counts, Subject};
use crate::commands::request;
use crate::home::Home;

/// Pings and syncs: one at a time, then as many as the server takes.
pub fn measure<H: Home>(subject: &mut Subject<'_, H>, ping: &[u8]) -> Result<()> {
    let &Counts { pings, batch: each, batches, .. } = subject.counts;
    round_trip(subject, ping, pings / 10)?;
    let before = subject.home.cpu_time()?;
    let took = round_trip(subject, ping, pings)?;
    let after = subject.home.cpu_time()?;
    subject.add("ping", took);
    subject.add("cpu", after.saturating_sub(before) as f64 / 1e3 / pings as f64);

    let sync = request("guest-sync", &json!({"id": 1_234_567}));
    round_trip(subject, &sync, pings / 10)?;
    let took = round_trip(subject, &sync, pings)?;
    subject.add("sync", took);

    let batch = ping.repeat(each);
    subject.client.pipeline(&batch, each, batches / 10)?;
    let began = Instant::now();
    subject.client.pipeline(&batch, each, batches)?;
    subject.add("pipelined", (each * batches) as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// A command's round trip, if the agent has it.
pub fn measure_command<H: Home>(subject: &mut Subject<'_, H>, row: &str, request: &[u8]) -> Result<()> {
    if !subject.client.can(request)? {
        return Ok(());
    }
    let &Counts { calls, longest, .. } = subject.counts;
    let few = (calls / 100).max(1);
    let began = Instant::now();
    round_trip(subject, request, few)?;
    let once = began.elapsed() / few as u32;
    let count = (longest.as_nanos() / once.as_nanos().max(1)) as usize;
    let took = round_trip(subject, request, count.clamp(5, calls))?;
    subject.add(row, took);
    Ok(())
}

/// The time of a request and its reply, in microseconds.
fn round_trip<H: Home>(subject: &mut Subject<'_, H>, request: &[u8], count: usize) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        subject.client.succeed(request)?;
        times.push(began.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(subject.typical.of(times))
}

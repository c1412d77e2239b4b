//! Round trips.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::Subject;
use crate::commands::request;
use crate::process;

/// Pings of a measurement.
const PINGS: usize = 4000;
/// Pings that are sent in one piece, of which two are under way at a time.
const BATCH: usize = 512;
/// Batches of a measurement.
const BATCHES: usize = 40;
/// Calls of other commands; fewer, where they take longer than [`LONGEST`] together.
const CALLS: usize = 1000;
const LONGEST: Duration = Duration::from_millis(500);

/// Pings and syncs: one at a time, then as many as the server takes.
pub fn measure(subject: &mut Subject<'_>, ping: &[u8]) -> Result<()> {
    round_trip(subject, ping, PINGS / 10)?;
    let before = process::cpu_time(subject.server.pid())?;
    let took = round_trip(subject, ping, PINGS)?;
    let after = process::cpu_time(subject.server.pid())?;
    subject.add("ping", took);
    subject.add("cpu", after.saturating_sub(before) as f64 / 1e3 / PINGS as f64);

    let sync = request("guest-sync", &json!({"id": 1_234_567}));
    round_trip(subject, &sync, PINGS / 10)?;
    let took = round_trip(subject, &sync, PINGS)?;
    subject.add("sync", took);

    let batch = ping.repeat(BATCH);
    subject.client.pipeline(&batch, BATCH, BATCHES / 10)?;
    let began = Instant::now();
    subject.client.pipeline(&batch, BATCH, BATCHES)?;
    subject.add("pipelined", (BATCH * BATCHES) as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// A command's round trip, if the agent has it.
pub fn measure_command(subject: &mut Subject<'_>, row: &str, request: &[u8]) -> Result<()> {
    if !subject.client.can(request)? {
        return Ok(());
    }
    let began = Instant::now();
    round_trip(subject, request, CALLS / 100)?;
    let once = began.elapsed() / (CALLS / 100) as u32;
    let count = (LONGEST.as_nanos() / once.as_nanos().max(1)) as usize;
    let took = round_trip(subject, request, count.clamp(5, CALLS))?;
    subject.add(row, took);
    Ok(())
}

/// The time of a request and its reply, in microseconds.
fn round_trip(subject: &mut Subject<'_>, request: &[u8], count: usize) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        subject.client.succeed(request)?;
        times.push(began.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(subject.typical.of(times))
}

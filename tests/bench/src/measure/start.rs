//! From the start of the program to its first reply.

use anyhow::Result;

use super::Plan;
use crate::results::{Results, median};
use crate::server::{Kind, Server};

const STARTS: usize = 11;

/// The median time, in milliseconds; the first start is not counted.
pub fn measure(plan: &Plan<'_>, kind: Kind, ping: &[u8], results: &mut Results) -> Result<()> {
    let mut times = Vec::with_capacity(STARTS);
    for start in 0..STARTS {
        let (_, _, took) = Server::start(kind, plan.options, ping)?;
        if start != 0 {
            times.push(took.as_secs_f64() * 1e3);
        }
    }
    results.add(plan.placement, "start", kind, median(times).unwrap_or_default());
    Ok(())
}

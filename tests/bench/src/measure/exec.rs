//! `guest-exec` until the program's end is known.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::Subject;
use crate::commands::request;
use crate::home::Home;

/// The time from the request to run /bin/true to the reply that says that it has exited, in milliseconds. The
/// status is asked for without a pause.
pub fn measure<H: Home>(subject: &mut Subject<'_, H>) -> Result<()> {
    let arguments = json!({"path": "/bin/true"});
    if !subject.client.can(&request("guest-exec", &arguments))? {
        return Ok(());
    }
    let mut times = Vec::with_capacity(subject.counts.programs);
    for _ in 0..subject.counts.programs {
        let began = Instant::now();
        let started = subject.client.call("guest-exec", &arguments)?;
        let status = json!({"pid": started.get("pid")});
        while subject.client.call("guest-exec-status", &status)?.get("exited") != Some(&true.into()) {}
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let took = subject.typical.of(times);
    subject.add("exec", took);
    Ok(())
}

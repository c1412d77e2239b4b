//! Memory: idle, in use, and after a large reply.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Subject, files};
use crate::commands::{Commands, request};
use crate::process;

const LARGE: usize = 16 << 20;

/// Measures a fresh server, whose one client has had one reply.
pub fn measure(subject: &mut Subject<'_>, commands: &Commands) -> Result<()> {
    let pid = subject.server.pid();
    subject.add("idle", process::status(pid, "VmRSS")?);
    for command in &commands.one_of_every_set {
        // Refusals are expected: most have arguments that have no effect.
        subject.client.ask(&command.request())?;
    }
    subject.add("used", process::status(pid, "VmRSS")?);

    let path = subject.server.path("large");
    fs::write(&path, files::content(LARGE))?;
    let handle = files::open(&mut subject.client, &json!({"path": path, "mode": "r"}))?;
    subject.client.succeed(&request("guest-file-read", &json!({"handle": handle, "count": LARGE})))?;
    subject.add("peak", process::status(pid, "VmHWM")?);
    thread::sleep(Duration::from_secs(1));
    subject.add("kept", process::status(pid, "VmRSS")?);
    Ok(())
}

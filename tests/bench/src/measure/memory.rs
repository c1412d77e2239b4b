//! Memory: idle, in use, and after a large reply.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Subject, files};
use crate::commands::{Commands, request};
use crate::home::Home;
use crate::process;
use crate::server::Server;

const LARGE: usize = 16 << 20;

/// How long a server is left alone before its memory is looked at.
const QUIET: Duration = Duration::from_secs(1);

/// Measures a fresh server, whose one client has had one reply, and then has it run a command of every set.
pub fn measure_sets(subject: &mut Subject<'_, Server>, commands: &Commands) -> Result<()> {
    let pid = subject.home.pid();
    thread::sleep(QUIET);
    subject.add("idle", process::status(pid, "VmRSS")?);
    for command in &commands.one_of_every_set {
        // Refusals are expected: most have arguments that have no effect.
        subject.client.ask(&command.request())?;
    }
    thread::sleep(QUIET);
    subject.add("used", process::status(pid, "VmRSS")?);
    Ok(())
}

/// Measures what a fresh server takes for one large read, and what it keeps of it.
pub fn measure_large(subject: &mut Subject<'_, Server>) -> Result<()> {
    let pid = subject.home.pid();
    let path = subject.home.make_file(LARGE)?;
    let handle = files::open(&mut subject.client, &json!({"path": path, "mode": "r"}))?;
    subject.client.succeed(&request("guest-file-read", &json!({"handle": handle, "count": LARGE})))?;
    subject.add("peak", process::status(pid, "VmHWM")?);
    thread::sleep(QUIET);
    subject.add("kept", process::status(pid, "VmRSS")?);
    Ok(())
}

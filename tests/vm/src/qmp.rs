//! QEMU's monitor: commands and events.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Error;
use crate::lines::{LineError, Lines};
use crate::supervise::Process;

/// Something that QEMU reports by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `SHUTDOWN`.
    pub name: String,
    /// What it says, such as `{"guest": true, "reason": "guest-shutdown"}`.
    pub data: Value,
}

/// A connection to the monitor. Events wait in it from the start of the machine.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    events: VecDeque<Event>,
}

const REPLY_LIMIT: Duration = Duration::from_secs(20);
const START_LIMIT: Duration = Duration::from_secs(20);

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub(crate) fn connect(path: &Path, process: &Process) -> Result<Self, Error> {
        let deadline = Instant::now() + START_LIMIT;
        let lines = loop {
            match Lines::connect(path) {
                Ok(lines) => break lines,
                Err(error) => {
                    if let Some(status) = process.ended() {
                        return Err(Error::Failed(format!("QEMU ended at once: {status}")));
                    }
                    if Instant::now() >= deadline {
                        return Err(Error::io("connecting to the monitor")(error));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut qmp = Self { lines, events: VecDeque::new() };
        let greeting = qmp.message(deadline).map_err(|error| failed(&error))?;
        if greeting.get("QMP").is_none() {
            return Err(Error::Failed(format!("no greeting of a monitor: {greeting}")));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a monitor command.
    ///
    /// # Errors
    ///
    /// With QEMU's words if it refuses, or if it does not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let request = json!({"execute": command, "arguments": arguments});
        self.lines.send(format!("{request}\n").as_bytes()).map_err(Error::io("writing to the monitor"))?;
        let deadline = Instant::now() + REPLY_LIMIT;
        loop {
            let mut message = self.message(deadline).map_err(|error| failed(&error))?;
            if let Some(result) = message.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = message.get("error") {
                return Err(Error::Failed(format!("{command}: {error}")));
            }
        }
    }

    /// The next event of this name, also if it has come already. Others stay for later calls.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it does not come within `limit`.
    pub fn wait_event(&mut self, name: &str, limit: Duration) -> Result<Event, Error> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(index) = self.events.iter().position(|event| event.name == name)
                && let Some(event) = self.events.remove(index)
            {
                return Ok(event);
            }
            match self.message(deadline) {
                Ok(_) => {}
                Err(LineError::Timeout) => {
                    return Err(Error::Timeout(format!("no event {name} within {limit:?}")));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// The events that have come within `limit` and were not waited for.
    ///
    /// # Errors
    ///
    /// If the monitor is gone.
    pub fn events_within(&mut self, limit: Duration) -> Result<Vec<Event>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            match self.message(deadline) {
                Ok(_) => {}
                Err(LineError::Timeout) => return Ok(self.events.drain(..).collect()),
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// Runs a command of the human monitor, for what QMP cannot say.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn human(&mut self, command_line: &str) -> Result<String, Error> {
        let arguments = json!({"command-line": command_line});
        let text = self.execute("human-monitor-command", arguments)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The next message; an event is kept as well.
    fn message(&mut self, deadline: Instant) -> Result<Value, LineError> {
        let line = self.lines.line(deadline)?;
        let message: Value = serde_json::from_slice(&line).map_err(std::io::Error::from)?;
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            self.events
                .push_back(Event { name: name.to_owned(), data: message.get("data").cloned().unwrap_or_default() });
        }
        Ok(message)
    }
}

fn failed(error: &LineError) -> Error {
    Error::Failed(format!("the monitor: {error}"))
}

//! The root shell on the second port; its other end is `guest/control.sh`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::lines::{LineError, Lines};

/// What a command line in the guest gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 137 if it was killed at its time limit.
    pub status: i32,
    /// Standard output and standard error together.
    pub stdout: String,
}

/// The host's end of the control port.
#[derive(Debug)]
pub(crate) struct Control {
    lines: Lines,
    last_id: u64,
    /// Boots that were announced and not yet waited for.
    boots: usize,
}

/// Time for the answer to travel, beyond the limit of the command itself.
const GRACE: Duration = Duration::from_secs(10);

enum Frame {
    /// The shell has started.
    Hello,
    /// A command has ended.
    Result { id: u64, output: Output },
}

impl Control {
    pub(crate) fn connect(path: &Path) -> Result<Self, Error> {
        let lines = Lines::connect(path).map_err(Error::io("connecting to the control port"))?;
        Ok(Self { lines, last_id: 0, boots: 0 })
    }

    /// Waits until the shell of one more boot announces itself; false if the limit comes first.
    pub(crate) fn wait_for_boot(&mut self, limit: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + limit;
        while self.boots == 0 {
            match self.frame(deadline) {
                Ok(Frame::Hello) => self.boots += 1,
                Ok(Frame::Result { .. }) => {}
                Err(LineError::Timeout) => return Ok(false),
                Err(error) => return Err(failed(&error)),
            }
        }
        self.boots -= 1;
        Ok(true)
    }

    /// Runs a command line; the guest kills it after `limit`.
    pub(crate) fn run(&mut self, command: &str, limit: Duration) -> Result<Output, Error> {
        self.last_id += 1;
        let id = self.last_id;
        let seconds = limit.as_secs().max(1);
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.lines
            .send(format!("{id} {seconds} {hex}\n").as_bytes())
            .map_err(Error::io("writing to the control port"))?;
        let deadline = Instant::now() + limit + GRACE;
        loop {
            match self.frame(deadline) {
                Ok(Frame::Result { id: done, output }) if done == id => return Ok(output),
                // The late answer of a command that was given up.
                Ok(Frame::Result { .. }) => {}
                Ok(Frame::Hello) => self.boots += 1,
                Err(LineError::Timeout) => {
                    return Err(Error::Timeout(format!("in the guest, after {limit:?}: {command}")));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// The next frame. What is no frame is skipped: a guest that is reset may stop in mid-word.
    fn frame(&mut self, deadline: Instant) -> Result<Frame, LineError> {
        loop {
            let line = self.lines.line(deadline)?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["H", _boot] => return Ok(Frame::Hello),
                ["R", id, status, length] => {
                    let numbers = (id.parse(), status.parse(), length.parse());
                    let (Ok(id), Ok(status), Ok(length)) = numbers else {
                        continue;
                    };
                    let bytes = self.lines.exactly(length, deadline)?;
                    let stdout = String::from_utf8_lossy(&bytes).into_owned();
                    return Ok(Frame::Result { id, output: Output { status, stdout } });
                }
                _ => {}
            }
        }
    }
}

fn failed(error: &LineError) -> Error {
    Error::Failed(format!("the control port: {error}"))
}

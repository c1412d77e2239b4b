//! Running other programs without ever waiting for one without limit.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Longest pause between two looks at a process or a reader.
const PAUSE: Duration = Duration::from_millis(5);
/// What a killed process gets to disappear; one that hangs in the kernel is left.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// How a process ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status; a signal's number negated.
    Status(i32),
    /// It still ran when the time was over.
    Running,
}

impl From<Option<ExitStatus>> for Exit {
    fn from(status: Option<ExitStatus>) -> Exit {
        match status {
            None => Exit::Running,
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Status(code),
                (None, signal) => Exit::Status(-signal.unwrap_or(0)),
            },
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(code) => write!(f, "{code}"),
            Exit::Running => f.write_str("running"),
        }
    }
}

/// Wait for the process until the deadline.
pub fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(200);
    loop {
        let status = child.try_wait()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if status.is_some() || left.is_zero() {
            return Ok(status);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE);
    }
}

/// Kill the process, which leads a group of its own and has not been waited for,
/// together with that group.
pub fn kill_group(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    // The process is still ours, so its id cannot mean any other group.
    let group = Pid::from_raw(child.id().cast_signed());
    if killpg(group, Signal::SIGKILL).is_err() {
        child.kill()?;
    }
    wait_until(child, Instant::now() + KILL_PATIENCE)
}

/// What a finished program has left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Run a program in a process group of its own, feed it `stdin` and collect what it
/// says.  It counts as running until it has ended and nobody holds its output open.
pub fn run(mut command: Command, stdin: Vec<u8>, patience: Duration) -> io::Result<Finished> {
    let deadline = Instant::now() + patience;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // Whether the program wants its input is its own affair.
        thread::spawn(move || drop(pipe.write_all(&stdin)));
    }
    let stdout = Collector::start(child.stdout.take());
    let stderr = Collector::start(child.stderr.take());
    let mut status = wait_until(&mut child, deadline)?;
    if !(stdout.wait(deadline) && stderr.wait(deadline)) {
        status = None;
    }
    if status.is_none() {
        kill_group(&mut child)?;
        let deadline = Instant::now() + KILL_PATIENCE;
        stdout.wait(deadline);
        stderr.wait(deadline);
    }
    Ok(Finished { exit: status.into(), stdout: stdout.take(), stderr: stderr.take() })
}

/// Reads a pipe to its end in the background.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collector {
    fn start<P: Read + Send + 'static>(pipe: Option<P>) -> Collector {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                    let new = chunk.get(..length).unwrap_or_default();
                    shared.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
                }
            })
        });
        Collector { bytes, reader }
    }

    /// Whether the end has been reached by the deadline.
    fn wait(&self, deadline: Instant) -> bool {
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    fn take(self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Exit, run};
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn shell(line: &str, stdin: &str, millis: u64) -> (Exit, String, String) {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let done = run(command, stdin.into(), Duration::from_millis(millis)).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.exit, text(done.stdout), text(done.stderr))
    }

    #[test]
    fn output_and_status_are_collected() {
        let (exit, out, err) = shell("cat; echo e >&2; exit 3", "in", 5000);
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Status(3), "in", "e\n"));
        assert_eq!(shell("kill -9 $$", "", 5000).0, Exit::Status(-9));
    }

    #[test]
    fn nothing_is_waited_for_beyond_the_limit() {
        let begin = Instant::now();
        let (exit, out, _) = shell("echo a; sleep 20", "", 200);
        assert_eq!((exit, out.as_str()), (Exit::Running, "a\n"));
        assert_eq!(shell("sleep 2 & echo b", "", 200).0, Exit::Running);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

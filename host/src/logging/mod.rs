//! The log. Lines go through a bounded queue to a thread of their own, so that a disk that hangs, or a file system that is
//! frozen, never holds up the daemon: what does not fit is dropped and counted. What comes over and over is counted as well.

mod limit;
mod sink;
mod subscriber;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestd_abi::LogLevel;

use crate::printable::printable;
use limit::Limit;
pub use sink::LogTarget;
use sink::Sink;

/// The most lines that wait. A frozen guest with a failing hook writes some ten lines a second; this is minutes of them.
const MOST_LINES: usize = 2048;
/// The most bytes of one line; a hook's output may be anything.
const MOST_BYTES: usize = 4096;

/// The log of the process.
pub struct Log {
    level: AtomicU8,
    queue: Mutex<Queue>,
    changed: Condvar,
    sink: Mutex<Sink>,
}

/// A line that waits.
#[derive(Debug)]
struct Line {
    when: Duration,
    level: LogLevel,
    text: String,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    dropped: u64,
    limit: Limit,
    /// File systems are frozen: nothing is written.
    held: bool,
    writing: bool,
    has_writer: bool,
}

impl Queue {
    fn push(&mut self, level: LogLevel, text: String) {
        let when = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.lines.len() >= MOST_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(Line { when, level, text });
    }
}

/// Cuts a line that is too long.
fn cut(text: &mut String) {
    if text.len() > MOST_BYTES {
        let length = guestd_sdk::head(text, MOST_BYTES).len();
        text.truncate(length);
    }
}

static LOG: OnceLock<Log> = OnceLock::new();

/// The log, which writes to standard error until [`Log::configure`] says otherwise.
pub fn log() -> &'static Log {
    LOG.get_or_init(|| Log {
        level: AtomicU8::new(LogLevel::Info as u8),
        queue: Mutex::default(),
        changed: Condvar::new(),
        sink: Mutex::new(Sink::stderr()),
    })
}

impl Log {
    /// Sets level and target, and opens the target (anew). Fails where it cannot be opened; the log then stays as it was.
    pub fn configure(&self, level: LogLevel, target: &LogTarget) -> Result<(), String> {
        let sink = Sink::open(target)?;
        self.level.store(level as u8, Ordering::Relaxed);
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = sink;
        subscriber::install();
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// The least severe level that is logged.
    pub fn level(&self) -> LogLevel {
        LogLevel::from_number(self.level.load(Ordering::Relaxed))
    }

    /// Queues a line. Never waits for it to be written.
    pub fn line(&'static self, level: LogLevel, mut text: String) {
        if level > self.level() {
            return;
        }
        cut(&mut text);
        if text.contains(['\n', '\r']) {
            text = text.replace("\r\n", "\n").replace(['\n', '\r'], " | ");
        }
        if let Cow::Owned(fit) = printable(&text) {
            text = fit;
            cut(&mut text);
        }
        let mut queue = self.lock();
        // Who asks for every request gets every one.
        if level <= LogLevel::Info && !queue.limit.admit(level, &text, Instant::now()) {
            return;
        }
        queue.push(level, text);
        if !queue.has_writer {
            queue.has_writer = thread::Builder::new().name("log".to_owned()).spawn(|| self.write_on()).is_ok();
        }
        self.changed.notify_all();
    }

    /// Keeps lines in memory (true), or lets them be written again.
    pub fn hold(&self, held: bool) {
        let mut queue = self.lock();
        queue.held = held;
        // A line on its way to a disk must be there before the disk is frozen.
        let until = Instant::now() + Duration::from_secs(1);
        while held && queue.writing {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut queue = self.lock();
        for (level, text) in queue.limit.end() {
            queue.push(level, text);
        }
        self.changed.notify_all();
        while !queue.lines.is_empty() || queue.writing {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread.
    fn write_on(&self) {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            for (level, text) in queue.limit.over(now) {
                queue.push(level, text);
            }
            if queue.held || queue.lines.is_empty() {
                queue = match queue.limit.next() {
                    Some(next) => {
                        let left = next.saturating_duration_since(now);
                        self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            }
            let mut lines = std::mem::take(&mut queue.lines);
            let dropped = std::mem::take(&mut queue.dropped);
            if dropped > 0 {
                let (when, level) = (Duration::ZERO, LogLevel::Warn);
                let text = format!("{dropped} log lines before this one were dropped: there was no room for them");
                let when = lines.front().map_or(when, |line| line.when);
                lines.push_front(Line { when, level, text });
            }
            queue.writing = true;
            drop(queue);
            {
                let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
                for line in lines {
                    sink.write(line.when, line.level, &line.text);
                }
            }
            queue = self.lock();
            queue.writing = false;
            self.changed.notify_all();
        }
    }
}

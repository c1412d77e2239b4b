//! Lines that come over and over: what a client can cause as often as it likes must not fill the disk.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use guestd_abi::LogLevel;

/// How often the same line is written within [`WINDOW`].
const MAX_SAME: u32 = 10;
/// How many lines are written within [`WINDOW`], whatever they say: a freeze of a thousand file systems that all fail is less.
const MAX_LINES: u32 = 5000;
/// The time after which counting starts afresh.
const WINDOW: Duration = Duration::from_secs(10);
/// How many different lines are told apart. A flood of others meets [`MAX_LINES`].
const MAX_TEXTS: usize = 1024;

/// Which lines came how often of late. Lines are known by a hash with a key of its own; nobody can make two alike.
#[derive(Default)]
pub(super) struct Limit {
    keys: RandomState,
    texts: HashMap<u64, Counted>,
    all: Option<Counted>,
}

struct Counted {
    since: Instant,
    written: u32,
    left_out: u64,
    /// The line, once one was left out.
    line: Option<(LogLevel, String)>,
}

impl Counted {
    fn new(since: Instant) -> Self {
        Self { since, written: 0, left_out: 0, line: None }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }

    fn admit(&mut self, most: u32) -> bool {
        if self.written < most {
            self.written += 1;
            return true;
        }
        self.left_out += 1;
        false
    }

    /// What is to be said of those that were left out.
    fn summary(self) -> Option<(LogLevel, String)> {
        let (level, text) = self.line?;
        Some((level, format!("{text} ({} more of this line were left out)", self.left_out)))
    }
}

impl Limit {
    /// Whether a line is to be written.
    pub fn admit(&mut self, level: LogLevel, text: &str, now: Instant) -> bool {
        let key = self.keys.hash_one((level as u8, text));
        if self.texts.len() < MAX_TEXTS || self.texts.contains_key(&key) {
            let counted = self.texts.entry(key).or_insert_with(|| Counted::new(now));
            if !counted.admit(MAX_SAME) {
                counted.line.get_or_insert_with(|| (level, text.to_owned()));
                return false;
            }
        }
        self.all.get_or_insert_with(|| Counted::new(now)).admit(MAX_LINES)
    }

    /// When [`Limit::over`] is to be asked next.
    pub fn next(&self) -> Option<Instant> {
        self.texts.values().chain(&self.all).map(|counted| counted.since + WINDOW).min()
    }

    /// Forgets what was counted before the last [`WINDOW`], and returns what is to be said of it.
    pub fn over(&mut self, now: Instant) -> Vec<(LogLevel, String)> {
        let over = self.texts.extract_if(|_, counted| counted.is_over(now));
        let mut lines: Vec<_> = over.filter_map(|(_, counted)| counted.summary()).collect();
        if let Some(all) = self.all.take_if(|all| all.is_over(now))
            && all.left_out > 0
        {
            lines.push((LogLevel::Warn, format!("{} lines were left out: there were too many", all.left_out)));
        }
        if self.texts.is_empty() {
            self.texts.shrink_to_fit();
        }
        lines
    }

    /// The same for all, at the end.
    pub fn end(&mut self) -> Vec<(LogLevel, String)> {
        match self.texts.values().chain(&self.all).map(|counted| counted.since).max() {
            Some(last) => self.over(last + WINDOW),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_over_and_over_is_counted_and_others_are_written() {
        let (mut limit, begin) = (Limit::default(), Instant::now());
        let admitted = (0..1000).filter(|_| limit.admit(LogLevel::Info, "x refused", begin)).count();
        assert_eq!(admitted, 10);
        assert!(limit.admit(LogLevel::Warn, "x refused", begin), "another level is another line");
        assert!(limit.admit(LogLevel::Info, "y refused", begin));
        assert_eq!(limit.next(), Some(begin + WINDOW));
        assert_eq!(limit.over(begin + WINDOW / 2), []);
        let said = (LogLevel::Info, "x refused (990 more of this line were left out)".to_owned());
        assert_eq!(limit.over(begin + WINDOW), [said]);
        assert!(limit.admit(LogLevel::Info, "x refused", begin + WINDOW));
        assert_eq!(limit.end(), []);
        assert_eq!(limit.next(), None);
    }

    #[test]
    fn a_flood_of_different_lines_is_limited_too_and_takes_little_memory() {
        let (mut limit, begin) = (Limit::default(), Instant::now());
        let admitted = (0..100_000).filter(|number| limit.admit(LogLevel::Info, &number.to_string(), begin)).count();
        assert_eq!(admitted, MAX_LINES as usize);
        assert_eq!(limit.texts.len(), MAX_TEXTS);
        let said = (LogLevel::Warn, "95000 lines were left out: there were too many".to_owned());
        assert_eq!(limit.end(), [said]);
        assert!(limit.texts.capacity() == 0 && limit.all.is_none());
    }
}

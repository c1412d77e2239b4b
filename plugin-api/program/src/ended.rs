//! How a program ended, and what it wrote.

use std::process::ExitStatus;
use std::time::Duration;

/// How much of a text [`one_line`] takes, in bytes.
const QUOTED_LIMIT: usize = 1024;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, or by a signal of somebody else.
    Exited(ExitStatus),
    /// It took longer than this, its limit, and was killed with its process group, or left running
    /// ([`Program::left_at_limit`](crate::Program::left_at_limit)). With a limit of zero it was not started.
    TimedOut(Duration),
    /// Killed with its process group, when it had written more than [`Apart`](crate::Apart) allows.
    TooMuchOutput,
    /// Killed with its process group, or not started, since the [`Stop`](crate::Stop) had fired.
    Stopped,
    /// It ended, and somebody else in this process took its status.
    Lost,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What it wrote to its standard output; unless they are kept apart, to its standard error as well.
    pub output: Vec<u8>,
    /// What it wrote to its standard error, where that is kept apart.
    pub errors: Vec<u8>,
}

/// The beginning of what a program said (1024 bytes), as part of an error: printable, its lines joined by `; `.
#[inline]
pub fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..QUOTED_LIMIT).unwrap_or(text));
    let lines = text.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_printable_on_one_line_and_not_endless() {
        assert_eq!(one_line(b"one\r\n\n \x1b[1mtwo\x07 \n\xff"), "one; [1mtwo; \u{FFFD}");
        assert_eq!(one_line(&[b'x'; 5000]), "x".repeat(QUOTED_LIMIT));
        assert_eq!(one_line(b" \n\t\n"), "");
    }
}

//! A program in the guest whose every record is durable before it says so, to see a power cut by.

use crate::{Error, Vm};

/// A loop that appends records to a file, syncs each, and tells so on the console; `guest/recorder.sh`.
#[derive(Debug)]
pub struct Recorder;

/// After so many records the file's synced copy is replaced.
const COPY_EVERY: usize = 8;

impl Recorder {
    /// Starts it in a directory of the guest. `name` is for its lines on the console.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn start(vm: &mut Vm, name: &str, directory: &str) -> Result<(), Error> {
        vm.run(&format!("setsid /lib/guest/recorder {directory} {name} </dev/null >/dev/null 2>&1 &")).map(drop)
    }

    /// How many records it has said to be synced. A line that something else on the console has broken up
    /// does not count, or counts less.
    #[must_use]
    pub fn synced(console: &str, name: &str) -> usize {
        let start = format!("synced {name} ");
        let numbers = console.lines().filter_map(|line| line.trim_end().strip_prefix(&start)?.parse().ok());
        numbers.max().unwrap_or(0)
    }

    /// Checks `records` of a disk that lost its guest: the first `synced` records are there and whole. Gives how
    /// many are whole. What was not synced may be missing, or zeros at the end of the file: ext4(5), `data=ordered`,
    /// promises the order of data and size for new blocks only.
    ///
    /// # Errors
    ///
    /// With where the file is wrong, or how much is missing.
    pub fn check_records(text: &str, synced: usize) -> Result<usize, Error> {
        check(text, synced, |number| format!("{number:08} {number:0120}\n"))
    }

    /// Checks `copy` of such a disk: what a rename put in place is a whole copy.
    ///
    /// # Errors
    ///
    /// With where the file is wrong, or that it ends at a wrong place.
    pub fn check_copy(text: &str) -> Result<usize, Error> {
        let whole = Self::check_records(text, COPY_EVERY)?;
        if whole % COPY_EVERY == 0 && text.ends_with('\n') {
            return Ok(whole);
        }
        Err(Error::Failed(format!("a copy of {whole} records and a part, {} bytes", text.len())))
    }

    /// Checks the file of a [`crate::Writer`] on such a disk: its first `durable` numbers are there, and nothing
    /// but its numbers in order. Gives how many are whole.
    ///
    /// # Errors
    ///
    /// As [`Recorder::check_records`].
    pub fn check_written(text: &str, durable: usize) -> Result<usize, Error> {
        check(text, durable, |number| format!("{number}\n"))
    }
}

/// Compares a text with the lines that a program appends. The last may be a part of one, and zeros may follow.
fn check(text: &str, least: usize, line: impl Fn(usize) -> String) -> Result<usize, Error> {
    let mut whole = 0;
    let mut rest = text.trim_end_matches('\0');
    while !rest.is_empty() {
        let expected = line(whole + 1);
        if let Some(after) = rest.strip_prefix(&expected) {
            whole += 1;
            rest = after;
        } else if expected.starts_with(rest) {
            break;
        } else {
            let found: String = rest.chars().take(expected.len()).collect();
            return Err(Error::Failed(format!("after {whole} lines there is {found:?}")));
        }
    }
    if whole < least {
        return Err(Error::Failed(format!("{whole} lines of {least} that were durable")));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::{Recorder, check};

    fn numbers(text: &str, least: usize) -> Option<usize> {
        Recorder::check_written(text, least).ok()
    }

    #[test]
    fn what_is_missing_or_wrong_is_reported() {
        assert_eq!(numbers("1\n2\n3\n", 3), Some(3));
        assert_eq!(numbers("9\n", 0), None);
        assert_eq!(numbers("1\n2\n3", 2), Some(2), "the last may be a part");
        assert_eq!(numbers("1\n2\n3", 3), None, "a part is not a durable line");
        assert_eq!(numbers("", 1), None);
        assert_eq!(numbers("1\n3\n", 0), None, "a gap");
        assert_eq!(numbers("1\n2\n\0\0\0\0", 2), Some(2), "not synced");
        assert_eq!(numbers("1\n2\n\0\0", 3), None, "synced, and zeros");
        assert_eq!(numbers("1\n\0\0\n3\n", 0), None, "a hole");
    }

    #[test]
    fn a_torn_record_or_copy_is_reported() {
        let eight: String = (1..=8).map(|number| format!("{number:08} {number:0120}\n")).collect();
        assert_eq!(Recorder::check_copy(&eight).ok(), Some(8));
        assert!(Recorder::check_copy(&format!("{eight}0")).is_err());
        assert!(Recorder::check_copy(&format!("{eight}\0")).is_err());
        assert!(Recorder::check_copy("").is_err());
        assert!(Recorder::check_records(&eight, 9).is_err());
        assert!(Recorder::check_records(&eight.replace("004", "0x4"), 0).is_err());
        assert!(check("a", 0, |_| "ab".to_owned()).is_ok());
    }

    #[test]
    fn broken_lines_of_the_console_count_no_more_than_whole_ones() {
        let console = "synced xfs 7\r\nsynced ext4 30\r\nsynced xfs 9[ 1.2] message\r\nsynced xfs 1";
        assert_eq!(Recorder::synced(console, "xfs"), 7);
        assert_eq!(Recorder::synced(console, "btrfs"), 0);
    }
}

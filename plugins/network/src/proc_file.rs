//! Files of procfs that are kept open: the way to one takes longer than all that the kernel writes into it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// What the kernel writes at a time, in bytes: its `seq_file` hands out a page.
const PIECE: usize = 4096;

/// A file below `/proc`, opened when it is first read.
pub(crate) struct ProcFile {
    path: &'static str,
    file: OnceLock<File>,
}

impl ProcFile {
    pub(crate) const fn new(path: &'static str) -> Self {
        Self { path, file: OnceLock::new() }
    }

    /// The path, for errors.
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    /// All that the file says now.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let file = self.file()?;
        let mut text = Vec::new();
        loop {
            let at = text.len();
            text.resize(at + PIECE, 0);
            let length = file.read_at(text.get_mut(at..).unwrap_or_default(), at as u64)?;
            text.truncate(at + length);
            if length == 0 {
                return Ok(text);
            }
        }
    }

    fn file(&self) -> io::Result<&File> {
        match self.file.get() {
            Some(file) => Ok(file),
            None => {
                let file = File::open(self.path)?;
                Ok(self.file.get_or_init(|| file))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time() {
        let file = ProcFile::new("/proc/uptime");
        let first = file.read().unwrap();
        assert!(first.ends_with(b"\n"));
        while file.read().unwrap() == first {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn a_file_of_many_pieces_is_read_as_a_whole() {
        let file = ProcFile::new("/proc/kallsyms");
        let Ok(expected) = std::fs::read(file.path()) else {
            guestd_sdk::testkit::not_here("no /proc/kallsyms");
            return;
        };
        let found = file.read().unwrap();
        assert!(found.len() > 10 * PIECE && found.len() == expected.len());
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_each_time() {
        let file = ProcFile::new("/proc/none");
        for _ in 0..2 {
            assert_eq!(file.read().unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}

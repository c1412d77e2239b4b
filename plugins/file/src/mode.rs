//! The modes of `fopen(3)`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;

use guestd_guest::umask;
use nix::libc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    kind: Kind,
    /// Whether both reading and writing are wanted.
    plus: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Append,
}

/// A file that has been opened, but not emptied yet where the mode wants that.
pub struct Opened {
    file: File,
    truncate: bool,
}

impl Opened {
    /// The file, emptied if its mode wants that; only regular files can be emptied (`open(2)`, `O_TRUNC`).
    pub fn emptied(self) -> io::Result<File> {
        if self.truncate && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(self.file)
    }
}

impl Mode {
    /// Reads a mode: `r`, `w` or `a`, and behind it nothing, `b`, `+`, `b+` or `+b`. `b` means nothing, as in
    /// `fopen(3)` on POSIX systems; what glibc takes beyond that (`x`, `e`, `c`, `m`) qemu-ga refuses.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        let kind = match kind {
            "r" => Kind::Read,
            "w" => Kind::Write,
            "a" => Kind::Append,
            _ => return None,
        };
        let plus = match rest {
            "" | "b" => false,
            "+" | "b+" | "+b" => true,
            _ => return None,
        };
        Some(Self { kind, plus })
    }

    /// Opens a file, or makes it where the mode says so, with permissions 0666 less `umask`, whatever the daemon's own is.
    ///
    /// A file is made by an exclusive `open(2)` first, as qemu-ga does it, and what exists is then opened without
    /// `O_CREAT`: so a symlink to nowhere is not followed to make its target.
    ///
    /// A file that exists is not emptied here, so that nothing is lost if the call fails later on.
    pub fn open(self, path: &str, umask: u32) -> io::Result<Opened> {
        if self.kind == Kind::Read {
            return Ok(Opened { file: self.options().open(path)?, truncate: false });
        }
        match umask::with(umask, || self.options().create_new(true).open(path))? {
            Ok(file) => Ok(Opened { file, truncate: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(Opened { file: self.options().open(path)?, truncate: self.kind == Kind::Write })
            }
            Err(error) => Err(error),
        }
    }

    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options
            .read(self.plus || self.kind == Kind::Read)
            .write(self.plus || self.kind == Kind::Write)
            .append(self.kind == Kind::Append)
            .mode(0o666)
            // A fifo or a terminal must not make a call wait, nor a terminal become the daemon's own.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_are_those_of_fopen() {
        for (first, kind) in [("r", Kind::Read), ("w", Kind::Write), ("a", Kind::Append)] {
            for (rest, plus) in [("", false), ("b", false), ("+", true), ("b+", true), ("+b", true)] {
                assert_eq!(Mode::parse(&format!("{first}{rest}")), Some(Mode { kind, plus }), "{first}{rest}");
            }
        }
        for bad in ["", "x", "rw", "rt", "br", "R", "re", "rb+b", "r ", "%s", "+", "b", "r++", "rbb", "é", "wx", "r\0"]
        {
            assert_eq!(Mode::parse(bad), None, "{bad:?}");
        }
    }
}

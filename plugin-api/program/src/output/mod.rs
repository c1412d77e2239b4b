//! What a program writes: where it goes, how much of it is kept, and what becomes of the rest.
//!
//! A type each and no `enum`, so that a plugin has the code of the one that it uses.

mod memory;
mod pipes;

use std::io;
use std::process::Command;

use rustix::event::PollFd;
use rustix::process::{Gid, Uid};

/// Where a program's output goes, and how much of it may be: [`Together`], [`Apart`] or [`Memory`].
pub trait Output: Connect {}

impl<O: Connect> Output for O {}

/// Standard output and error go together through a pipe. The beginning is kept, the rest is read and thrown away. When
/// the program has ended, what it left running can write to the pipe no more, and is ended by SIGPIPE if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// How much is kept, in bytes.
    pub kept: usize,
}

impl Default for Together {
    /// 64 KiB are kept.
    #[inline]
    fn default() -> Self {
        Self { kept: 64 << 10 }
    }
}

/// As [`Together`], but by a pipe each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// How much it may write to its standard output, in bytes; for more it is killed.
    pub most: usize,
    /// How much is kept of its standard error, in bytes.
    pub kept: usize,
}

/// Standard output and error go together into a file in memory, which cannot grow: more is refused to the program
/// (EPERM, for the whole page). What it leaves running can go on writing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// How long the file is, in bytes.
    pub length: usize,
}

/// The way from a kind of output to the ends of it.
pub trait Connect {
    /// This process's ends.
    type Ends: Ends;

    /// Makes the ends, and gives the program its ones. They belong to `owner`, if that is another user.
    fn connect(self, command: &mut Command, owner: Option<(Uid, Gid)>) -> io::Result<Self::Ends>;
}

/// This process's ends of a program's output.
pub trait Ends {
    /// Reads what there is.
    #[inline]
    fn drain(&mut self) {}

    /// Whether the program has written more than it may.
    #[inline]
    fn is_too_much(&self) -> bool {
        false
    }

    /// Adds what has to be looked at when it can be read.
    #[inline]
    fn poll<'a>(&'a self, _: &mut Vec<PollFd<'a>>) {}

    /// The output, and the errors where they are apart.
    fn into_texts(self) -> (Vec<u8>, Vec<u8>);
}

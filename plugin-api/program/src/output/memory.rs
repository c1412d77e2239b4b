//! Output into a file in memory.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Gid, Uid};

use super::{Connect, Ends, Memory};

/// The file.
pub struct Written {
    file: File,
    length: usize,
}

impl Connect for Memory {
    type Ends = Written;

    #[inline]
    fn connect(self, command: &mut Command, _: Option<(Uid, Gid)>) -> io::Result<Written> {
        let file = File::from(memfd_create("output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        ftruncate(&file, self.length as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
        command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        Ok(Written { file, length: self.length })
    }
}

impl Ends for Written {
    #[inline]
    fn into_texts(mut self) -> (Vec<u8>, Vec<u8>) {
        // The position is shared with those that write, who can set it to anything.
        let end = self.file.stream_position().map_or(0, |position| usize::try_from(position).unwrap_or(usize::MAX));
        let mut text = vec![0; end.min(self.length)];
        // It cannot fail: the file is in memory, and does not shrink.
        let read = self.file.read_exact_at(&mut text, 0);
        (if read.is_ok() { text } else { Vec::new() }, Vec::new())
    }
}

//! One open file.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;

use nix::errno::Errno;

use crate::deadline::Deadline;
use crate::in_place::InPlace;

/// What stdio reads at a time, and so the least that is asked of a file whose reads cannot be cut anywhere.
const BLOCK: usize = 4096;

/// How much is written between two looks at the deadline.
const WRITE_STEP: usize = 1024 * 1024;

/// A file that a client has opened. Its position is the kernel's, less what was read ahead.
pub struct OpenFile {
    file: File,
    is_regular: bool,
    reads_ahead: bool,
    in_place: InPlace,
    /// What was read ahead; `ahead_at` is where the part begins that no client has had yet.
    ahead: Vec<u8>,
    ahead_at: usize,
}

/// How a read ended.
pub enum End {
    /// The buffer is full.
    Full,
    /// The file has ended.
    Eof,
    /// The system call failed, after the bytes counted.
    Failed(io::Error),
}

/// What a seek is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The beginning.
    Set,
    /// The position.
    Cur,
    /// The end.
    End,
}

impl OpenFile {
    /// Takes a file that was just opened.
    pub fn new(file: File) -> io::Result<Self> {
        let facts = file.metadata()?;
        let is_regular = facts.is_file();
        // Files under /proc/sys give their text in one read and nothing at another offset; their size is 0. Devices as
        // /dev/kmsg refuse a read that is smaller than a record. stdio hides both by its buffer.
        let reads_ahead = (is_regular && facts.len() == 0) || facts.file_type().is_char_device();
        let in_place = if is_regular && !reads_ahead { InPlace::of(&file)? } else { InPlace::impossible() };
        Ok(Self { file, is_regular, reads_ahead, in_place, ahead: Vec::new(), ahead_at: 0 })
    }

    /// What can be done with this file without waiting.
    pub fn in_place(&self) -> &InPlace {
        &self.in_place
    }

    /// Reads until `buf` is full or the file ends, and returns how many bytes there are, if that can be done without
    /// waiting. `None`: it cannot, and the position is where it was.
    pub fn read_in_place(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut got = 0;
        while let Some(rest) = buf.get_mut(got..)
            && !rest.is_empty()
        {
            match self.in_place.read(&self.file, rest) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(_) => return self.unread(got).map(|()| None),
            }
        }
        Ok(Some(got))
    }

    /// Writes all of `bytes` at the position, if that can be done without waiting; returns whether it was. The position is
    /// where it was if not.
    pub fn write_in_place(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..)
            && !rest.is_empty()
        {
            match self.in_place.write(&self.file, rest) {
                Ok(count) if count != 0 => done += count,
                _ => return self.unread(done).map(|()| false),
            }
        }
        Ok(true)
    }

    /// Reads until `buf` is full, the file ends, or a read fails, as it does where there is nothing yet. Returns
    /// how many bytes there are.
    pub fn read(&mut self, buf: &mut [u8]) -> (usize, End) {
        let mut got = 0;
        while let Some(rest) = buf.get_mut(got..)
            && !rest.is_empty()
        {
            match self.read_some(rest) {
                Ok(0) => return (got, End::Eof),
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (got, End::Failed(error)),
            }
        }
        (got, End::Full)
    }

    fn read_some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.take_ahead(buf);
        if taken != 0 {
            return Ok(taken);
        }
        if !self.reads_ahead || buf.len() >= BLOCK {
            return self.file.read(buf);
        }
        self.ahead.resize(BLOCK, 0);
        let read = self.file.read(&mut self.ahead);
        self.ahead_at = 0;
        self.ahead.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| self.take_ahead(buf))
    }

    fn take_ahead(&mut self, buf: &mut [u8]) -> usize {
        let Some(mut rest) = self.ahead.get(self.ahead_at..) else { return 0 };
        // Reading from a slice in memory does not fail.
        let taken = rest.read(buf).unwrap_or(0);
        self.ahead_at += taken;
        taken
    }

    /// Gives the last `count` bytes back, so that the next read gives them again. Fails where the file has no position.
    pub fn unread(&mut self, count: usize) -> io::Result<()> {
        self.seek(-i64::try_from(count).map_err(io::Error::other)?, Origin::Cur).map(drop)
    }

    /// How many bytes lie between the position and the end; `None` where the file system does not tell.
    pub fn remaining(&mut self) -> Option<u64> {
        let size = if self.is_regular { self.file.metadata().ok()?.len() } else { 0 };
        if size == 0 {
            return None;
        }
        Some(size.saturating_sub(self.position().ok()?))
    }

    /// Writes at the position, or at the end if the file was opened for appending. Returns the number of bytes, which
    /// is less than there are only where a fifo or a device takes no more for now.
    ///
    /// After an error some bytes may have been written, but the position is where it was, where the file has one, so
    /// that the same write can be tried again.
    pub fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.drop_ahead();
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..)
            && !rest.is_empty()
        {
            let written = match deadline.check() {
                Ok(()) => self.file.write(rest.get(..WRITE_STEP).unwrap_or(rest)),
                Err(_) => Err(ErrorKind::TimedOut.into()),
            };
            let error = match written {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    done += count;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock if done != 0 => break,
                _ => {
                    // A file without a position has nothing to go back to.
                    let _ = self.unread(done);
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    /// Moves the position and returns the new one.
    pub fn seek(&mut self, offset: i64, origin: Origin) -> io::Result<u64> {
        if offset == 0 && origin == Origin::Cur {
            return self.position();
        }
        self.drop_ahead();
        let to = match origin {
            Origin::Set => from_start(offset)?,
            Origin::Cur => SeekFrom::Current(offset),
            // As stdio does it: some files under /proc cannot seek to their end, though they have a size, 0.
            Origin::End if self.is_regular => {
                let size = i64::try_from(self.file.metadata()?.len()).map_err(io::Error::other)?;
                from_start(size.checked_add(offset).ok_or(Errno::EINVAL)?)?
            }
            Origin::End => SeekFrom::End(offset),
        };
        let position = self.file.seek(to)?;
        self.forget_ahead();
        Ok(position)
    }

    fn position(&mut self) -> io::Result<u64> {
        Ok(self.file.stream_position()?.saturating_sub(self.count_ahead() as u64))
    }

    fn count_ahead(&self) -> usize {
        self.ahead.len().saturating_sub(self.ahead_at)
    }

    fn forget_ahead(&mut self) {
        self.ahead = Vec::new();
        self.ahead_at = 0;
    }

    /// Moves the kernel's position back to where the client is, before something that depends on it.
    fn drop_ahead(&mut self) {
        // A device without a position keeps what it gave.
        let back = -(self.count_ahead() as i64);
        if back != 0 && self.file.seek(SeekFrom::Current(back)).is_ok() {
            self.forget_ahead();
        }
    }

    /// Closes the file and reports what `close(2)` reports: some file systems, as NFS, write only then.
    pub fn close(self) -> io::Result<()> {
        Ok(nix::unistd::close(self.file)?)
    }
}

fn from_start(offset: i64) -> io::Result<SeekFrom> {
    Ok(SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::EINVAL)?))
}

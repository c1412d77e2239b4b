//! One captured stream of a program.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};

use crate::budget::Held;
use crate::jobs::Jobs;

/// How much of a stream is kept, in bytes: as much as qemu-ga keeps.
pub(crate) const STREAM_LIMIT: usize = 16 << 20;

/// How much is read at once, in bytes: what a pipe holds (pipe(7)).
pub(crate) const CHUNK: usize = 64 << 10;

/// What a program writes to a pipe. Past the limits it is read and dropped, so that the program goes on.
pub(crate) struct Stream {
    /// None after its end.
    pipe: Option<PipeReader>,
    data: Vec<u8>,
    held: Held,
    truncated: bool,
}

/// What there is of a stream when its program has ended.
pub(crate) struct Captured {
    /// The first bytes.
    pub data: Vec<u8>,
    /// Whether there were more.
    pub truncated: bool,
    /// The room that they take.
    pub held: Held,
}

impl Stream {
    /// A stream from `pipe`, which must not block.
    pub(crate) fn new(pipe: PipeReader, jobs: &Jobs) -> Self {
        Self { pipe: Some(pipe), data: Vec::new(), held: jobs.no_room(), truncated: false }
    }

    /// The pipe, as long as somebody may write to it.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what there is, one chunk at most. Returns how much that was.
    pub(crate) fn read(&mut self, jobs: &Jobs, chunk: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        match pipe.read(chunk) {
            Ok(length) if length > 0 => {
                self.keep(jobs, chunk.get(..length).unwrap_or_default());
                length
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Ok(_) | Err(_) => {
                self.pipe = None;
                0
            }
        }
    }

    fn keep(&mut self, jobs: &Jobs, bytes: &[u8]) {
        let room = bytes.len().min(STREAM_LIMIT - self.data.len());
        let room = jobs.grow(&mut self.held, room);
        self.data.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.truncated |= room < bytes.len();
    }

    /// The program has ended: reads what it has left in the pipe, and returns the pipe if another process may still
    /// hold it.
    pub(crate) fn finish(mut self, jobs: &Jobs, chunk: &mut [u8]) -> (Captured, Option<PipeReader>) {
        let mut left = self.pipe.as_ref().map_or(0, |pipe| rustix::io::ioctl_fionread(pipe).unwrap_or(0));
        while left > 0 {
            let length = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            match self.read(jobs, chunk.get_mut(..length).unwrap_or_default()) as u64 {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        (Captured { data: self.data, truncated: self.truncated, held: self.held }, self.pipe)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::time::Duration;

    use rustix::io::ioctl_fionbio;

    use super::*;
    use crate::config::Limits;

    fn jobs(bytes: usize) -> Jobs {
        Jobs::new(Limits { jobs: 1, bytes, run_time: None, keep: Duration::MAX })
    }

    fn stream(jobs: &Jobs) -> (Stream, io::PipeWriter) {
        let (ours, theirs) = io::pipe().unwrap();
        ioctl_fionbio(&ours, true).unwrap();
        (Stream::new(ours, jobs), theirs)
    }

    #[test]
    fn what_is_in_the_pipe_at_the_end_is_kept_whoever_still_holds_it() {
        let jobs = jobs(STREAM_LIMIT);
        let mut chunk = vec![0; 1000];
        let (mut stream, mut writer) = stream(&jobs);
        writer.write_all(b"before").unwrap();
        assert_eq!(stream.read(&jobs, &mut chunk), 6);
        assert_eq!(stream.read(&jobs, &mut chunk), 0);
        writer.write_all(&[b'x'; CHUNK]).unwrap();
        let (captured, pipe) = stream.finish(&jobs, &mut chunk);
        assert_eq!(captured.data, [b"before".as_slice(), &[b'x'; CHUNK]].concat());
        assert!(!captured.truncated && pipe.is_some());
    }

    #[test]
    fn a_pipe_that_nobody_holds_is_closed() {
        let jobs = jobs(STREAM_LIMIT);
        let (mut stream, writer) = stream(&jobs);
        drop(writer);
        stream.read(&jobs, &mut [0; 10]);
        assert!(stream.pipe().is_none());
        let (captured, pipe) = stream.finish(&jobs, &mut [0; 10]);
        assert!(captured.data.is_empty() && !captured.truncated && pipe.is_none());
    }

    #[test]
    fn what_has_no_room_is_dropped_and_told() {
        let jobs = jobs(10);
        let (stream, mut writer) = stream(&jobs);
        writer.write_all(b"twelve bytes").unwrap();
        let (captured, _) = stream.finish(&jobs, &mut [0; 5]);
        assert_eq!((captured.data.as_slice(), captured.truncated), (b"twelve byt".as_slice(), true));
        assert_eq!(jobs.grow(&mut jobs.no_room(), 1), 0);
        drop(captured);
        assert_eq!(jobs.grow(&mut jobs.no_room(), 1), 1);
    }
}

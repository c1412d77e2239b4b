//! Output through pipes.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::process::Command;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fchown, fcntl_setfl};
use rustix::process::{Gid, Uid};

use super::{Apart, Connect, Ends, Together};

/// How much is read at a time, in bytes.
const CHUNK: usize = 16 << 10;
/// How many chunks are read before the time is looked at again: a program may write without end.
const CHUNKS: usize = 64;

impl Connect for Together {
    type Ends = Stream;

    #[inline]
    fn connect(self, command: &mut Command, owner: Option<(Uid, Gid)>) -> io::Result<Stream> {
        let (stream, writer) = Stream::new(self.kept, owner)?;
        command.stdout(writer.try_clone()?).stderr(writer);
        Ok(stream)
    }
}

impl Connect for Apart {
    type Ends = Streams;

    #[inline]
    fn connect(self, command: &mut Command, owner: Option<(Uid, Gid)>) -> io::Result<Streams> {
        let (output, to_output) = Stream::new(self.most, owner)?;
        let (errors, to_errors) = Stream::new(self.kept, owner)?;
        command.stdout(to_output).stderr(to_errors);
        Ok(Streams { output, errors })
    }
}

/// What comes through a pipe.
pub struct Stream {
    pipe: PipeReader,
    open: bool,
    /// What is kept of it.
    text: Vec<u8>,
    /// How much is kept.
    limit: usize,
    /// Whether more has come.
    cut: bool,
}

/// What comes through a pipe each.
pub struct Streams {
    output: Stream,
    errors: Stream,
}

impl Stream {
    #[inline]
    fn new(limit: usize, owner: Option<(Uid, Gid)>) -> io::Result<(Self, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        if let Some((uid, gid)) = owner {
            // /dev/stdout and /dev/stderr are opened anew, for which the pipe has to be the user's.
            fchown(&writer, Some(uid), Some(gid))?;
        }
        Ok((Self { pipe, open: true, text: Vec::new(), limit, cut: false }, writer))
    }
}

impl Ends for Stream {
    #[inline]
    fn drain(&mut self) {
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS {
            if !self.open {
                return;
            }
            match self.pipe.read(&mut chunk) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    let kept = count.min(self.limit.saturating_sub(self.text.len()));
                    self.text.extend_from_slice(chunk.get(..kept).unwrap_or_default());
                    self.cut |= kept < count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.open &= error.kind() == io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    #[inline]
    fn poll<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        if self.open {
            polled.push(PollFd::new(&self.pipe, PollFlags::IN));
        }
    }

    #[inline]
    fn into_texts(self) -> (Vec<u8>, Vec<u8>) {
        (self.text, Vec::new())
    }
}

impl Ends for Streams {
    #[inline]
    fn drain(&mut self) {
        self.output.drain();
        self.errors.drain();
    }

    #[inline]
    fn is_too_much(&self) -> bool {
        self.output.cut
    }

    #[inline]
    fn poll<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        self.output.poll(polled);
        self.errors.poll(polled);
    }

    #[inline]
    fn into_texts(self) -> (Vec<u8>, Vec<u8>) {
        (self.output.text, self.errors.text)
    }
}

//! A socket read line by line, each with a deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to one of QEMU's sockets.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) stream: UnixStream,
    buffer: Vec<u8>,
}

/// Why no line came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("nothing came in time")]
    Timeout,
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Longest time that a write may wait for the other side.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

impl Lines {
    pub(crate) fn connect(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, LineError> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(offset) = unseen.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + offset).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.buffer.len();
            self.fill(deadline)?;
        }
    }

    /// The next `count` bytes.
    pub(crate) fn exactly(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, LineError> {
        while self.buffer.len() < count {
            self.fill(deadline)?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), LineError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LineError::Timeout);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(LineError::Closed),
            Ok(count) => {
                self.buffer.extend(chunk.iter().take(count));
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(LineError::Timeout),
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::ConnectionReset => Err(LineError::Closed),
                _ => Err(error.into()),
            },
        }
    }
}

//! The agent through the client of the `qapi` crate.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use qapi::{Qga, Stream};

use crate::Error;

/// The client over one connection to the agent's channel.
pub type Client = Qga<Stream<BufReader<SentinelFilter<UnixStream>>, UnixStream>>;

/// Drops the 0xFF byte that precedes the answer to `guest-sync-delimited`: the `qapi` crate sends the
/// command, but does not expect the byte. It never occurs within a message.
#[derive(Debug)]
pub struct SentinelFilter<R>(R);

impl<R: Read> Read for SentinelFilter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            let mut kept = 0;
            for index in 0..count {
                if let Some(&byte) = buffer.get(index)
                    && byte != 0xFF
                    && let Some(slot) = buffer.get_mut(kept)
                {
                    *slot = byte;
                    kept += 1;
                }
            }
            // 0 would mean the end of the stream.
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

/// Connects; an answer may take up to `limit`, else the call is an I/O error.
pub(crate) fn connect(path: &Path, limit: Duration) -> Result<Client, Error> {
    let stream = UnixStream::connect(path).map_err(Error::io("connecting to the agent"))?;
    let prepare = || {
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.try_clone()
    };
    let mut writer = prepare().map_err(Error::io("preparing the agent's socket"))?;
    writer.flush().map_err(Error::io("preparing the agent's socket"))?;
    let reader = BufReader::new(SentinelFilter(stream));
    Ok(Qga::new(Stream::new(reader, writer)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::SentinelFilter;

    #[test]
    fn only_the_sentinel_is_dropped() {
        let bytes: &[u8] = b"\xff{\"return\": 1}\n\xff\xff{}";
        let mut text = String::new();
        let read = SentinelFilter(bytes).read_to_string(&mut text);
        assert!(read.is_ok());
        assert_eq!(text, "{\"return\": 1}\n{}");
    }
}

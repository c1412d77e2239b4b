//! A client's connection to the agent.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use crate::cases::EOF;
use crate::json::Json;
use crate::lenient::is_sound;
use crate::normal::normalise;

/// How long an agent may take to listen.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an agent may take to accept more of a request.
const SEND_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that one read asks for.
const READ_SIZE: usize = 256 * 1024;

/// One line from the agent, or the end of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Whether a 0xFF byte preceded it.
    pub sentinel: bool,
    /// The answer; for the end of the stream the string [`EOF`].
    pub value: Json,
}

/// What a read waits for.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// This many answers.
    pub count: usize,
    /// Count only answers that are no parse errors.
    pub only_sound: bool,
    /// Then read on until nothing has come for so long.
    pub quiet: Duration,
}

/// One client connection; answers are JSON lines.
pub struct Channel {
    stream: UnixStream,
    base: String,
    buffer: Vec<u8>,
    /// Where the first line that has not been taken begins in the buffer.
    start: usize,
    /// How far that line has been searched for its end.
    scanned: usize,
    /// Where reads put their bytes.
    space: Vec<u8>,
    closed: bool,
}

impl Channel {
    /// Connect to the socket at `path`, waiting until somebody listens there.  `base`
    /// is the directory that answers are freed of.
    pub fn open(path: &str, base: &str) -> Result<Channel> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            match try_connect(path) {
                Ok(stream) => {
                    return Ok(Channel {
                        stream,
                        base: base.to_owned(),
                        buffer: Vec::new(),
                        start: 0,
                        scanned: 0,
                        space: vec![0; READ_SIZE],
                        closed: false,
                    });
                }
                Err(err) if Instant::now() > deadline => {
                    return Err(err).with_context(|| format!("cannot connect to {path}"));
                }
                Err(_) => sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Send the bytes, `chunk` at a time.  That the agent has closed the connection
    /// is no error here: reading reports it.
    pub fn send(&mut self, data: &[u8], chunk: Option<usize>) -> Result<()> {
        for piece in data.chunks(chunk.unwrap_or(data.len()).max(1)) {
            match self.stream.write_all(piece) {
                Err(err) if matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    return Ok(());
                }
                Err(err) if is_timeout(&err) => {
                    return Err(anyhow!("the agent has read nothing for {SEND_PATIENCE:?}"));
                }
                other => other.context("cannot send")?,
            }
        }
        Ok(())
    }

    /// Close the writing side.
    pub fn finish_sending(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("cannot half-close the connection")
    }

    /// Whether the agent has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The bytes of an unfinished line.
    pub fn unfinished(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Read until the goal is reached, the time is over or the stream ends.
    pub fn read(&mut self, goal: Goal, timeout: Duration) -> Result<Vec<Reply>> {
        let last = Instant::now() + timeout.max(goal.quiet);
        let (mut found, mut counted, mut settling) = (Vec::new(), 0, false);
        let mut deadline = Instant::now() + timeout;
        loop {
            while let Some(reply) = self.take_line() {
                counted += usize::from(!goal.only_sound || is_sound(&reply.value));
                found.push(reply);
            }
            if counted >= goal.count && !settling {
                if goal.quiet.is_zero() {
                    return Ok(found);
                }
                (settling, deadline) = (true, Instant::now() + goal.quiet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed {
                return Ok(found);
            }
            if self.receive(left)? && settling {
                deadline = last.min(Instant::now() + goal.quiet);
            }
            if self.closed {
                found.push(Reply { sentinel: false, value: Json::text(EOF) });
                counted += usize::from(!goal.only_sound);
            }
        }
    }

    /// Wait for bytes and add them to the buffer; whether any came.
    fn receive(&mut self, patience: Duration) -> Result<bool> {
        let patience = patience.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(patience)).context("cannot set a time limit")?;
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        let outcome = self.stream.read(&mut self.space);
        match outcome {
            Ok(0) => self.closed = true,
            Ok(length) => {
                self.buffer.extend(self.space.get(..length).unwrap_or_default());
                return Ok(true);
            }
            Err(err) if err.kind() == ErrorKind::ConnectionReset => self.closed = true,
            Err(err) if is_timeout(&err) || err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err).context("cannot read"),
        }
        Ok(false)
    }

    fn take_line(&mut self) -> Option<Reply> {
        let unsearched = self.buffer.get(self.scanned..)?;
        let Some(length) = memchr::memchr(b'\n', unsearched) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let end = self.scanned + length;
        let reply = read_line(self.buffer.get(self.start..end)?, &self.base);
        (self.start, self.scanned) = (end + 1, end + 1);
        Some(reply)
    }
}

fn is_timeout(err: &std::io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Connect with a time limit, which also bounds sending.
fn try_connect(path: &str) -> Result<UnixStream, Errno> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = |patience: Duration| TimeVal::new(patience.as_secs().cast_signed(), 0);
    setsockopt(&fd, sockopt::SendTimeout, &limit(CONNECT_PATIENCE))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    setsockopt(&fd, sockopt::SendTimeout, &limit(SEND_PATIENCE))?;
    Ok(UnixStream::from(fd))
}

/// The answer on a line; one that is no JSON stays visible as such.
fn read_line(line: &[u8], base: &str) -> Reply {
    let (sentinel, line) = match line.strip_prefix(b"\xff") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let value = match std::str::from_utf8(line).ok().and_then(|text| Json::parse(text).ok()) {
        Some(value) => value,
        None => {
            let text: String = line.iter().copied().map(char::from).collect();
            Json::Object(vec![("<not JSON>".to_owned(), Json::Str(text))])
        }
    };
    Reply { sentinel, value: normalise(value, base) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Channel, Goal};
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    /// What a client sees of the chunks that an agent writes.
    fn read(chunks: Vec<Vec<u8>>, count: usize, quiet: u64) -> (Vec<(bool, String)>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut channel = Channel::open(path.to_str().unwrap(), "/base").unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for chunk in chunks {
                stream.write_all(&chunk).unwrap();
            }
        });
        let quiet = Duration::from_millis(quiet);
        let goal = Goal { count, only_sound: false, quiet };
        let replies = channel.read(goal, Duration::from_secs(20)).unwrap();
        agent.join().unwrap();
        let replies = replies.into_iter().map(|r| (r.sentinel, r.value.plain())).collect();
        (replies, channel.unfinished().to_vec())
    }

    #[test]
    fn lines_sentinels_and_the_end_are_told_apart() {
        let sent = vec![b"{\"a\"".to_vec(), b":1}\n\xff[\"/base/x\"]\nnan\n1".to_vec()];
        let (replies, rest) = read(sent, 9, 0);
        let expected =
            [(false, r#"{"a": 1}"#), (true, r#"["{dir}/x"]"#), (false, r#"{"<not JSON>": "nan"}"#), (false, "<eof>")];
        assert_eq!(replies, expected.map(|(flag, text)| (flag, text.to_owned())));
        assert_eq!(rest, b"1");
    }

    #[test]
    fn what_comes_after_the_expected_answers_is_read_too() {
        let (replies, _) = read(vec![b"1\n".to_vec(), b"2\n".to_vec()], 1, 100);
        assert!(replies.len() >= 2, "{replies:?}");
    }

    #[test]
    fn an_answer_of_64_mib_is_no_trouble() {
        let mut line = vec![b'"'];
        line.resize(1 + (64 << 20), b'A');
        line.extend(b"\"\n");
        let (replies, _) = read(vec![line], 1, 0);
        let text = replies.first().map(|(_, text)| text.as_str()).unwrap_or_default();
        assert_eq!(text, "<sha256:dbfaca2662cb70b69dfefd5ac95d1f54:67108864>");
    }
}

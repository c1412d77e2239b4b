//! `guestd call`: a client for an agent that listens on a socket.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestd_sdk::errno_text;
use lexopt::{Arg, Parser, ValueExt};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};
use serde_json::{Value, json};

use crate::channel::parse_vsock;
use crate::config::{Method, Settings};
use crate::printable::{printable, printable_json};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an error may take of a command whose success is not answered.
const SILENCE: Duration = Duration::from_secs(3);

/// What the words of the subcommand say.
struct Words {
    socket: Option<String>,
    timeout: Duration,
    command: String,
    arguments: Option<Value>,
}

/// Sends one request and prints its answer. The status is 1 where that is an error.
pub fn run(load: &dyn Fn() -> Result<Settings, String>, words: Vec<OsString>) -> Result<ExitCode, String> {
    let words = parse(words).map_err(|error| format!("call: {error}"))?;
    let address = match words.socket {
        Some(address) => address,
        None => configured_socket(&load()?)?,
    };
    let mut client = Client::connect(&address).map_err(|error| format!("{address}: {}", errno_text(&error)))?;
    let failed = |error: io::Error| format!("{address}: {}", errno_text(&error));
    client.synchronize(words.timeout).map_err(failed)?;
    let silent = client.is_silent(&words.command, words.timeout).map_err(failed)?;
    let mut request = json!({"execute": words.command});
    if let (Some(request), Some(arguments)) = (request.as_object_mut(), words.arguments) {
        request.insert("arguments".to_owned(), arguments);
    }
    client.send(request.to_string().as_bytes()).map_err(failed)?;
    let answer = match client.receive(if silent { SILENCE.min(words.timeout) } else { words.timeout }) {
        Err(error)
            if silent
                && matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof
                ) =>
        {
            return Ok(ExitCode::SUCCESS);
        }
        other => other.map_err(failed)?,
    };
    if let Some(error) = answer.get("error") {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        eprintln!("{}", printable(&format!("{}: {}", text("class"), text("desc"))));
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", printable_json(&format!("{:#}", answer.get("return").unwrap_or(&answer))));
    Ok(ExitCode::SUCCESS)
}

fn parse(words: Vec<OsString>) -> Result<Words, lexopt::Error> {
    let mut parser = Parser::from_args(words);
    let (mut socket, mut timeout, mut command, mut arguments) = (None, TIMEOUT, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("socket") => socket = Some(parser.value()?.string()?),
            Arg::Long("timeout") => timeout = Duration::from_secs(parser.value()?.parse()?),
            Arg::Value(word) if command.is_none() => command = Some(word.string()?),
            Arg::Value(word) if arguments.is_none() => {
                let text = word.string()?;
                let value = serde_json::from_str::<Value>(&text).map_err(|error| format!("{text:?}: {error}"))?;
                arguments = Some(value);
            }
            other => return Err(other.unexpected()),
        }
    }
    let command = command.ok_or("which command?")?;
    Ok(Words { socket, timeout, command, arguments })
}

/// The first unix socket of the configuration.
fn configured_socket(settings: &Settings) -> Result<String, String> {
    let unix =
        settings.channels.iter().find(|channel| channel.method == Method::UnixListen && !channel.path.is_empty());
    unix.map(|channel| channel.path.clone())
        .ok_or_else(|| "call: no unix socket is configured; name one with --socket".to_owned())
}

struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = match address.strip_prefix("vsock:") {
            None => UnixStream::connect(address)?,
            Some(address) => {
                let address = parse_vsock(address)?;
                let fd = socket::socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
                socket::connect(fd.as_raw_fd(), &address)?;
                // Reads, writes and timeouts are the same for all stream sockets.
                UnixStream::from(fd)
            }
        };
        Ok(Self { stream, received: Vec::new() })
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(&[request, b"\n"].concat())
    }

    /// The next answer.
    fn receive(&mut self, timeout: Duration) -> io::Result<Value> {
        let until = Instant::now() + timeout;
        let mut searched = 0;
        loop {
            let fresh = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', fresh) {
                let line: Vec<u8> = self.received.drain(..=searched + end).collect();
                let line = line.strip_prefix(b"\xFF").unwrap_or(&line);
                return serde_json::from_slice(line).map_err(io::Error::from);
            }
            searched = self.received.len();
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            self.stream.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
            let mut room = [0; 1 << 16];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Skips what a client before this one has left in the stream.
    fn synchronize(&mut self, timeout: Duration) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = i64::from(now.subsec_nanos()) << 20 | i64::from(process::id() & 0xF_FFFF);
        let request = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
        self.stream.write_all(b"\xFF")?;
        self.send(request.to_string().as_bytes())?;
        let until = Instant::now() + timeout;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.receive(left) {
                Ok(answer) if answer.get("return") == Some(&json!(id)) => return Ok(()),
                // Where the command is blocked, its error shows as well that the stream is in step.
                Ok(answer) if answer.pointer("/error/class") == Some(&json!("CommandNotFound")) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Whether the agent says that it does not answer a success of this command.
    fn is_silent(&mut self, command: &str, timeout: Duration) -> io::Result<bool> {
        self.send(br#"{"execute": "guest-info"}"#)?;
        let info = self.receive(timeout)?;
        let commands = info.pointer("/return/supported_commands").and_then(Value::as_array);
        let entry = commands.and_then(|list| list.iter().find(|entry| entry.get("name") == Some(&json!(command))));
        Ok(entry.and_then(|entry| entry.get("success-response")) == Some(&json!(false)))
    }
}

//! `guestd call`: a client for an agent that listens on a socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestd_sdk::errno_text;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};
use serde_json::{Map, Value, json};

use super::Answer;
use super::parse::Words;
use crate::channel::parse_vsock;
use crate::config::{Method, Settings};
use crate::printable::{printable, printable_json};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an error may take of a command whose success is not answered.
const SILENCE: Duration = Duration::from_secs(3);

/// Sends one request and returns its answer. An error is printed on standard error, and a failure.
pub fn run(load: &dyn Fn() -> Result<Settings, String>, words: &Words) -> Result<Answer, String> {
    let (command, arguments) = words.operands.split_first().ok_or("which command? `guestd help call` says more")?;
    let timeout = match words.value("timeout") {
        None => TIMEOUT,
        Some(text) => {
            Duration::from_secs(text.parse().map_err(|_| format!("--timeout {text:?} is no number of seconds"))?)
        }
    };
    let mut request = json!({"execute": command});
    if let (Some(request), Some(arguments)) = (request.as_object_mut(), arguments_of(arguments)?) {
        request.insert("arguments".to_owned(), arguments.into());
    }
    let address = match words.value("socket") {
        Some(address) => address.to_owned(),
        None => configured_socket(&load()?)?,
    };
    let failed = |error: io::Error| format!("{address}: {}", errno_text(&error));
    let mut client = Client::connect(&address).map_err(failed)?;
    client.synchronize(timeout).map_err(failed)?;
    let silent = client.is_silent(command, timeout).map_err(failed)?;
    client.send(request.to_string().as_bytes()).map_err(failed)?;
    let answer = match client.receive(if silent { SILENCE.min(timeout) } else { timeout }) {
        Err(error)
            if silent
                && matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof
                ) =>
        {
            return Ok(Answer::success(String::new()));
        }
        other => other.map_err(failed)?,
    };
    if let Some(error) = answer.get("error") {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let words = format!("{}: {}", text("class"), text("desc"));
        let _ = writeln!(io::stderr(), "{}", printable(&words));
        return Ok(Answer::failure(String::new()));
    }
    let value = format!("{:#}\n", answer.get("return").unwrap_or(&answer));
    Ok(Answer::success(printable_json(&value).into_owned()))
}

/// The arguments that words say: one JSON object, or words `KEY=VALUE`, where a value that is JSON is meant as JSON, and as
/// text otherwise. `None` where there are no words.
fn arguments_of(words: &[String]) -> Result<Option<Map<String, Value>>, String> {
    if let [object] = words
        && object.starts_with('{')
    {
        return serde_json::from_str(object).map(Some).map_err(|error| format!("{object:?}: {error}"));
    }
    let mut arguments = Map::new();
    for word in words {
        let (key, text) = word
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("{word:?} is neither KEY=VALUE nor a JSON object"))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        if arguments.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key:?} is given twice"));
        }
    }
    Ok((!words.is_empty()).then_some(arguments))
}

/// The first unix socket of the configuration.
fn configured_socket(settings: &Settings) -> Result<String, String> {
    let unix =
        settings.channels.iter().find(|channel| channel.method == Method::UnixListen && !channel.path.is_empty());
    unix.map(|channel| channel.path.clone())
        .ok_or_else(|| "no unix socket is configured; name one with --socket".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Result<Option<Value>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments_of(&words).map(|arguments| arguments.map(Value::from))
    }

    #[test]
    fn words_are_arguments() {
        assert_eq!(arguments(&[]), Ok(None));
        assert_eq!(arguments(&["{\"id\": 7}"]), Ok(Some(json!({"id": 7}))));
        for (word, expected) in [
            ("k=5", json!(5)),
            ("k=-1.5", json!(-1.5)),
            ("k=true", json!(true)),
            ("k=null", json!(null)),
            ("k=[\"a\",1]", json!(["a", 1])),
            ("k={\"a\":1}", json!({"a": 1})),
            ("k=\"5\"", json!("5")),
            ("k=/etc/hosts", json!("/etc/hosts")),
            ("k=0x10", json!("0x10")),
            ("k=a=b", json!("a=b")),
            ("k=", json!("")),
            ("k=[a", json!("[a")),
        ] {
            assert_eq!(arguments(&[word]), Ok(Some(json!({"k": expected}))), "{word}");
        }
        assert_eq!(arguments(&["path=/x", "mode=w"]), Ok(Some(json!({"path": "/x", "mode": "w"}))));
    }

    #[test]
    fn what_is_no_argument_is_an_error() {
        for (words, expected) in [
            (&["nonsense"][..], "\"nonsense\" is neither KEY=VALUE nor a JSON object"),
            (&["=x"], "\"=x\" is neither KEY=VALUE nor a JSON object"),
            (&["a=1", "{}"], "\"{}\" is neither KEY=VALUE nor a JSON object"),
            (&["a=1", "a=2"], "\"a\" is given twice"),
            (&["{\"a\":"], "\"{\\\"a\\\":\": EOF while parsing a value at line 1 column 5"),
        ] {
            assert_eq!(arguments(words).unwrap_err(), expected);
        }
    }
}

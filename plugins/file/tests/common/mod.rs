//! A plugin under test, a directory of its own, and short ways to call the commands.

// Each test program uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Bench {
    pub kit: TestKit,
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self::with_config(json!({}))
    }

    pub fn with_config(config: Value) -> Self {
        Self::with_settings(Settings { config, ..Settings::default() })
    }

    pub fn with_settings(settings: Settings) -> Self {
        let kit = TestKit::start_with(guestd_file::plugin_module(), settings).unwrap();
        Self { kit, dir: tempfile::tempdir().unwrap() }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().unwrap()
    }

    /// A file in the directory with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A fifo in the directory.
    pub fn fifo(&self, name: &str) -> String {
        let path = self.path(name);
        nix::unistd::mkfifo(Path::new(&path), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        path
    }

    /// Opens a file by an absolute path.
    pub fn open(&self, path: &str, mode: &str) -> i64 {
        self.ok("guest-file-open", json!({"path": path, "mode": mode})).as_i64().unwrap()
    }

    pub fn close(&self, handle: i64) {
        assert_eq!(self.ok("guest-file-close", json!({"handle": handle})), json!({}));
    }

    /// Reads; the answer is the bytes and whether the end was met.
    pub fn read(&self, handle: i64, count: usize) -> (Vec<u8>, bool) {
        bytes_of(&self.ok("guest-file-read", json!({"handle": handle, "count": count})))
    }

    /// Reads as [`Bench::read`] does, as text.
    pub fn read_text(&self, handle: i64, count: usize) -> (String, bool) {
        let (bytes, eof) = self.read(handle, count);
        (String::from_utf8(bytes).unwrap(), eof)
    }

    /// Writes and returns the count.
    pub fn write(&self, handle: i64, bytes: impl AsRef<[u8]>) -> u64 {
        let text = base64_simd::STANDARD.encode_to_string(bytes.as_ref());
        let answer = self.ok("guest-file-write", json!({"handle": handle, "buf-b64": text}));
        assert_eq!(answer["eof"], json!(false));
        answer["count"].as_u64().unwrap()
    }

    /// Seeks and returns the position.
    pub fn seek(&self, handle: i64, offset: i64, whence: impl Into<Value>) -> u64 {
        let answer = self.ok("guest-file-seek", json!({"handle": handle, "offset": offset, "whence": whence.into()}));
        assert_eq!(answer["eof"], json!(false));
        answer["position"].as_u64().unwrap()
    }

    /// A call that succeeds.
    pub fn ok(&self, command: &str, arguments: Value) -> Value {
        match self.kit.call(command, arguments.clone()) {
            Ok(answer) => answer,
            Err(error) => panic!("{command} {arguments}: {}", error.desc()),
        }
    }

    /// A call that fails, and its words.
    pub fn error(&self, command: &str, arguments: Value) -> String {
        match self.kit.call(command, arguments.clone()) {
            Ok(answer) => panic!("{command} {arguments} succeeded: {answer}"),
            Err(error) => {
                assert_eq!(error.class(), "GenericError");
                error.desc().to_owned()
            }
        }
    }

    /// A call with the text of its arguments, as a daemon passes it on; the answer, or the words of the error.
    pub fn raw(&self, command: &str, arguments: &str, deadline_ms: u32) -> Result<Value, String> {
        match self.kit.call_raw(command, arguments, deadline_ms) {
            Ok(reply) => Ok(serde_json::from_slice(&reply.body).unwrap()),
            Err(error) => Err(error.desc().to_owned()),
        }
    }
}

/// The content of a file.
pub fn content(path: &str) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

/// The bytes in an answer of `guest-file-read`, and its `eof`.
pub fn bytes_of(answer: &Value) -> (Vec<u8>, bool) {
    let bytes = base64_simd::STANDARD.decode_to_vec(answer["buf-b64"].as_str().unwrap()).unwrap();
    assert_eq!(answer["count"], json!(bytes.len()), "{}", answer["count"]);
    assert_eq!(answer.as_object().unwrap().len(), 3);
    (bytes, answer["eof"].as_bool().unwrap())
}

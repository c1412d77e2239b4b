//! Reads and writes in the daemon's event loop: done without waiting, or handed back with nothing done.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::Bench;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde_json::{Value, json};

/// A file system in memory, on every Linux.
const IN_MEMORY: &str = "/dev/shm";
const READ: &str = "guest-file-read";
const WRITE: &str = "guest-file-write";

/// The answer of a call in place; `None`: it was handed back.
fn in_place(bench: &Bench, command: &str, arguments: Value) -> Option<Value> {
    let reply = bench.kit.call_in_place(command, arguments).unwrap()?;
    Some(serde_json::from_slice(&reply.body).unwrap())
}

fn position(bench: &Bench, handle: i64) -> Value {
    bench.ok("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "cur"}))["position"].take()
}

#[test]
fn what_is_in_memory_is_read_and_written_in_place() {
    let bench = Bench::new();
    let dir = tempfile::tempdir_in(IN_MEMORY).unwrap();
    let path = dir.path().join("f").into_os_string().into_string().unwrap();
    fs::write(&path, "hello world").unwrap();
    let handle = bench.open(&path, "r+");
    let answer = in_place(&bench, READ, json!({"handle": handle, "count": 5})).unwrap();
    assert_eq!(answer, json!({"buf-b64": "aGVsbG8=", "count": 5, "eof": false}));
    let answer = in_place(&bench, WRITE, json!({"handle": handle, "buf-b64": "X1dPUkxE"})).unwrap();
    assert_eq!(answer, json!({"count": 6, "eof": false}));
    let answer = in_place(&bench, READ, json!({"handle": handle})).unwrap();
    assert_eq!(answer, json!({"buf-b64": "", "count": 0, "eof": true}));
    let answer = in_place(&bench, WRITE, json!({"handle": handle, "buf-b64": "ISEhIQ==", "count": 1})).unwrap();
    assert_eq!(answer, json!({"count": 1, "eof": false}));
    assert_eq!(fs::read_to_string(&path).unwrap(), "hello_WORLD!");
}

#[test]
fn a_full_file_system_has_the_write_made_where_its_error_is_told() {
    let bench = Bench::new();
    let handle = bench.open("/dev/full", "r+");
    assert_eq!(in_place(&bench, WRITE, json!({"handle": handle, "buf-b64": "aGVsbG8="})), None);
}

#[test]
fn what_is_not_in_the_page_cache_is_handed_back() {
    let bench = Bench::new();
    let content = vec![b'x'; 100_000];
    let path = bench.file("f", &content);
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    let handle = bench.open(&path, "r");
    let arguments = json!({"handle": handle, "count": 70_000});
    if in_place(&bench, READ, arguments.clone()).is_some() {
        // The directory is on a file system whose files are in memory only.
        assert!(is_in_memory(bench.dir.path()));
        return;
    }
    assert_eq!(position(&bench, handle), json!(0));
    assert_eq!(bench.read(handle, 70_000), (content[..70_000].to_vec(), false));
    // Now it is in the cache.
    let Some(answer) = in_place(&bench, READ, json!({"handle": handle, "count": 30_000})) else {
        guestd_sdk::testkit::not_here("the file system of the temporary directory has no RWF_NOWAIT (preadv2(2))");
        return;
    };
    assert_eq!((&answer["count"], &answer["eof"]), (&json!(30_000), &json!(false)));
    assert_eq!(position(&bench, handle), json!(100_000));
}

fn is_in_memory(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).unwrap().filesystem_type() == nix::sys::statfs::TMPFS_MAGIC
}

#[test]
fn what_may_wait_or_cannot_be_undone_is_handed_back() {
    let bench = Bench::new();
    let dir = tempfile::tempdir_in(IN_MEMORY).unwrap();
    let path = dir.path().join("f").into_os_string().into_string().unwrap();
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let large = json!({"handle": bench.open(&path, "r"), "count": 1 << 20});
    assert_eq!(in_place(&bench, READ, large), None, "the loop has no time for it");
    let appended = json!({"handle": bench.open(&path, "a"), "buf-b64": "eA=="});
    assert_eq!(in_place(&bench, WRITE, appended), None, "half an append cannot be taken back");
    let read_only = json!({"handle": bench.open(&path, "r"), "buf-b64": "eA=="});
    assert_eq!(in_place(&bench, WRITE, read_only), None, "the error is made where there is time");
    let proc = json!({"handle": bench.open("/proc/self/status", "r")});
    assert_eq!(in_place(&bench, READ, proc), None);
    let fifo = bench.fifo("fifo");
    let _writer = bench.open(&fifo, "r+");
    assert_eq!(in_place(&bench, READ, json!({"handle": bench.open(&fifo, "r")})), None);
}

#[test]
fn bad_arguments_are_told_in_place() {
    let bench = Bench::new();
    let dir = tempfile::tempdir_in(IN_MEMORY).unwrap();
    let path = dir.path().join("f").into_os_string().into_string().unwrap();
    fs::write(&path, "hello").unwrap();
    let handle = bench.open(&path, "r+");
    for (command, arguments, expected) in [
        (READ, json!({"handle": handle, "count": -1}), "value '-1' is invalid for argument count"),
        (READ, json!({"handle": 1}), "handle '1' has not been found"),
        (WRITE, json!({"handle": handle, "buf-b64": "x"}), "Base64 data is incomplete"),
        (WRITE, json!({"handle": handle, "buf-b64": "eA==", "count": 2}), "value '2' is invalid for argument count"),
    ] {
        let error = bench.kit.call_in_place(command, arguments).err().unwrap();
        assert_eq!(error.desc(), expected);
    }
    assert_eq!(position(&bench, handle), json!(0));
}

//! Requests as hosts send them. None changes the guest.

use std::io;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::connection::Connection;

/// Answers that need no arguments, the most frequent ones first.
const PLAIN: [&str; 14] = [
    "guest-ping",
    "guest-ping",
    "guest-ping",
    "guest-ping",
    "guest-info",
    "guest-get-time",
    "guest-get-host-name",
    "guest-get-osinfo",
    "guest-fsfreeze-status",
    "guest-get-timezone",
    "guest-get-load",
    "guest-get-users",
    "guest-network-get-interfaces",
    "guest-get-cpustats",
];

/// Sends one or some requests; returns how many. An error is an answer: a set may be busy.
pub fn some(connection: &mut Connection, rng: &mut Rng, dir: &Path) -> io::Result<u64> {
    match rng.u32(0..1000) {
        0..=1 => program(connection),
        2..=3 => plain(connection, "guest-get-fsinfo"),
        4..=5 => plain(connection, "guest-get-vcpus"),
        6..=7 => plain(connection, "guest-get-diskstats"),
        8..=60 => file(connection, rng, dir),
        _ => plain(connection, PLAIN[rng.usize(0..PLAIN.len())]),
    }
}

fn plain(connection: &mut Connection, command: &str) -> io::Result<u64> {
    expect_answer(&connection.ask(command, &json!({}))?);
    Ok(1)
}

fn expect_answer(answer: &Value) {
    assert!(answer.get("return").is_some() || answer.get("error").is_some(), "this is no answer: {answer}");
}

/// Opens a file, writes, reads it again and closes it.
fn file(connection: &mut Connection, rng: &mut Rng, dir: &Path) -> io::Result<u64> {
    let path = dir.join(format!("file-{}", rng.u32(0..100)));
    let opened = connection.ask("guest-file-open", &json!({"path": path, "mode": "w+"}))?;
    let Some(handle) = opened.get("return") else {
        expect_answer(&opened);
        return Ok(1);
    };
    let size = if rng.u8(0..20) == 0 { 200_000 } else { 2000 };
    let block = "QUJD".repeat(rng.usize(1..size / 4));
    for (command, arguments) in [
        ("guest-file-write", json!({"handle": handle, "buf-b64": block})),
        ("guest-file-flush", json!({"handle": handle})),
        ("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "set"})),
        ("guest-file-read", json!({"handle": handle, "count": size})),
        ("guest-file-close", json!({"handle": handle})),
    ] {
        expect_answer(&connection.ask(command, &arguments)?);
    }
    Ok(6)
}

/// Runs a program to its end.
fn program(connection: &mut Connection) -> io::Result<u64> {
    let started =
        connection.ask("guest-exec", &json!({"path": "/bin/echo", "arg": ["hello"], "capture-output": true}))?;
    let Some(pid) = started["return"].get("pid") else {
        expect_answer(&started);
        return Ok(1);
    };
    let mut requests = 1;
    for _ in 0..1000 {
        requests += 1;
        let status = connection.ask("guest-exec-status", &json!({"pid": pid}))?;
        expect_answer(&status);
        if status["return"]["exited"] != json!(false) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(requests)
}

//! What clients of one channel do to those of another. Each load is bounded by the time of its measurement.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::connection::Connection;

/// A load.
pub struct Load {
    /// What it does.
    pub name: &'static str,
    /// In how many threads.
    pub threads: usize,
    /// One round of one thread; the next follows until the time is over.
    pub run: fn(&Path, usize, &AtomicBool) -> io::Result<()>,
}

const MEGABYTE: usize = 1 << 20;
const PING: &str = r#"{"execute":"guest-ping"}"#;

/// All loads, in the order of the table.
pub const LOADS: [Load; 14] = [
    Load { name: "none", threads: 0, run: |_, _, _| Ok(()) },
    Load { name: "an object of 500,000 members", threads: 1, run: |socket, _, _| many_members(socket) },
    Load {
        name: "a read of 48 MB, a sync and a ping in one write",
        threads: 1,
        run: |socket, _, _| read_sync_ping(socket),
    },
    Load { name: "files opened and synced in one write", threads: 4, run: |socket, _, _| open_and_sync(socket) },
    Load { name: "a command's name of 60 MB", threads: 1, run: |socket, _, _| long_name(socket) },
    Load { name: "megabytes of `}`", threads: 4, run: |socket, _, _| braces(socket) },
    Load { name: "20 half messages of 60 MB", threads: 20, run: |socket, _, stop| half_and_wait(socket, stop) },
    Load { name: "20 replies of 48 MB that nobody reads", threads: 20, run: |socket, _, stop| unread(socket, stop) },
    Load {
        name: "64 reads of 40 MB that syncs overtake",
        threads: 1,
        run: |socket, _, stop| overtaken_reads(socket, stop),
    },
    Load { name: "10 writes of 36 MB at once", threads: 10, run: |socket, number, _| big_write(socket, number) },
    Load { name: "halves of 8 MB whose clients leave", threads: 8, run: |socket, _, _| half_and_leave(socket) },
    Load { name: "clients that leave with 300 replies unread", threads: 20, run: |socket, _, _| leave_unread(socket) },
    Load { name: "100 connections that pipeline pings", threads: 100, run: |socket, _, stop| pipeline(socket, stop) },
    Load { name: "128 idle clients, and new ones all the time", threads: 129, run: idle_or_new },
];

fn many_members(socket: &Path) -> io::Result<()> {
    let members: Vec<_> = (0..500_000).map(|number| format!("\"k{number}\":1")).collect();
    let text = format!(r#"{{"execute":"guest-sync","arguments":{{{}}}}}"#, members.join(","));
    let mut connection = Connection::new(socket);
    connection.send(text.as_bytes())?;
    connection.reply().map(drop)
}

/// A sparse file, and its handle.
fn open_sparse(connection: &mut Connection, socket: &Path, name: &str, size: usize) -> io::Result<serde_json::Value> {
    let path = socket.with_file_name(name);
    std::fs::File::create(&path)?.set_len(size as u64)?;
    Ok(connection.ask("guest-file-open", &json!({"path": path}))?["return"].clone())
}

fn read_request(handle: &serde_json::Value, count: usize) -> String {
    json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": count}}).to_string()
}

fn read_sync_ping(socket: &Path) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let handle = open_sparse(&mut connection, socket, "sparse", 48 * MEGABYTE)?;
    let sync = r#"{"execute":"guest-sync","arguments":{"id":5}}"#;
    connection.send(format!("{}{sync}{PING}", read_request(&handle, 48_000_000)).as_bytes())?;
    connection.sync_answer(5)?;
    connection.reply().map(drop)
}

fn open_and_sync(socket: &Path) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    for id in 1..100 {
        connection.send(br#"{"execute":"guest-file-open","arguments":{"path":"/nonexistent"}}"#)?;
        connection.sync(id)?;
    }
    Ok(())
}

fn long_name(socket: &Path) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    connection.send(format!(r#"{{"execute":"{}"}}"#, "x".repeat(60 * MEGABYTE)).as_bytes())?;
    connection.reply().map(drop)
}

fn braces(socket: &Path) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let mut reader = connection.second();
    thread::scope(|scope| {
        let answered = scope.spawn(move || reader.sync_answer(9));
        for _ in 0..4 {
            connection.send(&b"}".repeat(MEGABYTE))?;
        }
        connection.send(b"\n{\"execute\":\"guest-sync\",\"arguments\":{\"id\":9}}")?;
        answered.join().unwrap_or(Ok(0)).map(drop)
    })
}

fn half(size: usize) -> Vec<u8> {
    format!(r#"{{"execute":"guest-file-write","arguments":{{"handle":1,"buf-b64":"{}"#, "A".repeat(size)).into_bytes()
}

fn wait(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
}

fn half_and_wait(socket: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let (mut piece, more) = (half(MEGABYTE), b"A".repeat(MEGABYTE));
    for _ in 0..60 {
        if stop.load(Ordering::Relaxed) || !connection.send_some(&piece) {
            break;
        }
        piece.clone_from(&more);
    }
    wait(stop);
    Ok(())
}

fn unread(socket: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let handle = open_sparse(&mut connection, socket, "sparse", 48 * MEGABYTE)?;
    connection.send(read_request(&handle, 48_000_000).as_bytes())?;
    wait(stop);
    Ok(())
}

fn overtaken_reads(socket: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let handle = open_sparse(&mut connection, socket, "sparse", 48 * MEGABYTE)?;
    for id in 1..=64 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        connection.send(read_request(&handle, 40_000_000).as_bytes())?;
        connection.sync(id)?;
    }
    Ok(())
}

fn big_write(socket: &Path, number: usize) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let path = socket.with_file_name(format!("written-{number}"));
    let handle = connection.ask("guest-file-open", &json!({"path": path, "mode": "w"}))?["return"].clone();
    let data = "A".repeat(48 * MEGABYTE);
    connection.ask("guest-file-write", &json!({"handle": handle, "buf-b64": data}))?;
    connection.ask("guest-file-close", &json!({"handle": handle}))?;
    let _ = std::fs::remove_file(path);
    Ok(())
}

fn half_and_leave(socket: &Path) -> io::Result<()> {
    Connection::new(socket).send_some(&half(8 * MEGABYTE));
    Ok(())
}

fn leave_unread(socket: &Path) -> io::Result<()> {
    Connection::new(socket).send_some(r#"{"execute":"guest-info"}"#.repeat(300).as_bytes());
    Ok(())
}

fn pipeline(socket: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    let batch = PING.repeat(256);
    while !stop.load(Ordering::Relaxed) {
        connection.send(batch.as_bytes())?;
        for _ in 0..256 {
            connection.line()?;
        }
    }
    Ok(())
}

fn idle_or_new(socket: &Path, number: usize, stop: &AtomicBool) -> io::Result<()> {
    let mut connection = Connection::new(socket);
    if number == 0 {
        return connection.ask("guest-ping", &json!({})).map(drop);
    }
    // It goes when it is made to.
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

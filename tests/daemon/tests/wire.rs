//! Nothing that a client sends, or does not read, stops the daemon for others or takes more memory than it may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guestd_daemon_tests::{Client, Daemon};
use serde_json::{Value, json};

/// Long enough for anything that is not stopped, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);
const PING: &str = r#"{"execute":"guest-ping"}"#;
const MIB: usize = 1 << 20;

/// The memory of the daemon's own, in bytes (proc_pid_status(5), RssAnon).
fn memory(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Waits until the daemon has given back what it took beyond `idle`, but for a MiB.
fn assert_gives_back(daemon: &Daemon, idle: usize) {
    daemon.wait_for("memory to be given back", || memory(daemon) <= idle + MIB);
}

/// A daemon whose sets have started, and the memory that it takes then.
fn idle_daemon(config: &str) -> (Daemon, usize) {
    let daemon = Daemon::new().config(config).start();
    let mut client = daemon.client();
    client.call("guest-ping", json!({}));
    client.error("guest-file-open", json!({"path": "/nonexistent"}));
    std::thread::sleep(Duration::from_secs(1));
    let idle = memory(&daemon);
    (daemon, idle)
}

fn ping(daemon: &Daemon) {
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
}

/// Sends as much as the daemon takes within a moment, and returns the connection and how much of it.
fn send_what_goes(daemon: &Daemon, bytes: &[u8]) -> (UnixStream, usize) {
    let mut stream = UnixStream::connect(daemon.path("s")).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    (stream, sent)
}

/// Whether the daemon has closed this connection, once what it sent is read.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match stream.read(&mut [0; 1 << 16]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn half_of_a_write(size: usize) -> Vec<u8> {
    let head = br#"{"execute":"guest-file-write","arguments":{"handle":1,"buf-b64":""#;
    [head.as_slice(), &vec![b'Q'; size]].concat()
}

#[test]
fn more_arguments_than_any_command_takes_are_refused() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    for count in [65, 40_000, 80_000, 500_000] {
        let members: Vec<_> = (0..count).map(|number| format!("\"k{number}\":1")).collect();
        client.send(format!("{{\"execute\":\"guest-sync\",\"arguments\":{{{}}}}}", members.join(",")));
        let error = client.reply_within(LONG).expect("no answer")["error"].take();
        assert_eq!(error["desc"], "Too many arguments, or members of one", "{count}");
        ping(&daemon);
    }
}

#[test]
fn an_error_does_not_repeat_what_it_is_about() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    let long = "x".repeat(62 * MIB);
    let quoted = format!("{}...", "x".repeat(128));
    for (request, expected) in [
        (format!("{{\"execute\":\"{long}\"}}"), format!("The command {quoted} has not been found")),
        (format!("{{\"execute\":\"guest-ping\",\"{long}\":1}}"), format!("QMP input member '{quoted}' is unexpected")),
        (
            format!("{{\"execute\":\"guest-ping\",\"arguments\":{{\"{long}\":1}}}}"),
            format!("Parameter '{quoted}' is unexpected"),
        ),
        (
            format!(
                "{{\"execute\":\"guest-file-seek\",\"arguments\":{{\"handle\":1,\"offset\":0,\"whence\":\"{long}\"}}}}"
            ),
            format!("Parameter 'whence' does not accept value '{quoted}'"),
        ),
        (
            format!("{{\"execute\":\"guest-ping\",\"id\":\"{long}\"}}"),
            "QMP input member 'id' is longer than 64 KiB".to_owned(),
        ),
    ] {
        client.send(request);
        let reply = client.reply_within(LONG).expect("no answer");
        assert_eq!(reply["error"]["desc"], expected);
    }
    assert_gives_back(&daemon, memory(&Daemon::new().start()) + MIB);
}

#[test]
fn a_megabyte_of_broken_bytes_is_one_error() {
    let daemon = Daemon::new().start();
    for junk in ["}", "]:,", "@ "] {
        let mut client = daemon.client();
        client.send(junk.repeat(MIB / junk.len()));
        client.send(format!("\n{PING}"));
        let error = client.reply_within(LONG).expect("no answer");
        assert!(error["error"]["desc"].as_str().unwrap().starts_with("JSON parse error"), "{error}");
        assert_eq!(client.reply_within(LONG).expect("no answer"), json!({"return": {}}), "{junk}");
    }
}

#[test]
fn a_message_that_comes_byte_by_byte_costs_no_more_than_its_bytes() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    let request = format!("{{\"execute\":\"guest-ping\",\"id\":\"{}\"}}", "i".repeat(60_000));
    for byte in request.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.reply_within(LONG).expect("no answer")["return"], json!({}));
}

/// Half messages of many times the memory that there is for messages, and a client with a small one and one with a large one.
#[test]
fn half_messages_take_no_more_memory_than_there_is_for_messages() {
    let (daemon, idle) = idle_daemon("[protocol]\nmemory-limit = 80\nmessage-timeout = 30");
    let half = half_of_a_write(60 * MIB);
    let mut halves: Vec<_> = (0..4).map(|_| send_what_goes(&daemon, &half)).collect();
    assert_eq!(halves.iter().filter(|(_, sent)| *sent == half.len()).count(), 1, "one has its turn");
    let taken = memory(&daemon) - idle;
    assert!(taken < 90 * MIB, "{} MiB", taken / MIB);
    let mut client = daemon.client();
    client.send(format!("{{\"execute\":\"guest-ping\",\"id\":\"{}\"}}", "i".repeat(60_000)));
    assert_eq!(client.reply()["return"], json!({}), "small ones pass");
    // Whoever has the turn loses it, and this one has its own in the end.
    let path = daemon.path("file").display().to_string();
    let handle = client.call("guest-file-open", json!({"path": path, "mode": "w"}));
    client.send(
        json!({"execute": "guest-file-write", "arguments": {"handle": handle, "buf-b64": "QUJD".repeat(MIB)}})
            .to_string(),
    );
    let reply = client.reply_within(LONG * 2).expect("the large message never had its turn");
    assert_eq!(reply["return"]["count"], 3 * MIB, "{reply}");
    daemon.wait_for_log("a client's message has stood still for too long; it has to leave (told once)");
    assert!(halves.iter_mut().any(|(stream, _)| is_closed(stream)));
    drop(halves);
    assert_gives_back(&daemon, idle);
    assert_eq!(daemon.log().matches("stood still").count(), 1);
}

#[test]
fn messages_larger_than_the_memory_together_are_all_carried_out() {
    let (daemon, idle) = idle_daemon("[protocol]\nmemory-limit = 80");
    let request = |client: &mut Client, number: usize| {
        let path = daemon.path(&format!("file-{number}")).display().to_string();
        let handle = client.call("guest-file-open", json!({"path": path, "mode": "w+"}));
        json!({"execute": "guest-file-write", "arguments": {"handle": handle, "buf-b64": "QUJD".repeat(8 * MIB)}})
            .to_string()
    };
    std::thread::scope(|scope| {
        for number in 0..10 {
            let (request, mut client) = (&request, daemon.client());
            scope.spawn(move || {
                let text = request(&mut client, number);
                client.send(text);
                let reply = client.reply_within(LONG * 2).expect("no answer");
                assert_eq!(reply["return"]["count"], 24 * MIB, "{reply}");
            });
        }
        for _ in 0..50 {
            let taken = memory(&daemon).saturating_sub(idle);
            assert!(taken < 150 * MIB, "{} MiB", taken / MIB);
            ping(&daemon);
        }
    });
    assert_gives_back(&daemon, idle);
}

/// Replies of many times the memory that there is for messages, which nobody reads, and others that are read.
#[test]
fn replies_that_nobody_reads_take_no_more_memory_than_there_is_for_messages() {
    let (daemon, idle) = idle_daemon("[protocol]\nmemory-limit = 80\nmessage-timeout = 20");
    let path = daemon.path("file");
    std::fs::write(&path, vec![7; 48 * MIB]).unwrap();
    let ask = || {
        let mut client = daemon.client();
        let handle = client.call("guest-file-open", json!({"path": path}));
        client.request("guest-file-read", json!({"handle": handle, "count": 48 * MIB}));
        client
    };
    let mut unread: Vec<_> = (0..6).map(|_| ask()).collect();
    let until = Instant::now() + LONG * 3;
    // Who never reads has to leave, so that the next has its reply, or is told that there is no memory for it.
    let mut client = ask();
    let reply = loop {
        ping(&daemon);
        let taken = memory(&daemon).saturating_sub(idle);
        assert!(taken < 150 * MIB, "{} MiB", taken / MIB);
        if let Some(reply) = client.reply_within(Duration::from_millis(100)) {
            if reply["return"]["count"] == json!(48 * MIB) {
                break reply;
            }
            assert!(reply["error"]["desc"].as_str().unwrap().contains("no memory for"), "{reply}");
            client = ask();
        }
        assert!(Instant::now() < until, "no reply");
    };
    drop((reply, client));
    unread.clear();
    assert_gives_back(&daemon, idle);
}

#[test]
fn memory_is_given_back_whatever_became_of_those_who_used_it() {
    let (daemon, idle) = idle_daemon("");
    // Halves that are abandoned, small and large.
    for size in [100_000, 8 * MIB] {
        let halves: Vec<_> = (0..20).map(|_| send_what_goes(&daemon, &half_of_a_write(size))).collect();
        ping(&daemon);
        drop(halves);
        assert_gives_back(&daemon, idle);
    }
    // Half a message that its client takes back, and goes on.
    let (mut stream, _) = send_what_goes(&daemon, &half_of_a_write(8 * MIB));
    stream.write_all(b"\xFF").unwrap();
    assert_gives_back(&daemon, idle);
    stream.write_all(PING.as_bytes()).unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();
    // Replies that nobody has read.
    let info = json!({"execute": "guest-info"}).to_string();
    let clients: Vec<_> = (0..100).map(|_| send_what_goes(&daemon, info.repeat(1000).as_bytes())).collect();
    drop(clients);
    assert_gives_back(&daemon, idle);
}

#[test]
fn what_stands_behind_a_large_read_and_a_sync_is_answered() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    let path = daemon.path("file");
    std::fs::write(&path, vec![7; 48 * MIB]).unwrap();
    for round in 0..5 {
        let handle = client.call("guest-file-open", json!({"path": path}));
        let read =
            json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": 48 * MIB}, "id": "read"});
        let sync = json!({"execute": "guest-sync", "arguments": {"id": round}});
        client.send(format!("{read}{sync}{PING}"));
        let mut replies: Vec<Value> = Vec::new();
        while replies.last() != Some(&json!({"return": {}})) {
            replies.push(client.reply_within(LONG).expect("the ping is forgotten"));
        }
        assert_eq!(replies[replies.len() - 2], json!({"return": round}));
        client.call("guest-file-close", json!({"handle": handle}));
    }
}

#[test]
fn the_client_that_has_been_idle_for_longest_makes_room() {
    let daemon = Daemon::new().start();
    let mut clients: Vec<UnixStream> = (0..128).map(|_| UnixStream::connect(daemon.path("s")).unwrap()).collect();
    for stream in &mut clients {
        stream.write_all(PING.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 15]).unwrap();
    }
    // The first is no longer the one that has been idle for longest.
    clients[0].write_all(PING.as_bytes()).unwrap();
    clients[0].read_exact(&mut [0; 15]).unwrap();
    let mut newest = daemon.client();
    assert_eq!(newest.call("guest-ping", json!({})), json!({}));
    assert!(is_closed(&mut clients[1]));
    assert!(!is_closed(&mut clients[0]) && !is_closed(&mut clients[2]));
    ping(&daemon);
    daemon.wait_for_log("more than 128 clients; the one idle for longest has to leave (told once)");
    assert_eq!(daemon.log().matches("more than 128").count(), 1);
}

#[test]
fn half_a_message_is_waited_for_only_so_long() {
    let daemon = Daemon::new().config("[protocol]\nmessage-timeout = 1").start();
    let mut half = UnixStream::connect(daemon.path("s")).unwrap();
    half.write_all(&PING.as_bytes()[..10]).unwrap();
    let mut whole = daemon.client();
    whole.call("guest-ping", json!({}));
    daemon.wait_for("the client with half a message to leave", || is_closed(&mut half.try_clone().unwrap()));
    daemon.wait_for_log("it has to leave (told once)");
    assert_eq!(whole.call("guest-ping", json!({})), json!({}), "one that is idle stays");
}

#[test]
fn a_command_that_takes_a_moment_keeps_its_reply_though_a_sync_is_behind_it() {
    let in_time = (0..5).any(|round| {
        let daemon = Daemon::new().plugin(&guestd_daemon_tests::fixture("trouble"), "trouble.so").start();
        let (mut client, mut other) = (daemon.client(), daemon.client());
        client.call("__com.example_fine", json!({}));
        let hang = json!({"execute": "__com.example_hang-long"}).to_string();
        let sync = json!({"execute": "guest-sync", "arguments": {"id": round}}).to_string();
        let since = Instant::now();
        client.send(format!("{hang}{sync}"));
        std::thread::sleep(Duration::from_millis(100));
        other.call("__com.example_release", json!({}));
        let first = client.reply();
        if first == json!({"return": round}) {
            // The machine had no time for it, and the sync was right to go first.
            assert!(since.elapsed() >= Duration::from_secs(1));
            return false;
        }
        assert_eq!((first, client.reply()), (json!({"return": "released"}), json!({"return": round})));
        true
    });
    assert!(in_time, "no command came back within a second");
}

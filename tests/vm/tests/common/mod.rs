//! Conversations that are held over more than one channel.

use std::time::Duration;

use guestd_vm::{AgentConn, Client, Line, Vm, fresh_id, request};
use qapi::qga;
use serde_json::{Value, json};

/// sync, sync-delimited, ping and info through the `qapi` crate's client.
pub fn core_by_client(client: &mut Client) {
    client.guest_sync(4711).unwrap();
    let id = fresh_id();
    let answer = client.execute(&qga::guest_sync_delimited { id }).unwrap();
    assert_eq!(answer, id);
    client.execute(&qga::guest_ping {}).unwrap();
    let info = client.execute(&qga::guest_info {}).unwrap();
    assert!(!info.version.is_empty());
    for (name, answers) in COMMANDS {
        let found = info.supported_commands.iter().find(|c| c.name == name);
        let found = found.unwrap_or_else(|| panic!("guest-info lacks {name}"));
        assert!(found.enabled, "{name} is disabled");
        assert_eq!(found.success_response, answers, "success-response of {name}");
    }
}

/// The commands of the first four sets, and whether they answer on success.
const COMMANDS: [(&str, bool); 18] = [
    ("guest-sync", true),
    ("guest-sync-delimited", true),
    ("guest-ping", true),
    ("guest-info", true),
    ("guest-file-open", true),
    ("guest-file-close", true),
    ("guest-file-read", true),
    ("guest-file-write", true),
    ("guest-file-seek", true),
    ("guest-file-flush", true),
    ("guest-fsfreeze-status", true),
    ("guest-fsfreeze-freeze", true),
    ("guest-fsfreeze-freeze-list", true),
    ("guest-fsfreeze-thaw", true),
    ("guest-shutdown", false),
    ("guest-suspend-disk", false),
    ("guest-suspend-ram", false),
    ("guest-suspend-hybrid", false),
];

/// All six file commands through the client; what they do is checked from the guest's shell.
pub fn files_by_client(client: &mut Client, vm: &mut Vm) {
    let path = "/tmp/by-the-agent";
    let handle = open(client, path, "w+");
    let data = b"first line\nsecond line\n\x00\xff\n".to_vec();
    let length = data.len() as i64;
    let written = client.execute(&qga::guest_file_write { handle, buf_b64: data.clone(), count: None });
    assert_eq!(written.unwrap().count, length);
    client.execute(&qga::guest_file_flush { handle }).unwrap();
    assert_eq!(vm.run(&format!("stat -c %s {path}")).unwrap(), length.to_string());
    assert_eq!(vm.run(&format!("sed -n 2p {path}")).unwrap(), "second line");

    // By a name and by a number.
    let start = qga::GuestFileWhence::name(qga::QGASeek::set);
    assert_eq!(seek(client, handle, 6, start), 6);
    let current = qga::GuestFileWhence::value(1);
    assert_eq!(seek(client, handle, 0, current), 6);
    let read = read(client, handle, Some(4));
    assert_eq!((read.buf_b64.as_slice(), read.count, read.eof), (&b"line"[..], 4, false));
    let end = qga::GuestFileWhence::name(qga::QGASeek::end);
    assert_eq!(seek(client, handle, -3, end), length - 3);
    let read = self::read(client, handle, None);
    assert_eq!((read.buf_b64.as_slice(), read.count, read.eof), (&b"\x00\xff\n"[..], 3, true));

    // Only part of the buffer is to be written.
    let written = client.execute(&qga::guest_file_write { handle, buf_b64: b"tail and more".to_vec(), count: Some(4) });
    assert_eq!(written.unwrap().count, 4);
    client.execute(&qga::guest_file_close { handle }).unwrap();
    assert_eq!(vm.run(&format!("tail -c 4 {path}")).unwrap(), "tail");
    let error = client.execute(&qga::guest_file_close { handle }).unwrap_err();
    assert_refused(&error, &format!("handle '{handle}' has not been found"));

    // The other way: what the guest wrote, the agent reads.
    vm.run("printf 'written by the guest' >/tmp/by-the-guest").unwrap();
    let handle = open(client, "/tmp/by-the-guest", "r");
    let read = self::read(client, handle, Some(100));
    assert_eq!(read.buf_b64, b"written by the guest");
    assert!(read.eof);
    client.execute(&qga::guest_file_close { handle }).unwrap();

    let mode = Some("r".to_owned());
    let missing = qga::guest_file_open { path: "/tmp/none".into(), mode };
    let error = client.execute(&missing).unwrap_err();
    assert_refused(&error, "No such file or directory");
}

/// A large file, written and read back by the client, compared by checksum in the guest.
pub fn large_file_by_client(client: &mut Client, vm: &mut Vm, bytes: usize) {
    let data: Vec<u8> = (0..bytes).map(|index| (index * 7 + index / 256) as u8).collect();
    let handle = open(client, "/tmp/large", "w+");
    for chunk in data.chunks(96 * 1024) {
        let written = client.execute(&qga::guest_file_write { handle, buf_b64: chunk.to_vec(), count: None });
        assert_eq!(written.unwrap().count, chunk.len() as i64);
    }
    let start = qga::GuestFileWhence::name(qga::QGASeek::set);
    assert_eq!(seek(client, handle, 0, start), 0);
    let mut back = Vec::new();
    loop {
        let read = read(client, handle, Some(200_000));
        assert_eq!(read.count, read.buf_b64.len() as i64);
        back.extend(read.buf_b64);
        if read.eof {
            break;
        }
    }
    assert!(back == data, "{} bytes were written, {} others read", data.len(), back.len());
    client.execute(&qga::guest_file_close { handle }).unwrap();
    let sum = vm.run("crc32 </tmp/large; rm /tmp/large").unwrap();
    assert_eq!(sum, format!("{:08x}", crc32(&data)), "the guest's file differs");
}

fn open(client: &mut Client, path: &str, mode: &str) -> i64 {
    let (path, mode) = (path.to_owned(), Some(mode.to_owned()));
    client.execute(&qga::guest_file_open { path, mode }).unwrap()
}

fn read(client: &mut Client, handle: i64, count: Option<i64>) -> qga::GuestFileRead {
    client.execute(&qga::guest_file_read { handle, count }).unwrap()
}

fn seek(client: &mut Client, handle: i64, offset: i64, whence: qga::GuestFileWhence) -> i64 {
    let seek = qga::guest_file_seek { handle, offset, whence };
    client.execute(&seek).unwrap().position
}

fn assert_refused(error: &qapi::ExecuteError, words: &str) {
    match error {
        qapi::ExecuteError::Qapi(error) => {
            assert!(error.desc.to_lowercase().contains(&words.to_lowercase()), "{}", error.desc);
        }
        qapi::ExecuteError::Io(error) => panic!("no answer: {error}"),
    }
}

/// The checksum of `crc32` and of zip files.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| match sum & 1 {
            0 => sum >> 1,
            _ => (sum >> 1) ^ 0xEDB8_8320,
        })
    })
}

/// The core conversation as bytes: in one piece, without newlines, byte by byte, and with 0xFF.
pub fn core_by_bytes(agent: &mut AgentConn, pause: Duration) {
    agent.sync().unwrap();

    // Several messages in one piece, with no newline, are answered in order; any id comes back.
    let messages = "{\"execute\":\"guest-ping\",\"id\":{\"a\":[1,null]}}\
                    {\"execute\":\"guest-sync\",\"arguments\":{\"id\":17}}\
                    {\"execute\":\"guest-nonsense\",\"id\":\"n\"}";
    agent.send(messages.as_bytes()).unwrap();
    assert_line(agent, json!({"return": {}, "id": {"a": [1, null]}}));
    assert_line(agent, json!({"return": 17}));
    let error = json!({"class": "CommandNotFound", "desc": "The command guest-nonsense has not been found"});
    assert_line(agent, json!({"id": "n", "error": error}));

    let ping = b"{\"execute\": \"guest-ping\", \"id\": 8}";
    agent.send_bytewise(ping, pause).unwrap();
    assert_line(agent, json!({"return": {}, "id": 8}));

    // 0xFF in mid-message: what was begun is dropped, what follows is answered. An error about the
    // broken bytes may come before.
    agent.send(b"{\"execute\": \"guest-info\", \"id\": \"drop").unwrap();
    agent.send(b"\xff{\"execute\": \"guest-ping\", \"id\": 9}\n").unwrap();
    assert_eq!(after_parse_errors(agent), json!({"return": {}, "id": 9}));

    // The same within the bytes of a sync: its answer alone has 0xFF before it.
    let id = fresh_id();
    let mut bytes = b"{\"execute\": [\xff".to_vec();
    bytes.extend(request("guest-sync-delimited", json!({"id": id})));
    agent.send_bytewise(&bytes, pause).unwrap();
    agent.wait_for_sync(id).unwrap();
    agent.send(&request("guest-ping", json!({}))).unwrap();
    assert_line(agent, json!({"return": {}}));

    let info = agent.call("guest-info", json!({})).unwrap();
    let commands = info["supported_commands"].as_array().unwrap();
    assert!(commands.iter().any(|command| command["name"] == "guest-ping"));
    let error = agent.call("guest-sync", json!({})).unwrap_err();
    assert_eq!(error.refused(), Some(("GenericError", "Parameter 'id' is missing")));
}

fn assert_line(agent: &mut AgentConn, json: Value) {
    let sentinel = false;
    assert_eq!(agent.line().unwrap(), Line { sentinel, json });
}

/// The first message that is not an error about broken JSON.
fn after_parse_errors(agent: &mut AgentConn) -> Value {
    loop {
        let line = agent.line().unwrap().json;
        let words = line.pointer("/error/desc").and_then(Value::as_str);
        if !words.is_some_and(|words| words.contains("JSON parse error")) {
            return line;
        }
    }
}

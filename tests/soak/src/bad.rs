//! Requests that are wrong, each in another way. None is one that the daemon would carry out.

use fastrand::Rng;
use serde_json::json;

/// What a bad request is.
pub enum Bad {
    /// Bytes, behind which a sync is understood.
    Bytes(Vec<u8>),
    /// Bytes behind which the client leaves, in mid-message or with its answers unread.
    ThenGone(Vec<u8>),
}

/// One of them.
pub fn one(rng: &mut Rng) -> Bad {
    let text = match rng.u32(0..1000) {
        0..=9 => return Bad::ThenGone(half(rng)),
        10..=14 => return Bad::ThenGone(r#"{"execute":"guest-info"}"#.repeat(300).into_bytes()),
        15..=17 => megabyte(rng),
        18..=60 => members(rng),
        _ => small(rng),
    };
    Bad::Bytes(text)
}

/// The beginning of a message, short as a rule.
fn half(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.u8(0..10) == 0 { rng.usize(0..8 << 20) } else { rng.usize(0..4000) };
    format!(r#"{{"execute":"guest-file-write","arguments":{{"handle":1,"buf-b64":"{}"#, "A".repeat(length)).into_bytes()
}

fn megabyte(rng: &mut Rng) -> Vec<u8> {
    const SIZE: usize = 1 << 20;
    match rng.u8(0..6) {
        0 => b"}".repeat(SIZE),
        1 => format!(r#"{{"execute":"{}"}}"#, "x".repeat(SIZE)).into_bytes(),
        2 => format!(r#"{{"execute":"guest-ping","id":"{}"}}"#, "\\n".repeat(SIZE / 2)).into_bytes(),
        3 => format!(r#"{{"execute":"guest-file-open","arguments":{{"path":"{}"}}}}"#, "\\u0041".repeat(SIZE / 6))
            .into_bytes(),
        4 => format!(r#"{{"execute":"guest-sync","arguments":{{"id":[{}1]}}}}"#, "1,".repeat(SIZE / 2)).into_bytes(),
        _ => b"@\"\\{".repeat(SIZE / 4),
    }
}

/// More members than any command has, or the same again and again.
fn members(rng: &mut Rng) -> Vec<u8> {
    let count = if rng.u8(0..10) == 0 { 20_000 } else { rng.usize(5..200) };
    let same = rng.bool();
    let members: Vec<_> = (0..count).map(|number| format!("\"k{}\":1", if same { 0 } else { number })).collect();
    format!(r#"{{"execute":"guest-sync","arguments":{{{}}}}}"#, members.join(",")).into_bytes()
}

fn small(rng: &mut Rng) -> Vec<u8> {
    let request =
        |command: &str, arguments: serde_json::Value| json!({"execute": command, "arguments": arguments}).to_string();
    let text = match rng.u8(0..24) {
        0 => request("guest-no-such-command", json!({})),
        1 => request("guest-file-read", json!({})),
        2 => request("guest-file-read", json!({"handle": "x"})),
        3 => request("guest-file-read", json!({"handle": rng.u32(..)})),
        4 => request("guest-file-close", json!({"handle": -1})),
        5 => request("guest-file-open", json!({"path": "/nonexistent/file"})),
        6 => request("guest-file-open", json!({"path": "/dev/null", "mode": "q"})),
        7 => request("guest-file-open", json!({"path": 5})),
        8 => request("guest-exec", json!({"path": "/nonexistent/program"})),
        9 => request("guest-exec-status", json!({"pid": rng.u32(..)})),
        10 => request("guest-ping", json!({"unexpected": true})),
        11 => request("guest-file-seek", json!({"handle": 1, "offset": 0, "whence": {}})),
        12 => request("guest-set-vcpus", json!({"vcpus": [{"online": true}]})),
        13 => request("guest-get-osinfo", json!({"a": [[[[[1]]]]]})),
        14 => r#"{"execute":"guest-ping","execute":"guest-ping"}"#.to_owned(),
        15 => r#"{"execute":5,"id":{}}"#.to_owned(),
        16 => r#"{"arguments":{}}"#.to_owned(),
        17 => "[1,2,3] 42 true \"x\"".to_owned(),
        18 => "}".repeat(rng.usize(1..200)),
        19 => "{".repeat(rng.usize(1..2000)),
        20 => "nul \"a\nb\" @#$ {]}".to_owned(),
        21 => return b"{\"execute\":\"\xC3\x28\"}\xFE\0\x1B".to_vec(),
        22 => format!("{{\"execute\":\"guest-ping\",\"id\":{}1{}}}", "[".repeat(1500), "]".repeat(1500)),
        _ => format!("{{\"execute\":\"{}\"}}", "n".repeat(rng.usize(1..20_000))),
    };
    text.into_bytes()
}

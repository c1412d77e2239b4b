//! What both agents are asked, in the same words.

use std::time::{Duration, Instant};

use guestd_vm::{AgentConn, AgentError};
use serde_json::{Value, json};

use crate::changes;
use crate::protocol::Protocol;

/// A question: its name, the command that it is about, and the conversation that is its answer.
pub struct Question {
    pub name: String,
    pub command: String,
    ask: Box<dyn Fn(&mut AgentConn) -> Value>,
}

impl Question {
    fn new(name: impl Into<String>, command: &str, ask: impl Fn(&mut AgentConn) -> Value + 'static) -> Self {
        Self { name: name.into(), command: command.to_owned(), ask: Box::new(ask) }
    }

    fn call(name: impl Into<String>, command: &str, arguments: Value) -> Self {
        let owned = command.to_owned();
        Self::new(name, command, move |agent| call(agent, &owned, arguments.clone()))
    }

    pub fn ask(&self, agent: &mut AgentConn) -> Value {
        (self.ask)(agent)
    }
}

/// Commands without arguments that change nothing, all but `guest-info`.
pub const READ_ONLY: [&str; 16] = [
    "guest-ping",
    "guest-get-osinfo",
    "guest-get-host-name",
    "guest-get-timezone",
    "guest-get-time",
    "guest-get-load",
    "guest-get-users",
    "guest-get-vcpus",
    "guest-get-cpustats",
    "guest-get-memory-blocks",
    "guest-get-memory-block-info",
    "guest-get-fsinfo",
    "guest-get-disks",
    "guest-get-diskstats",
    "guest-network-get-interfaces",
    "guest-network-get-route",
];

/// All questions.
pub fn all(protocol: &Protocol) -> Vec<Question> {
    let mut questions: Vec<_> = READ_ONLY.iter().map(|name| Question::call(*name, name, json!({}))).collect();
    questions.push(Question::call("guest-fsfreeze-status", "guest-fsfreeze-status", json!({})));
    questions.push(Question::call("guest-sync", "guest-sync", json!({"id": 9_007_199_254_740_993_i64})));
    questions.extend(["alice", "bob", "root", "nobody-here"].map(|name| {
        let command = "guest-ssh-get-authorized-keys";
        Question::call(format!("{command} of {name}"), command, json!({"username": name}))
    }));
    questions.push(Question::new("file", "guest-file-open", file));
    questions.push(Question::new("freeze", "guest-fsfreeze-freeze", changes::freeze));
    questions.push(Question::new("trim", "guest-fstrim", changes::trim));
    questions.push(Question::new("keys", "guest-ssh-add-authorized-keys", changes::keys));
    questions.push(Question::new("hardware", "guest-set-vcpus", changes::hardware));
    questions.extend(programs().into_iter().map(|(what, arguments)| {
        Question::new(format!("guest-exec of {what}"), "guest-exec", move |agent| exec(agent, &arguments))
    }));
    questions.extend(
        refused()
            .into_iter()
            .map(|(what, command, arguments)| Question::call(format!("refused: {command} {what}"), command, arguments)),
    );
    let wrong = protocol.wrong_requests().into_iter();
    questions.extend(wrong.map(|(what, command, args)| Question::call(format!("refused: {what}"), &command, args)));
    questions
}

/// A command's answer: `{"return": ...}` or `{"error": ...}`.
pub fn call(agent: &mut AgentConn, command: &str, arguments: Value) -> Value {
    match agent.call(command, arguments) {
        Ok(value) => json!({"return": value}),
        Err(AgentError::Refused { class, desc }) => json!({"error": {"class": class, "desc": desc}}),
        Err(error) => panic!("{command}: {error}"),
    }
}

/// Programs whose status tells what a program is given.
fn programs() -> Vec<(&'static str, Value)> {
    let shell =
        |script: &str| json!({"path": "/bin/sh", "arg": ["-c", script], "env": ["A=1"], "capture-output": true});
    vec![
        ("true", json!({"path": "/bin/true"})),
        ("echo", json!({"path": "echo", "arg": ["one", "two words"], "capture-output": true})),
        ("cat", json!({"path": "/bin/cat", "input-data": "aGVsbG8K", "capture-output": true})),
        ("env", json!({"path": "/usr/bin/env", "capture-output": true})),
        ("env of its own", json!({"path": "/usr/bin/env", "env": ["B=2", "A=1"], "capture-output": true})),
        ("a failure", shell("echo out; echo err >&2; exit 3")),
        ("a signal", shell("kill -TERM $$")),
        ("its place", shell("pwd; umask; id -u; id -g; ls -l /proc/self/fd | wc -l")),
        (
            "its signals",
            json!({"path": "/bin/grep", "arg": ["^Sig[BIC]", "/proc/self/status"], "capture-output": true}),
        ),
        ("its rights", shell("grep -E '^(Cap|NoNewPrivs|Groups|Seccomp:)' /proc/self/status")),
        ("its limits", shell("cat /proc/self/limits; cat /proc/self/oom_score_adj; nice")),
        ("a script without an interpreter", json!({"path": "/lib/guest/no-interpreter", "capture-output": true})),
    ]
}

/// Starts a program and waits for its end; the answer is the last status.
pub fn exec(agent: &mut AgentConn, arguments: &Value) -> Value {
    let started = call(agent, "guest-exec", arguments.clone());
    let Some(pid) = started.pointer("/return/pid") else { return started };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = call(agent, "guest-exec-status", json!({"pid": pid}));
        if status.pointer("/return/exited") != Some(&json!(false)) {
            return status;
        }
        assert!(Instant::now() < deadline, "{arguments} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Requests that are well formed and cannot be carried out.
fn refused() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("is unknown", "guest-nonsense", json!({})),
        ("of no file", "guest-file-open", json!({"path": "/none/at/all"})),
        ("of a directory for writing", "guest-file-open", json!({"path": "/tmp", "mode": "w"})),
        ("with a mode that is none", "guest-file-open", json!({"path": "/tmp/x", "mode": "q"})),
        ("of an unknown handle", "guest-file-read", json!({"handle": 7})),
        ("of no program", "guest-exec", json!({"path": "/none/at/all"})),
        ("of a directory", "guest-exec", json!({"path": "/tmp"})),
        ("of what is not executable", "guest-exec", json!({"path": "/etc/passwd"})),
        ("with input that is no base64", "guest-exec", json!({"path": "/bin/true", "input-data": "@@"})),
        ("of an unknown process", "guest-exec-status", json!({"pid": 1})),
        ("in a mode that is none", "guest-shutdown", json!({"mode": "sleep"})),
        (
            "with a password that is no base64",
            "guest-set-user-password",
            json!({"username": "alice", "password": "@@", "crypted": false}),
        ),
        ("of no user", "guest-ssh-add-authorized-keys", json!({"username": "nobody-here", "keys": ["ssh-rsa A"]})),
        ("of a key that is none", "guest-ssh-add-authorized-keys", json!({"username": "alice", "keys": ["no key"]})),
        ("of no user", "guest-ssh-remove-authorized-keys", json!({"username": "nobody-here", "keys": []})),
        ("of no processor", "guest-set-vcpus", json!({"vcpus": []})),
        ("of an unknown processor", "guest-set-vcpus", json!({"vcpus": [{"logical-id": 99, "online": true}]})),
        ("of the first processor", "guest-set-vcpus", json!({"vcpus": [{"logical-id": 0, "online": false}]})),
        ("of none", "guest-set-memory-blocks", json!({"mem-blks": []})),
        ("of an unknown block", "guest-set-memory-blocks", json!({"mem-blks": [{"phys-index": 99, "online": true}]})),
        (
            "of a block that is online",
            "guest-set-memory-blocks",
            json!({"mem-blks": [{"phys-index": 0, "online": true}]}),
        ),
    ]
}

/// A file, written, read back and closed: every answer in turn, the handle left out.
fn file(agent: &mut AgentConn) -> Value {
    let mut answers = serde_json::Map::new();
    let opened = agent.call("guest-file-open", json!({"path": "/tmp/differential", "mode": "w+"})).unwrap();
    assert!(opened.is_i64(), "{opened} is no handle");
    let handle = opened;
    let mut step = |name: &str, command: &str, mut arguments: Value| {
        arguments["handle"] = handle.clone();
        let mut answer = call(agent, command, arguments);
        if let Some(desc) = answer.pointer_mut("/error/desc") {
            *desc = desc.as_str().unwrap().replace(&handle.to_string(), "HANDLE").into();
        }
        answers.insert(name.to_owned(), answer);
    };
    step("write", "guest-file-write", json!({"buf-b64": "aGVsbG8gd29ybGQK"}));
    step("write a part", "guest-file-write", json!({"buf-b64": "aGVsbG8gd29ybGQK", "count": 5}));
    step("write too much", "guest-file-write", json!({"buf-b64": "aGVsbG8K", "count": 50}));
    step("write no base64", "guest-file-write", json!({"buf-b64": "@@@@"}));
    step("flush", "guest-file-flush", json!({}));
    step("seek by name", "guest-file-seek", json!({"offset": 6, "whence": "set"}));
    step("read", "guest-file-read", json!({"count": 5}));
    step("seek by number", "guest-file-seek", json!({"offset": -3, "whence": 2}));
    step("read the rest", "guest-file-read", json!({}));
    step("read at the end", "guest-file-read", json!({"count": 10}));
    step("seek before the start", "guest-file-seek", json!({"offset": -1, "whence": "set"}));
    step("seek by another number", "guest-file-seek", json!({"offset": 0, "whence": 9}));
    step("read too much", "guest-file-read", json!({"count": 50 << 20}));
    step("read a negative count", "guest-file-read", json!({"count": -1}));
    step("close", "guest-file-close", json!({}));
    step("close again", "guest-file-close", json!({}));
    answers.into()
}

//! Conversations that change something in the guest, and leave it as it was.

use guestd_vm::AgentConn;
use serde_json::{Map, Value, json};

use crate::questions::{call, exec};

/// The answers of a conversation, by what was done.
struct Talk<'a> {
    agent: &'a mut AgentConn,
    answers: Map<String, Value>,
}

impl<'a> Talk<'a> {
    fn with(agent: &'a mut AgentConn) -> Self {
        Self { agent, answers: Map::new() }
    }

    fn say(&mut self, what: &str, command: &str, arguments: Value) {
        let answer = call(self.agent, command, arguments);
        self.answers.insert(what.to_owned(), answer);
    }

    fn run(&mut self, what: &str, script: &str) {
        let arguments = json!({"path": "/bin/sh", "arg": ["-c", script], "capture-output": true});
        let answer = exec(self.agent, &arguments);
        self.answers.insert(what.to_owned(), answer);
    }
}

/// All file systems frozen, what is answered meanwhile, and thawed.
pub fn freeze(agent: &mut AgentConn) -> Value {
    let mut talk = Talk::with(agent);
    let list = json!({"mountpoints": ["/mnt/data", "/mnt/with a space", "/mnt/none", "/tmp"]});
    talk.say("freeze some", "guest-fsfreeze-freeze-list", list);
    talk.say("status of some", "guest-fsfreeze-status", json!({}));
    talk.say("thaw some", "guest-fsfreeze-thaw", json!({}));
    talk.say("freeze", "guest-fsfreeze-freeze", json!({}));
    talk.say("status", "guest-fsfreeze-status", json!({}));
    talk.say("freeze again", "guest-fsfreeze-freeze", json!({}));
    talk.say("ping", "guest-ping", json!({}));
    talk.say("osinfo", "guest-get-osinfo", json!({}));
    talk.say("open", "guest-file-open", json!({"path": "/tmp/x", "mode": "w"}));
    talk.say("thaw", "guest-fsfreeze-thaw", json!({}));
    talk.say("thaw again", "guest-fsfreeze-thaw", json!({}));
    talk.say("status afterwards", "guest-fsfreeze-status", json!({}));
    talk.answers.into()
}

/// Free space given back. How much is left out: what one agent has discarded, the next need not.
pub fn trim(agent: &mut AgentConn) -> Value {
    let mut answer = call(agent, "guest-fstrim", json!({"minimum": 4096}));
    let paths = answer.pointer_mut("/return/paths").and_then(Value::as_array_mut);
    for trimmed in paths.into_iter().flatten().filter_map(|path| path.get_mut("trimmed")) {
        assert!(trimmed.is_u64(), "{trimmed} bytes");
        *trimmed = 0.into();
    }
    answer
}

/// Keys of a user who has none before and after.
pub fn keys(agent: &mut AgentConn) -> Value {
    let (one, other) = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOne bob@one", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABTwo");
    let with = |keys: &[&str]| json!({"username": "bob", "keys": keys});
    let mut talk = Talk::with(agent);
    talk.run("clear", "rm -rf /home/bob/.ssh");
    for (what, command, keys) in [
        ("add one", "guest-ssh-add-authorized-keys", &[one][..]),
        ("add it again, and another", "guest-ssh-add-authorized-keys", &[one, other]),
        ("remove what is not there", "guest-ssh-remove-authorized-keys", &["ssh-rsa none"]),
        ("remove one", "guest-ssh-remove-authorized-keys", &[one]),
        ("add none", "guest-ssh-add-authorized-keys", &[]),
    ] {
        talk.say(what, command, with(keys));
        talk.say(&format!("{what}: keys"), "guest-ssh-get-authorized-keys", json!({"username": "bob"}));
    }
    let reset = json!({"username": "bob", "keys": [one, other], "reset": true});
    talk.say("reset", "guest-ssh-add-authorized-keys", reset);
    talk.run("the file", "cat /home/bob/.ssh/authorized_keys");
    talk.run("its rights", "cd /home/bob && stat -c '%n %a %u %g' .ssh .ssh/authorized_keys");
    talk.run("clear afterwards", "rm -rf /home/bob/.ssh");
    talk.answers.into()
}

/// A processor and a block of memory, off and on.
pub fn hardware(agent: &mut AgentConn) -> Value {
    let mut talk = Talk::with(agent);
    for online in [false, true] {
        let set = json!({"vcpus": [{"logical-id": 2, "online": online}, {"logical-id": 3, "online": true}]});
        talk.say(&format!("processor {online}"), "guest-set-vcpus", set);
        talk.say(&format!("processors {online}"), "guest-get-vcpus", json!({}));
        talk.run(&format!("kernel's {online}"), "cat /sys/devices/system/cpu/online");
        talk.say(&format!("times {online}"), "guest-get-cpustats", json!({}));
    }
    for (what, online) in [("on", true), ("on again", true), ("off", false)] {
        let set = json!({"mem-blks": [{"phys-index": 32, "online": online}, {"phys-index": 77, "online": online}]});
        talk.say(&format!("memory {what}"), "guest-set-memory-blocks", set);
        talk.say(&format!("blocks {what}"), "guest-get-memory-blocks", json!({}));
    }
    talk.answers.into()
}

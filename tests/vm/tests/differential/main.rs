//! guestd and qemu-ga in the same guest, asked the same: every answer has the same members, types and values, but for the
//! list in `differences.json`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod changes;
mod compare;
mod explained;
mod guest;
mod kernel;
mod protocol;
mod questions;

use compare::{Difference, compare};
use explained::Explained;
use guestd_vm::{AgentConn, despite_stalls, note};
use protocol::Protocol;
use questions::{Question, READ_ONLY};
use serde_json::{Value, json};

/// How often an answer may differ before the difference counts: counters do not move in step, not even within one agent.
const TRIES: usize = 3;

#[test]
fn both_answer_the_same() {
    despite_stalls(ask_both);
}

fn ask_both() {
    let Some(mut guest) = guest::boot() else { return };
    let (mut guestd, mut qemu_ga) = (guest.vm.agent().unwrap(), guest.vm.agent_beside().unwrap());
    let protocol = Protocol::read();
    let mut answer = |name: &&str| protocol.faults(name, &guestd.call(name, json!({})).unwrap());
    let faults: Vec<String> = READ_ONLY.iter().flat_map(&mut answer).collect();
    assert!(faults.is_empty(), "answers that the protocol does not have:\n{}", faults.join("\n"));
    // An empty drive has a size; where qemu-ga thought otherwise the answers would differ.
    let disks = guestd.call("guest-get-disks", json!({})).unwrap();
    let is_listed = |name: &str| disks.as_array().unwrap().iter().any(|disk| disk["name"] == name);
    assert_eq!(["/dev/sr0", "/dev/nbd0", "/dev/zram0"].map(is_listed), [true, false, false], "{disks}");
    kernel::load(&mut guestd, &mut guest.vm);
    kernel::routes(&mut guestd, &mut guest.vm);

    let (our_info, their_info) = (info(&mut guestd), info(&mut qemu_ga));
    let mut explained = Explained::read(&their_info.version);
    let mut found = differences_of_info(&our_info, &their_info, &protocol);
    for question in questions::all(&protocol) {
        if !their_info.commands.contains_key(&question.command) && our_info.commands.contains_key(&question.command) {
            continue;
        }
        found.extend(differences(&question, &mut guestd, &mut qemu_ga, &explained));
    }
    found.retain(|difference| !explained.explains(difference));
    explained.lines().iter().for_each(|line| note(&format!("differs: {line}")));
    let show = |Difference { place, kind, guestd, qemu_ga }: &Difference| {
        format!("{place} ({kind}):\n  guestd  {guestd}\n  qemu-ga {qemu_ga}\n")
    };
    let unexplained: String = found.iter().map(show).collect();
    assert!(found.is_empty(), "{} differences are not in differences.json:\n{unexplained}", found.len());
    assert!(explained.unused().is_empty(), "nothing differs any more at {:?}", explained.unused());
}

/// What differs in the answers to a question each time that it is asked.
fn differences(
    question: &Question,
    guestd: &mut AgentConn,
    qemu_ga: &mut AgentConn,
    explained: &Explained,
) -> Vec<Difference> {
    let mut once = || {
        let before = question.ask(guestd);
        let theirs = question.ask(qemu_ga);
        let after = question.ask(guestd);
        compare(&question.name, [&before, &after], &theirs)
    };
    let mut found = once();
    for _ in 1..TRIES {
        if found.iter().all(|difference| explained.has(difference)) {
            break;
        }
        let again = once();
        let recurs = |one: &Difference| again.iter().any(|other| (&other.place, other.kind) == (&one.place, one.kind));
        found.retain(recurs);
    }
    found
}

/// What `guest-info` says.
struct Info {
    version: String,
    /// By name, what is said of each command.
    commands: serde_json::Map<String, Value>,
}

fn info(agent: &mut AgentConn) -> Info {
    let info = agent.call("guest-info", json!({})).unwrap();
    let command = |one: &Value| {
        let name = one["name"].as_str().unwrap().to_owned();
        (name, json!({"enabled": one["enabled"], "success-response": one["success-response"]}))
    };
    let commands = info["supported_commands"].as_array().unwrap().iter().map(command).collect();
    Info { version: info["version"].as_str().unwrap().to_owned(), commands }
}

/// What differs in `guest-info`, which must name guestd's commands as the protocol has them.
fn differences_of_info(ours: &Info, theirs: &Info, protocol: &Protocol) -> Vec<Difference> {
    for (name, command) in &protocol.commands {
        let answers = command.success_response.unwrap_or(true);
        assert_eq!(ours.commands[name]["success-response"], answers, "success-response of {name}");
        if !theirs.commands.contains_key(name) {
            note(&format!("qemu-ga {} has no {name}, which came with {}", theirs.version, command.since));
        }
    }
    let (ours, theirs) = (Value::from(ours.commands.clone()), Value::from(theirs.commands.clone()));
    compare("guest-info", [&ours, &ours], &theirs)
}

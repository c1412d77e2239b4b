//! Freezes, seen by programs that write: they stop, they go on, and the disks are clean.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use guestd_vm::{Agent, AgentConn, Fs, Vm, VmBuilder, Writer, boot_or_skip, fresh_id, note, request};
use serde_json::{Value, json};

/// What answers while frozen, whatever else is configured.
const ALLOWED: [&str; 6] =
    ["guest-ping", "guest-info", "guest-sync", "guest-sync-delimited", "guest-fsfreeze-status", "guest-fsfreeze-thaw"];

/// Of guestd's own commands: the report of a freeze says when its lease ends, so it answers during one.
const ALLOWED_BESIDES: [&str; 1] = ["__org.guestd_fsfreeze-report"];

const STILL: Duration = Duration::from_secs(3);

#[test]
fn a_writer_stops_and_goes_on() {
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).disk(Fs::Blank);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    let writers = [
        Writer::start(&mut vm, "ext4", "/mnt/ext4/written").unwrap(),
        Writer::start(&mut vm, "xfs", "/mnt/xfs/written").unwrap(),
    ];
    expect_moving(&writers, &mut vm);

    let mut agent = vm.agent().unwrap();
    freeze_all(&mut agent);
    let notes = expect_still(&writers, &mut vm);
    only_six_commands_answer(&mut agent, vm.which_agent());
    let copy = snapshots_while_frozen(&vm, notes[0]);
    expect_still(&writers, &mut vm);
    thaw_all(&mut agent);
    expect_moving(&writers, &mut vm);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 0);
    mount_snapshot(&mut vm, &copy, notes[1]);

    one_of_two(&mut agent, &writers, &mut vm);
    drop(agent);
    killed_while_frozen(&writers, &mut vm);
    terminated_while_frozen(&writers, &mut vm);

    let [ext4, xfs] = writers;
    ext4.stop(&mut vm).unwrap();
    xfs.stop(&mut vm).unwrap();
    vm.run("umount /mnt/ext4 /mnt/xfs").unwrap();
    vm.stop().unwrap().check().unwrap();
}

fn expect_moving(writers: &[Writer; 2], vm: &mut Vm) {
    for writer in writers {
        writer.expect_moving(vm).unwrap();
    }
}

/// The last numbers of the writers, which stand still.
fn expect_still(writers: &[Writer], vm: &mut Vm) -> Vec<u64> {
    Writer::expect_still(writers, vm, STILL).unwrap()
}

fn call(agent: &mut AgentConn, command: &str) -> Value {
    agent.call(command, json!({})).unwrap()
}

fn freeze_all(agent: &mut AgentConn) {
    assert_eq!(call(agent, "guest-fsfreeze-status"), "thawed");
    assert_eq!(call(agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(call(agent, "guest-fsfreeze-status"), "frozen");
}

fn thaw_all(agent: &mut AgentConn) {
    assert_eq!(call(agent, "guest-fsfreeze-thaw"), 2);
    assert_eq!(call(agent, "guest-fsfreeze-status"), "thawed");
}

fn only_six_commands_answer(agent: &mut AgentConn, which: Option<Agent>) {
    // Debian 12's qemu-ga has other words for it than the one that guestd follows.
    let reason = match which {
        Some(Agent::QemuGa) => "the agent is in frozen state",
        _ => "the command is not allowed",
    };
    agent.sync().unwrap();
    call(agent, "guest-ping");
    let id = fresh_id();
    assert_eq!(agent.call("guest-sync", json!({"id": id})).unwrap(), id);
    agent.send(&request("guest-sync-delimited", json!({"id": id}))).unwrap();
    agent.wait_for_sync(id).unwrap();

    let info = call(agent, "guest-info");
    let commands = info["supported_commands"].as_array().unwrap();
    let mut refused = 0;
    let mut answered = 0;
    for command in commands {
        let name = command["name"].as_str().unwrap();
        let allowed = ALLOWED.contains(&name) || ALLOWED_BESIDES.contains(&name);
        assert_eq!(command["enabled"], allowed, "{name} in guest-info");
        if !allowed {
            // Refused before its arguments are looked at.
            let error = agent.call(name, json!({})).unwrap_err();
            let words = format!("Command {name} has been disabled: {reason}");
            assert_eq!(error.refused(), Some(("CommandNotFound", words.as_str())));
            refused += 1;
        } else if ALLOWED_BESIDES.contains(&name) {
            call(agent, name);
        } else {
            answered += 1;
        }
    }
    // file has six, fsfreeze two more, power four.
    assert!(refused >= 12, "only {refused} commands were refused");
    assert_eq!(answered, ALLOWED.len());
    assert_eq!(call(agent, "guest-fsfreeze-status"), "frozen");
}

/// Copies the images while frozen. What the host has then is complete: it holds all that the writers had
/// written, and needs no repair.
fn snapshots_while_frozen(vm: &Vm, noted: u64) -> PathBuf {
    let [ext4, xfs, _] = vm.disks() else {
        panic!("three disks: {:?}", vm.disks());
    };
    // A frozen ext4 has an empty journal: its copy can be checked as it is.
    let copy = ext4.snapshot("frozen").unwrap();
    Fs::Ext4.check(&copy).unwrap();
    let text = Vm::read_from_ext4(&copy, "/written").unwrap();
    expect_complete(&text, noted);
    xfs.snapshot("frozen").unwrap()
}

/// A frozen XFS has a short log by design: its copy is mounted once, and checked then.
fn mount_snapshot(vm: &mut Vm, copy: &Path, noted: u64) {
    let spare = vm.disks()[2].clone();
    spare.restore(copy).unwrap();
    let device = format!("/dev/{}", spare.device);
    vm.run(&format!("blockdev --flushbufs {device} && mkdir -p /mnt/copy")).unwrap();
    vm.run(&format!("mount -t xfs -o nouuid {device} /mnt/copy")).unwrap();
    let text = vm.run("cat /mnt/copy/written").unwrap();
    expect_complete(&text, noted);
    vm.run("umount /mnt/copy").unwrap();
    Fs::Xfs.check(&spare.image).unwrap();
}

/// The writer's numbers, all of them. The freeze may have come between a write and its note.
fn expect_complete(text: &str, noted: u64) {
    let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let last = *numbers.last().unwrap();
    assert!(last == noted || last == noted + 1, "{last} in the copy, {noted} noted");
    assert!(numbers.into_iter().eq(1..=last), "{text}");
}

/// guest-fsfreeze-freeze-list freezes what it is told and nothing else.
fn one_of_two(agent: &mut AgentConn, writers: &[Writer; 2], vm: &mut Vm) {
    let list = json!({"mountpoints": ["/mnt/xfs"]});
    assert_eq!(agent.call("guest-fsfreeze-freeze-list", list).unwrap(), 1);
    assert_eq!(call(agent, "guest-fsfreeze-status"), "frozen");
    expect_still(&writers[1..], vm);
    writers[0].expect_moving(vm).unwrap();
    assert_eq!(call(agent, "guest-fsfreeze-thaw"), 1);
    expect_moving(writers, vm);
}

/// An agent that dies leaves the guest frozen; the next one knows, and can thaw.
fn killed_while_frozen(writers: &[Writer; 2], vm: &mut Vm) {
    freeze_all(&mut vm.agent().unwrap());
    vm.kill_agent("KILL").unwrap();
    assert_eq!(vm.wait_agent_exit(Duration::from_secs(10)).unwrap(), 137);
    expect_still(writers, vm);

    vm.start_agent().unwrap();
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-status"), "frozen");
    let error = agent.call("guest-file-open", json!({"path": "/tmp/x"})).unwrap_err();
    assert_eq!(error.refused().unwrap().0, "CommandNotFound");
    expect_still(writers, vm);
    thaw_all(&mut agent);
    expect_moving(writers, vm);
}

/// An agent that is asked to end thaws first.
fn terminated_while_frozen(writers: &[Writer; 2], vm: &mut Vm) {
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("not for qemu-ga: it ignores SIGTERM while frozen");
        return;
    }
    for signal in ["TERM", "INT"] {
        let mut agent = vm.agent().unwrap();
        freeze_all(&mut agent);
        expect_still(writers, vm);
        vm.kill_agent(signal).unwrap();
        assert_eq!(vm.wait_agent_exit(Duration::from_secs(10)).unwrap(), 0, "after {signal}");
        expect_moving(writers, vm);
        drop(agent);
        vm.start_agent().unwrap();
        let status = call(&mut vm.agent().unwrap(), "guest-fsfreeze-status");
        assert_eq!(status, "thawed", "after {signal}");
    }
}

//! A host that closes its end in mid-message, or does not read, or does nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use guestd_vm::{Agent, CpuUse, Vm, VmBuilder, boot_or_skip, fresh_id, note, request};
use serde_json::json;

/// Time for threads that have nothing more to do to end.
const SETTLE: Duration = Duration::from_secs(12);
const WATCH: Duration = Duration::from_secs(10);
/// The time between two hosts, in which the guest sees that one has gone.
const HOST_GAP: Duration = Duration::from_secs(1);

#[test]
fn the_host_may_do_what_it_likes() {
    let Some(mut vm) = boot_or_skip(VmBuilder::new()) else {
        return;
    };
    closing_in_mid_message(&mut vm);
    hosts_that_never_start_afresh(&mut vm);
    not_reading(&mut vm);
    idle(&mut vm);
}

/// Fifty times: part of a message, sometimes with answers left unread, then the host is gone. The first
/// thing that the next one sends must be answered.
fn closing_in_mid_message(vm: &mut Vm) {
    let pid = vm.agent_pid().unwrap();
    let large = json!({"handle": 1, "buf-b64": "QUJD".repeat(25_000)});
    let messages = [
        request("guest-ping", json!({})),
        request("guest-sync-delimited", json!({"id": 1})),
        request("guest-file-open", json!({"path": "/tmp/\"{[", "mode": "r"})),
        request("guest-file-write", large),
    ];
    drop(vm.agent().unwrap());
    for round in 0..50 {
        let message = &messages[round % messages.len()];
        // From its first byte to the last but its end.
        let cut = 1 + (message.len() - 3) * round / 49;
        let mut host = vm.raw_agent().unwrap();
        if round % 3 == 0 {
            host.send(&request("guest-info", json!({}))).unwrap();
        }
        host.send(&message[..cut]).unwrap();
        if round % 2 == 0 {
            // Sometimes the agent has read it before the host goes, sometimes not.
            std::thread::sleep(Duration::from_millis(30));
        }
        drop(host);

        let mut host = vm.raw_agent().unwrap();
        if let Err(error) = host.sync() {
            panic!("round {round}, cut after {cut} of {} bytes: {error}", message.len());
        }
        host.call("guest-ping", json!({})).unwrap();
    }
    assert_eq!(vm.agent_pid().unwrap(), pid);
    let alive = vm.run(&format!("kill -0 {pid} && ! [ -e /run/guest/agent.exit ]"));
    assert!(alive.is_ok(), "the agent has ended: {alive:?}");
}

/// Hosts like Proxmox VE, which open the port for each command and never send 0xFF: what one has left behind must not reach the
/// next. Eight times half a message, a message whose answer is not read, and one in many pieces right behind the opening.
fn hosts_that_never_start_afresh(vm: &mut Vm) {
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("not for qemu-ga: after half a message it answers no such host any more");
        return;
    }
    drop(vm.agent().unwrap());
    let id = "x".repeat(60_000);
    let pieces = json!({"execute": "guest-ping", "id": id}).to_string();
    for round in 0..8 {
        let left_behind = [
            b"{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"cat\",\"input-data\":".as_slice(),
            &request("guest-info", json!({})).repeat(200),
        ];
        // What fills the port takes the guest longer to look at.
        for bytes in left_behind.iter().take(if round < 2 { 2 } else { 1 }) {
            let mut host = vm.raw_agent().unwrap();
            // The longer one may not fit as long as nobody reads.
            let _ = host.send_until_stuck(bytes, 1, Duration::from_millis(200)).unwrap();
            std::thread::sleep(HOST_GAP);
            drop(host);
            // Another process of the host takes longer than this to start.
            std::thread::sleep(HOST_GAP);
            let mut host = vm.raw_agent().unwrap();
            host.send(&request("guest-ping", json!({}))).unwrap();
            let answer = host.line().unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(answer.json, json!({"return": {}}), "round {round}");
            drop(host);
            std::thread::sleep(HOST_GAP);
            let mut host = vm.raw_agent().unwrap();
            host.send(pieces.as_bytes()).unwrap();
            let answer = host.line().unwrap_or_else(|error| panic!("round {round}, in pieces: {error}"));
            assert_eq!(answer.json["id"], id, "round {round}");
            drop(host);
            std::thread::sleep(HOST_GAP);
        }
    }
}

/// A host that sends and never reads: the agent waits without using the processor, and when the host
/// reads at last, every request is answered, in order.
fn not_reading(vm: &mut Vm) {
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("not for qemu-ga: with its port full it spins, and later requests are lost");
        return;
    }
    let mut host = vm.agent().unwrap();
    // White space makes the requests large: the buffers on the way in fill sooner.
    let mut info = vec![b' '; 1000];
    info.extend(request("guest-info", json!({})));
    let flood = host.send_until_stuck(&info, 200_000, Duration::from_secs(4)).unwrap();
    assert!(flood.stuck, "{} requests were taken without reading an answer", flood.complete);
    note(&format!("the channel is full after {} requests", flood.complete));

    let before = CpuUse::of_agent(vm).unwrap();
    std::thread::sleep(WATCH);
    let used = CpuUse::of_agent(vm).unwrap().since(&before);
    note(&format!("waiting for a host that does not read: {used} ns in {WATCH:?}"));
    assert!(used < 20_000_000, "{used} ns in {WATCH:?} while nobody reads");

    // Reading begins: the answers make room for the rest of the last request.
    let mut answers = 0;
    let mut rest = Some(flood.rest).filter(|rest| !rest.is_empty());
    let expected = flood.complete + usize::from(rest.is_some());
    while answers < expected {
        let answer = host.reply().unwrap_or_else(|error| panic!("{error} after {answers} of {expected} answers"));
        assert!(answer["supported_commands"].is_array(), "{answer}");
        answers += 1;
        if answers > flood.complete / 2
            && let Some(rest) = rest.take()
        {
            host.send(&rest).unwrap();
        }
    }
    let id = fresh_id();
    host.send(&request("guest-sync", json!({"id": id}))).unwrap();
    assert_eq!(host.reply().unwrap(), id);
    host.sync().unwrap();

    // The same, but the host goes away instead of reading.
    let flood = host.send_until_stuck(&info, 200_000, Duration::from_secs(4)).unwrap();
    assert!(flood.stuck);
    drop(host);
    let mut host = vm.raw_agent().unwrap();
    host.set_timeout(Duration::from_secs(60));
    host.sync().unwrap();
    host.call("guest-ping", json!({})).unwrap();
}

/// With nothing to do the agent does nothing at all, whether the host is there or not.
fn idle(vm: &mut Vm) {
    let host = vm.agent().unwrap();
    let connected = used_while_idle(vm);
    note(&format!("idle with the host connected: {connected} ns in {WATCH:?}"));
    drop(host);
    let closed = used_while_idle(vm);
    note(&format!("idle with the host's side closed: {closed} ns in {WATCH:?}"));
    assert_eq!(connected, 0, "nanoseconds while the host is connected and silent");
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("not asserted for qemu-ga: it polls its port while the host's side is closed");
    } else {
        assert_eq!(closed, 0, "nanoseconds while the host's side is closed");
    }
    // It still listens.
    let mut host = vm.raw_agent().unwrap();
    host.sync().unwrap();
    assert_eq!(host.call("guest-sync", json!({"id": 5})).unwrap(), 5);
}

fn used_while_idle(vm: &mut Vm) -> u64 {
    std::thread::sleep(SETTLE);
    let before = CpuUse::of_agent(vm).unwrap();
    std::thread::sleep(WATCH);
    CpuUse::of_agent(vm).unwrap().since(&before)
}

//! A vsock channel beside the virtio-serial one, called by guestd's own client inside the guest.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use guestd_vm::{Agent, Vm, VmBuilder, boot_or_skip, not_here};
use serde_json::{Value, json};

/// The loopback address: this guest has no host on vsock.
const CID: u32 = 1;
const PORT: u32 = 9004;
/// The port of a channel that admits whom it admits by default: the host.
const HOSTS_PORT: u32 = 9005;

fn configuration() -> String {
    format!(
        "[[channel]]\n\
         method = \"virtio-serial\"\n\
         path = \"/dev/virtio-ports/org.qemu.guest_agent.0\"\n\
         \n\
         [[channel]]\n\
         method = \"vsock-listen\"\n\
         path = \"{CID}:{PORT}\"\n\
         cids = [{CID}]\n\
         \n\
         [[channel]]\n\
         method = \"vsock-listen\"\n\
         path = \"-1:{HOSTS_PORT}\"\n"
    )
}

#[test]
fn vsock_and_virtio_serial_together() {
    if Agent::from_env() == Agent::QemuGa {
        guestd_vm::note("not for qemu-ga: it has one channel, and no client");
        return;
    }
    let builder = VmBuilder::new()
        .file("/etc/guestd/guestd.toml", configuration())
        .agent_args(Vec::<String>::new())
        .program("setpriv");
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    if vm.sh("grep -q vsock_loopback /proc/modules").unwrap().status != 0 {
        not_here("the guest's kernel has no vsock_loopback");
        return;
    }
    let mut host = vm.agent().unwrap();

    let pong = called(&mut vm, "guest-ping", "");
    assert!(pong == json!({}) || pong == json!({"return": {}}), "{pong}");
    let sync = called(&mut vm, "guest-sync", "'{\"id\": 77}'");
    assert!(sync == json!(77) || sync == json!({"return": 77}), "{sync}");
    let wrong = vm.sh(&call_line("guest-nonsense", "")).unwrap();
    assert_ne!(wrong.status, 0, "{}", wrong.stdout);
    assert!(wrong.stdout.contains("has not been found"), "{}", wrong.stdout);

    // The loopback of vsock is there for every user of a guest. A channel is for its host, unless it says otherwise.
    // Not busybox' own, which its shell would take.
    let as_user = "/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups";
    for (user, id) in [("", 0), (as_user, 1000)] {
        assert_eq!(vm.run(&format!("{user} id -u")).unwrap(), id.to_string());
        let refused = vm.sh(&format!("{user} {}", call_line_at(HOSTS_PORT, "guest-ping", ""))).unwrap();
        assert_ne!(refused.status, 0, "{}", refused.stdout);
        assert!(!refused.stdout.contains("{}"), "{}", refused.stdout);
        let admitted = vm.sh(&format!("{user} {}", call_line("guest-ping", ""))).unwrap();
        assert_eq!(admitted.status, 0, "{}", admitted.stdout);
    }
    vm.run("grep -q 'a client with the vsock address 1 is not admitted' /run/guest/agent.log").unwrap();

    // State is one: a handle of one channel is good on the other. The host's was open all the while.
    let handle = host.call("guest-file-open", json!({"path": "/etc/hostname"})).unwrap();
    let read = called(&mut vm, "guest-file-read", &format!("'{{\"handle\": {handle}}}'"));
    assert_eq!(read.get("return").unwrap_or(&read)["buf-b64"], "Z3Vlc3QK");
    host.call("guest-file-close", json!({"handle": handle})).unwrap();

    // Several clients at once, each for itself.
    let one = call_line("guest-sync", r#""{\"id\": $n}""#);
    let many = format!("for n in 1 2 3 4 5; do {one} >/tmp/many.$n 2>&1 & done; wait");
    vm.run(&many).unwrap();
    for n in 1..=5 {
        let text = vm.run(&format!("cat /tmp/many.{n}")).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        assert_eq!(answer.get("return").unwrap_or(&answer), n);
    }

    host.sync().unwrap();
    assert_eq!(called(&mut vm, "guest-ping", ""), pong);
    let ended = vm.sh("test -e /run/guest/agent.exit").unwrap().status;
    assert_eq!(ended, 1, "the agent has ended");
}

fn call_line(command: &str, arguments: &str) -> String {
    call_line_at(PORT, command, arguments)
}

fn call_line_at(port: u32, command: &str, arguments: &str) -> String {
    let program = Agent::Guestd.path();
    format!("{program} call --socket vsock:{CID}:{port} {command} {arguments}")
}

/// What `guestd call` prints, as JSON.
fn called(vm: &mut Vm, command: &str, arguments: &str) -> Value {
    let text = vm.run(&call_line(command, arguments)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

//! A disk that fails under mounted file systems and under the agent's own state: an error to the host each time, and the
//! same agent afterwards.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use guestd_vm::{Agent, AgentConn, Fs, Vm, VmBuilder, boot_or_skip};
use serde_json::{Value, json};

/// The second ext4 moves onto device-mapper, so that its disk can be exchanged for one that answers nothing but errors.
const MAKE: &str = "set -e
umount /mnt/ext4
DM_DISABLE_UDEV=1 dmsetup create data --table \"0 $(blockdev --getsz /dev/vda) linear /dev/vda 0\"
mount -t ext4 /dev/mapper/data /mnt/ext4
mkdir -p /mnt/ext4/state
dd if=/dev/urandom of=/mnt/ext4/old bs=1k count=512 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
";

/// Documentation/admin-guide/device-mapper/dm-flakey.rst has the same for a while; `error` is for good.
const BREAK: &str = "set -e
DM_DISABLE_UDEV=1 dmsetup suspend --noflush --nolockfs data
DM_DISABLE_UDEV=1 dmsetup load data --table \"0 $(blockdev --getsz /dev/vda) error\"
DM_DISABLE_UDEV=1 dmsetup resume data
";

fn machine() -> Option<Vm> {
    let builder = VmBuilder::new().disk(Fs::Ext4).agent(Agent::Guestd).module("dm_mod").program("dmsetup");
    boot_or_skip(builder)
}

fn open(agent: &mut AgentConn, path: &str, mode: &str) -> Value {
    agent.call("guest-file-open", json!({"path": path, "mode": mode})).unwrap()
}

/// The text of an error that must come.
fn error(agent: &mut AgentConn, command: &str, arguments: Value) -> String {
    let outcome = agent.call(command, arguments);
    let refused = outcome.as_ref().err().and_then(|error| error.refused());
    refused.unwrap_or_else(|| panic!("{command}: {outcome:?}")).1.to_owned()
}

#[test]
fn a_disk_that_fails_is_an_error_each_time() {
    let Some(mut vm) = machine() else { return };
    vm.run(MAKE).unwrap();
    let pid = vm.agent_pid().unwrap();
    let mut agent = vm.agent().unwrap();
    let reader = open(&mut agent, "/mnt/ext4/old", "r");
    let writer = open(&mut agent, "/mnt/ext4/new", "w");
    vm.run("sync; echo 3 >/proc/sys/vm/drop_caches").unwrap();
    vm.run(BREAK).unwrap();

    let text = error(&mut agent, "guest-file-read", json!({"handle": reader, "count": 4096}));
    assert!(text.contains("Input/output error"), "{text}");
    // What needs the journal fails as soon as the file system has noticed.
    let refused = (0..200).find_map(|number| {
        let path = format!("/mnt/ext4/another-{number}");
        let opened = agent.call("guest-file-open", json!({"path": path, "mode": "w"}));
        let _ = vm.sh("sync");
        Some(opened.err()?.refused().expect("an error that is not the agent's").1.to_owned())
    });
    let text = refused.expect("files are made on a disk that is gone");
    assert!(text.contains("Input/output error") || text.contains("Read-only file system"), "{text}");
    let text = error(&mut agent, "guest-exec", json!({"path": "/mnt/ext4/program"}));
    assert!(!text.is_empty());

    // Closing, freezing and the rest have an answer, whichever it is. What the page cache takes is no error of a write, and nobody's
    // of a flush, which leaves the disk to the kernel as qemu-ga's does.
    for (command, arguments) in [
        ("guest-file-write", json!({"handle": writer, "buf-b64": "QUJD".repeat(1 << 14)})),
        ("guest-file-flush", json!({"handle": writer})),
        ("guest-file-close", json!({"handle": writer})),
        ("guest-file-close", json!({"handle": reader})),
        ("guest-get-fsinfo", json!({})),
        ("guest-get-disks", json!({})),
        ("guest-fstrim", json!({})),
        ("guest-fsfreeze-freeze", json!({})),
        ("guest-fsfreeze-thaw", json!({})),
    ] {
        match agent.call(command, arguments) {
            Ok(_) => {}
            Err(error) => assert!(error.refused().is_some(), "{command}: {error}"),
        }
    }
    assert_eq!(agent.call("guest-fsfreeze-status", json!({})).unwrap(), "thawed");
    agent.call("guest-ping", json!({})).unwrap();
    assert_eq!(vm.agent_pid().unwrap(), pid, "the agent is another one");
}

//! A guest with systemd: the units that are packaged start the agent, and what systemd refuses is the command's error.
//!
//! The guest's image takes minutes to make, so these run by `make test-systemd` only.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use guestd_vm::{Agent, AgentConn, Channel, Vm, VmBuilder, boot_or_skip, note};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(120);

/// The image of `systemd-image.sh`, which no guest changes.
fn image() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/systemd-guest/root.img");
    let image = std::env::var_os("GUESTD_SYSTEMD_IMAGE").map_or(default, PathBuf::from);
    assert!(image.is_file(), "no {}: make test-systemd makes it", image.display());
    image
}

/// A guest with the units of the tree, of which these are enabled.
fn guest(channel: Channel, enabled: &[&str]) -> VmBuilder {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    let units = ["systemd/guestd.service", "systemd/guestd-channels.service", "udev/60-guestd.rules"];
    let builder = units.iter().fold(VmBuilder::new(), |builder, unit| {
        let name = Path::new(unit).file_name().unwrap().to_str().unwrap();
        builder.file(&format!("/lib/guest/units/{name}"), std::fs::read(packaging.join(unit)).unwrap())
    });
    let enabled: String = enabled.iter().chain(&["control.service"]).map(|unit| format!("{unit}\n")).collect();
    builder
        .agent(Agent::Guestd)
        .channel(channel)
        .cpus(1)
        .memory(512)
        .module("lzo_rle")
        .module("zram")
        .file_with_mode("/init", 0o755, include_str!("../guest/systemd/init.sh"))
        .file("/lib/guest/units/control.service", include_str!("../guest/systemd/control.service"))
        .file("/lib/guest/enabled", enabled)
        .qemu_args([
            "-drive",
            &format!("if=none,id=root,file={},format=raw,snapshot=on,cache=unsafe", image().display()),
        ])
        .qemu_args(["-device", "virtio-blk-pci,drive=root"])
        .limit(Duration::from_secs(500))
}

/// The words with which a command is refused, after which the guest goes on.
fn refused(vm: &mut Vm, agent: &mut AgentConn, command: &str, words: &str) {
    let boot = vm.run("cat /proc/sys/kernel/random/boot_id").unwrap();
    agent.set_timeout(LIMIT);
    let error = agent.call(command, json!({})).unwrap_err();
    let (class, said) = error.refused().expect("an error reply");
    note(&format!("{command}: {said}"));
    assert_eq!(class, "GenericError");
    assert!(said.starts_with("child process has failed to ") && said.contains(words), "{command}: {said}");
    let events = vm.qmp().unwrap().events_within(Duration::from_secs(2)).unwrap();
    let down = |name: &str| name == "SHUTDOWN" || name.starts_with("SUSPEND");
    assert!(!events.iter().any(|event| down(&event.name)), "{command}: {events:?}");
    agent.call("guest-ping", json!({})).unwrap();
    assert_eq!(vm.run("cat /proc/sys/kernel/random/boot_id").unwrap(), boot);
    let log = vm.run("journalctl --no-pager -b -u guestd.service -u guestd-channels.service").unwrap();
    assert!(!log.contains("/sys/power/state"), "{log}");
}

#[test]
#[ignore = "takes a guest with systemd: make test-systemd"]
fn what_systemd_refuses_is_the_answer() {
    // Nothing is enabled: the udev rule starts the unit with the port.
    let Some(mut vm) = boot_or_skip(guest(Channel::Virtio, &[])) else { return };
    let mut agent = vm.agent().unwrap();
    assert_eq!(vm.run("systemctl is-active guestd.service").unwrap(), "active");
    assert_eq!(vm.sh("systemctl is-active guestd-channels.service").unwrap().stdout.trim(), "inactive");

    vm.run("echo 128M >/sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0").unwrap();
    refused(&mut vm, &mut agent, "guest-suspend-disk", "swap");
    refused(&mut vm, &mut agent, "guest-suspend-hybrid", "swap");
    for (target, command, words) in [
        ("suspend", "guest-suspend-ram", "Call to Suspend failed"),
        ("poweroff", "guest-shutdown", "Call to PowerOff failed"),
    ] {
        vm.run(&format!("systemctl mask {target}.target")).unwrap();
        refused(&mut vm, &mut agent, command, words);
        vm.run(&format!("systemctl unmask {target}.target")).unwrap();
    }
    agent.send(b"{\"execute\": \"guest-shutdown\"}\n").unwrap();
    let event = vm.qmp().unwrap().wait_event("SHUTDOWN", LIMIT).unwrap();
    assert_eq!(event.data["reason"], "guest-shutdown");
}

#[test]
#[ignore = "takes a guest with systemd: make test-systemd"]
fn a_guest_without_the_port_has_a_unit_of_its_own() {
    let channels = "[[channel]]\nmethod = \"isa-serial\"\npath = \"/dev/ttyS1\"\n\n\
                    [[channel]]\nmethod = \"unix-listen\"\npath = \"/run/guestd/admin.sock\"\n";
    let builder = guest(Channel::Isa, &["guestd-channels.service"]).file("/lib/guest/guestd.toml", channels);
    let Some(mut vm) = boot_or_skip(builder) else { return };
    vm.agent().unwrap().call("guest-ping", json!({})).unwrap();
    let active = "systemctl is-active guestd-channels.service";
    assert_eq!(vm.run(active).unwrap(), "active");
    assert_eq!(vm.sh("systemctl is-active guestd.service").unwrap().stdout.trim(), "inactive");
    assert_eq!(vm.run("guestd call guest-ping").unwrap(), "{}");

    // systemd looks after it as after the other: it comes back, reads again, and ends.
    let pid = "systemctl show --property MainPID --value guestd-channels.service";
    let first = vm.run(pid).unwrap();
    vm.run(&format!("kill -9 {first}")).unwrap();
    let back = format!("until {active} && [ \"$({pid})\" != {first} ] && [ \"$({pid})\" != 0 ]; do sleep 0.2; done");
    vm.sh_for(&back, LIMIT).unwrap();
    vm.agent().unwrap().call("guest-ping", json!({})).unwrap();
    vm.run("systemctl reload guestd-channels.service").unwrap();
    vm.agent().unwrap().call("guest-ping", json!({})).unwrap();
    vm.run("systemctl stop guestd-channels.service").unwrap();
    let failed = vm.sh("systemctl is-failed guestd-channels.service").unwrap();
    assert_eq!(failed.stdout.trim(), "inactive");
}

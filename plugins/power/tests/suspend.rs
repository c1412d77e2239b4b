//! `guest-suspend-*` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Guest, error, is_silent, logged};
use guestd_sdk::LogLevel;
use serde_json::json;

const MODES: [&str; 3] = ["guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"];
const UNSUPPORTED: &str = "the requested suspend mode is not supported by the guest";

/// A guest whose kernel can do everything, with swap on a disk.
fn sleeper() -> Guest {
    let guest = Guest::new();
    guest.device("pci0000:00/0000:00:03.0/virtio1/block/vda", "254:0").swaps(&["/dev/vda"], "0:0");
    guest.file("sys/power/state", "freeze mem disk\n");
    guest.file("sys/power/disk", "[platform] shutdown reboot suspend test_resume\n");
    guest
}

#[test]
fn systemd_is_asked_first() {
    let guest = sleeper();
    guest.systemd("", 0).program("pm-suspend", "", 0);
    let kit = guest.kit();
    for command in MODES {
        assert!(is_silent(&kit, command, "{}"));
    }
    let verbs = ["hibernate", "suspend", "hybrid-sleep"];
    assert_eq!(guest.ran(), verbs.map(|verb| format!("systemctl --no-ask-password {verb}")));
    assert_eq!(guest.read("sys/power/state"), "freeze mem disk\n");
}

#[test]
fn then_the_programs_of_pm_utils() {
    let guest = sleeper();
    guest.dir("run/systemd/system");
    guest.program("pm-hibernate", "", 0).program("pm-suspend", "", 0).program("pm-suspend-hybrid", "", 0);
    let kit = guest.kit();
    for command in MODES {
        assert!(is_silent(&kit, command, "{}"));
    }
    assert_eq!(guest.ran(), ["pm-hibernate", "pm-suspend", "pm-suspend-hybrid"]);
    assert_eq!(guest.read("sys/power/state"), "freeze mem disk\n");
}

#[test]
fn then_the_kernel() {
    for (command, state, disk) in [
        ("guest-suspend-disk", "disk", "[platform] shutdown reboot suspend test_resume\n"),
        ("guest-suspend-ram", "mem", "[platform] shutdown reboot suspend test_resume\n"),
        // The choice of before is made again.
        ("guest-suspend-hybrid", "disk", "platform"),
    ] {
        let guest = sleeper();
        assert!(is_silent(&guest.kit(), command, "{}"));
        assert_eq!((guest.read("sys/power/state").as_str(), guest.read("sys/power/disk").as_str()), (state, disk));
    }
}

#[test]
fn what_the_kernel_cannot_do_is_not_tried() {
    let guest = Guest::new();
    guest.systemd("", 0);
    let kit = guest.kit();
    for command in MODES {
        assert_eq!(error(&kit, command, "{}"), UNSUPPORTED);
    }
    guest.file("sys/power/state", "freeze mem\n");
    assert!(is_silent(&kit, "guest-suspend-ram", "{}"));
    assert_eq!(error(&kit, "guest-suspend-disk", "{}"), UNSUPPORTED);
    guest.file("sys/power/state", "freeze disk\n");
    guest.file("sys/power/disk", "[platform] shutdown\n");
    assert_eq!(error(&kit, "guest-suspend-ram", "{}"), UNSUPPORTED);
    assert_eq!(error(&kit, "guest-suspend-hybrid", "{}"), UNSUPPORTED);
    assert!(is_silent(&kit, "guest-suspend-disk", "{}"));
    guest.file("sys/power/disk", "platform [suspend]\n");
    assert!(is_silent(&kit, "guest-suspend-hybrid", "{}"));
    assert_eq!(guest.ran().len(), 3);
}

#[test]
fn a_refusal_is_the_answer_whoever_else_could_be_asked() {
    let guest = sleeper();
    guest.program("pm-hibernate", "", 0).program("pm-suspend", "", 0).program("pm-suspend-hybrid", "", 0);
    let kit = guest.kit();
    for words in [
        "Call to Hibernate failed: Not enough suitable swap space for hibernation available on compatible block devices \
         and file systems",
        "Failed to start hibernate.target: Unit hibernate.target is masked.",
        "Operation inhibited by \"NetworkManager\" (PID 321, user root), reason is \"busy\"",
    ] {
        guest.systemd(words, 1);
        for command in MODES {
            assert_eq!(error(&kit, command, "{}"), format!("child process has failed to suspend: {words}"));
        }
    }
    assert!(guest.ran().iter().all(|line| line.starts_with("systemctl ")), "{:?}", guest.ran());
    assert_eq!(guest.read("sys/power/state"), "freeze mem disk\n");

    let guest = sleeper();
    guest.program("pm-suspend", "", 1);
    let kit = guest.kit();
    assert_eq!(error(&kit, "guest-suspend-ram", "{}"), "child process has failed to suspend");
    assert_eq!(guest.read("sys/power/state"), "freeze mem disk\n");
}

#[test]
fn a_kernel_that_refuses_is_quoted() {
    let guest = sleeper();
    let kit = guest.kit();
    let _state = guest.unwritable("sys/power/state", "freeze mem disk\n");
    for command in MODES {
        assert_eq!(error(&kit, command, "{}"), "failed to suspend: /sys/power/state: Operation not permitted");
    }
    // The choice of before is made again after a failure too.
    assert_eq!(guest.read("sys/power/disk"), "platform");
    let _disk = guest.unwritable("sys/power/disk", "[platform] suspend\n");
    let hybrid = "failed to suspend: /sys/power/disk: Operation not permitted";
    assert_eq!(error(&kit, "guest-suspend-hybrid", "{}"), hybrid);
}

#[test]
fn arguments_are_refused_and_success_stays_silent_in_the_old_protocol() {
    let guest = sleeper();
    guest.systemd("", 0);
    let kit = guest.kit_with(json!({}), json!({"compat": "0.15"}));
    for command in MODES {
        assert_eq!(error(&kit, command, r#"{"x":1}"#), "Parameter 'x' is unexpected");
        assert!(is_silent(&kit, command, "{}"));
    }
    assert_eq!(guest.ran().len(), 3);
    let log = logged(&kit, LogLevel::Info);
    assert!(log.contains(&"suspend (hybrid): systemctl has accepted it".to_owned()), "{log:?}");
}

//! Plugins that must be refused, beside good ones: each is named in one line, and the good ones answer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use guestd_daemon_tests::{Daemon, fixture, patched, vendor_plugin, vendor_plugin_by};
use serde_json::json;

const GREET: &str = "__com.example_greet";

/// The line of the log that names a file; there must be one and no more.
fn line_about<'l>(log: &'l str, file: &str) -> &'l str {
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("{file} "))).collect();
    assert_eq!(lines.len(), 1, "lines about {file}: {lines:#?}\nin\n{log}");
    lines[0]
}

#[test]
fn files_that_are_no_usable_plugin_are_named_at_the_start_and_never_mapped() {
    let good = vendor_plugin();
    let scratch = tempfile::tempdir().unwrap();
    let bytes = fs::read(&good).unwrap();
    let daemon = Daemon::new().plugin(&good, "m-good.so");
    let write = |name: &str, bytes: &[u8], mode: u32| {
        let path = daemon.path("plugins").join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut machine = bytes.clone();
    machine[18] ^= 0xFF;
    let patch =
        |old: &str, new: &str| fs::read(patched(&good, scratch.path(), old.as_bytes(), new.as_bytes())).unwrap();
    write("a-text.so", b"this is no library, whatever its name says, and it is long enough", 0o644);
    write("b-cut.so", &bytes[..bytes.len() / 2], 0o644);
    write("c-cut-in-header.so", &bytes[..50], 0o644);
    write("d-machine.so", &machine, 0o644);
    write("e-major.so", &patch("abi 1.0\nname", "abi 2.0\nname"), 0o644);
    write("f-writable.so", &bytes, 0o666);
    write("g-no-manifest.so", &fs::read("/proc/self/exe").unwrap(), 0o644);
    write("h-twice.so", &patch("name greeter\n", "name greeter2"), 0o644);
    write("n-again.so", &bytes, 0o644);
    write("p-guest.so", &patch("command __com.example_greet 5", "command guest-my-own-greet- 5"), 0o644);
    write("q-name.so", &patch("command __com.example_greet 5", "command com.example-greetin 5"), 0o644);
    symlink(daemon.path("plugins/m-good.so"), daemon.path("plugins/r-link.so")).unwrap();
    fs::hard_link(daemon.path("plugins/m-good.so"), daemon.path("plugins/s-hard-link.so")).unwrap();
    if nix::unistd::geteuid().is_root() {
        write("t-owner.so", &bytes, 0o644);
        nix::unistd::chown(&daemon.path("plugins/t-owner.so"), Some(65534.into()), None).unwrap();
    }
    let daemon = daemon.start();
    let mut client = daemon.client();
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    assert_eq!(client.call(GREET, json!({"name": "Ann"})), json!({"lines": ["Hello, Ann"]}));
    let log = daemon.wait_for_log("s-hard-link.so");
    for (file, reason) in [
        ("a-text.so", "is not an ELF file"),
        ("b-cut.so", "is cut off"),
        ("c-cut-in-header.so", "is cut off"),
        ("d-machine.so", "is built for another machine"),
        ("e-major.so", "is built for boundary 2.0, and this daemon has 1.0"),
        ("f-writable.so", "can be written by others (mode 0666)"),
        ("g-no-manifest.so", "is no shared library"),
        ("h-twice.so", "is no plugin"),
        ("n-again.so", "is a second set \"greeter\""),
        ("p-guest.so", "is a second set"),
        ("q-name.so", "is a second set"),
        ("r-link.so", "is a symbolic link"),
        ("s-hard-link.so", "is the same file as one before it"),
    ] {
        if file == "g-no-manifest.so" {
            let line = line_about(&log, file);
            assert!(line.contains(reason) || line.contains("has no manifest"), "{line}");
            continue;
        }
        let line = line_about(&log, file);
        assert!(line.contains(reason), "{line}");
    }
    if nix::unistd::geteuid().is_root() {
        assert!(line_about(&log, "t-owner.so").contains("is owned by user 65534"));
    }
    for file in ["b-cut", "d-machine", "e-major", "f-writable", "n-again", "r-link"] {
        assert!(!daemon.has_mapped(&format!("/{file}")), "{file} is mapped");
    }
    assert!(daemon.has_mapped("m-good.so"));
}

/// A library that is all notes: as many segments as the format knows, each of them the same megabyte.
#[test]
fn a_flood_of_notes_does_not_hold_up_the_start() {
    const NOTES: usize = 1 << 20;
    let header = fs::read("/proc/self/exe").unwrap()[..64].to_vec();
    let crafted = |segments: u16| {
        let mut bytes = header.clone();
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        // e_type, e_phoff, e_shoff, e_phnum, e_shentsize and e_shnum in elf(5).
        put(16, &3_u16.to_ne_bytes());
        put(32, &64_u64.to_ne_bytes());
        put(40, &0_u64.to_ne_bytes());
        put(56, &segments.to_ne_bytes());
        put(58, &[0; 4]);
        let start = 64 + u64::from(segments) * 56;
        // p_type and p_flags, then offset, addresses, sizes, alignment.
        let words = [start, 0, 0, NOTES as u64, NOTES as u64, 4].map(u64::to_ne_bytes).concat();
        let segment = [4_u32.to_ne_bytes().as_slice(), &4_u32.to_ne_bytes(), &words].concat();
        bytes.extend(segment.repeat(segments.into()));
        bytes.extend(vec![0; NOTES]);
        bytes
    };
    let daemon = Daemon::new();
    for (name, segments) in [("all.so", u16::MAX), ("most.so", 256)] {
        fs::write(daemon.path("plugins").join(name), crafted(segments)).unwrap();
        fs::set_permissions(daemon.path("plugins").join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let daemon = daemon.start();
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
    let log = daemon.wait_for_log("most.so");
    assert!(line_about(&log, "all.so").ends_with("has 65535 segments, which no linker makes"), "{log}");
    assert!(line_about(&log, "most.so").ends_with("is no guestd plugin (it has no manifest)"), "{log}");
}

#[test]
fn names_that_a_vendor_may_not_give_are_refused_unless_the_configuration_says_override() {
    let good = vendor_plugin();
    let scratch = tempfile::tempdir().unwrap();
    let guest = patched(&good, scratch.path(), b"command __com.example_greet 5", b"command guest-my-own-greet- 5");
    let daemon = Daemon::new().plugin(&guest, "guest.so").start();
    let line = daemon.wait_for_log("guest.so");
    assert!(line_about(&line, "guest.so").contains("which is not its own to give"), "{line}");
    let reply = daemon.client().ask("guest-my-own-greet-", json!({}));
    assert_eq!(reply["error"]["class"], "CommandNotFound");

    let odd = patched(&good, scratch.path(), b"command __com.example_greet 5", b"command com.example-greetin 5");
    let daemon = Daemon::new().plugin(&odd, "odd.so").start();
    assert!(daemon.wait_for_log("odd.so").contains("a vendor's are spelt __com.example_name"));

    let daemon = Daemon::new().plugin(&guest, "guest.so").config("[plugins]\noverride = [\"greeter\"]").start();
    let mut client = daemon.client();
    let info = client.call("guest-info", json!({}));
    let listed =
        info["supported_commands"].as_array().unwrap().iter().any(|entry| entry["name"] == "guest-my-own-greet-");
    assert!(listed, "{info}");
    // The name in the code is still the old one, which opening finds.
    let error = client.error("guest-my-own-greet-", json!({}));
    assert!(error.contains("has a manifest that does not fit its code"), "{error}");
}

#[test]
fn two_sets_that_claim_one_command_are_both_named() {
    let good = vendor_plugin();
    let scratch = tempfile::tempdir().unwrap();
    let other = patched(&good, scratch.path(), b"name greeter\n", b"name greeted\n");
    let daemon = Daemon::new().plugin(&good, "1.so").plugin(&other, "2.so").start();
    let log = daemon.wait_for_log("2.so");
    let line = line_about(&log, "2.so");
    assert!(line.contains(GREET) && line.contains("1.so has claimed"), "{line}");
    assert_eq!(daemon.client().call(GREET, json!({"name": "Ann"})), json!({"lines": ["Hello, Ann"]}));
}

/// What is wrong with these shows only when they are opened: at the first call, and by `guestd check`.
fn refused_when_opened(library: &Path, command: &str, reason: &str) {
    let daemon = Daemon::new().plugin(library, "bad.so").start();
    let mut client = daemon.client();
    let error = client.error(command, json!({}));
    assert!(error.contains(reason), "{error}");
    assert_eq!(client.error(command, json!({})), error, "it is not tried again");
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    let info = client.call("guest-info", json!({}));
    let entry = json!({"enabled": false, "name": command, "success-response": true});
    assert!(info["supported_commands"].as_array().unwrap().contains(&entry), "{info}");
    let log = daemon.wait_for_log("bad.so");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("error: ") && line.contains("bad.so")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let output = daemon.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("problem: ") && said.contains("bad.so") && said.contains(reason), "{said}");
}

#[test]
fn a_plugin_that_cannot_unwind_is_refused() {
    refused_when_opened(&fixture("no-unwind"), "__com.example_abort", "was built with panic = \"abort\"");
}

#[test]
fn a_library_with_two_sets_is_refused() {
    refused_when_opened(&fixture("two-sets"), "__com.example_one", "could not be initialized");
}

#[test]
fn a_manifest_that_does_not_fit_the_code_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let library = patched(&vendor_plugin(), scratch.path(), b"_greet 5 FREEZE_SAFE", b"_greet 9 FREEZE_SAFE");
    refused_when_opened(&library, GREET, "has a manifest that does not fit its code: a command");
}

#[test]
fn another_layout_is_refused_in_one_line() {
    let changes = [
        ("abi/src/module.rs", "pub flags: u32,", "pub flags: u64,"),
        ("sdk/src/export.rs", "flags: entry.flags, deadline_ms", "flags: entry.flags.into(), deadline_ms"),
        ("sdk/src/testkit/mod.rs", "entry.flags() & guestd_abi", "entry.flags() as u32 & guestd_abi"),
    ];
    let library = vendor_plugin_by("layout", Path::new("cargo"), &changes);
    refused_when_opened(&library, GREET, "has another layout than boundary 1.0");
}

#[test]
fn a_start_that_fails_or_panics_is_an_error_of_the_command() {
    let trouble = fixture("trouble");
    for (start, expected) in [
        ("error", "asked to fail at the start"),
        ("panic", "start panicked: asked to panic at the start"),
        ("nonsense = 1\nstart", "unknown field `nonsense`"),
    ] {
        let config = match start.split_once('\n') {
            Some((line, _)) => format!("[plugins.trouble]\n{line}"),
            None => format!("[plugins.trouble]\nstart = \"{start}\""),
        };
        let daemon = Daemon::new().plugin(&trouble, "trouble.so").config(&config).start();
        let mut client = daemon.client();
        let error = client.error("__com.example_fine", json!({}));
        assert!(error.contains("The command set 'trouble' cannot be used") && error.contains(expected), "{error}");
        assert_eq!(client.call("guest-ping", json!({})), json!({}));
        daemon.wait_for_log(expected);
    }
}

#[test]
fn a_set_that_is_disabled_is_never_mapped() {
    let daemon =
        Daemon::new().plugin(&vendor_plugin(), "greeter.so").config("[plugins]\ndisable = [\"greeter\", \"power\"]");
    let daemon = daemon.start();
    let mut client = daemon.client();
    for command in [GREET, "guest-shutdown"] {
        let reply = client.ask(command, json!({}));
        assert_eq!(reply["error"]["desc"], format!("The command {command} has not been found"));
    }
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    assert!(daemon.has_mapped("core.so"));
    assert!(!daemon.has_mapped("greeter.so") && !daemon.has_mapped("power.so"));
    assert!(!daemon.has_mapped("file.so"), "a set that nobody has called is mapped");
}

//! The text of a plugin's manifest.

use std::collections::BTreeSet;

use guestd_abi::manifest::Manifest;

use crate::{Rng, Target};

/// The reader of manifests.
pub const TARGET: Target = Target { name: "manifest", check, make };

/// Lines of a manifest; some are strange.
const LINES: [&str; 22] = [
    "capability CAP_SYS_ADMIN",
    "command __com.example_a 10 FREEZE_SAFE INSTANT",
    "command __com.example_b 0",
    "command c 99999999",
    "command d",
    "command  e  1  X ",
    "command f 1 OVERTAKES",
    "command g 1 INSTANT OFTEN_INSTANT",
    "commands-from table",
    "start-if watch",
    "mood good",
    "",
    " ",
    "abi 2.7",
    "abi 1",
    "name x",
    "name Hello",
    "vendor ",
    "capability",
    "summary \u{1b}[31m",
    "command \u{202e}x 1",
    "command h 4294967",
];

fn make(rng: &mut Rng) -> Vec<u8> {
    text(rng).into_bytes()
}

/// A manifest that is good, as a rule.
pub(crate) fn text(rng: &mut Rng) -> String {
    let mut lines = vec!["abi 1.0", "name hello", "version 0.1.0", "vendor Example Ltd", "summary Says hello"];
    for _ in 0..rng.usize(0..6) {
        lines.push(rng.choice(LINES).unwrap());
    }
    rng.shuffle(&mut lines);
    let mut text = format!("guestd-plugin 1\n{}\n", lines.join("\n"));
    if rng.u8(0..20) == 0 {
        text.extend((0..rng.usize(0..3000)).map(|number| format!("command n{number} 1\n")));
    }
    text
}

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => check_good(&manifest, text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What a manifest that was read promises.
pub(crate) fn check_good(manifest: &Manifest, text: &str) {
    assert!((1..=32).contains(&manifest.name.len()));
    assert!(manifest.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    assert!(!manifest.version.is_empty() && !manifest.vendor.is_empty());
    let names: BTreeSet<_> = manifest.commands.iter().map(|command| &command.name).collect();
    assert_eq!(names.len(), manifest.commands.len(), "a command is listed twice");
    let lines = text.lines().filter(|line| line.starts_with("command ")).count();
    assert_eq!(lines, manifest.commands.len());
    assert!(manifest.commands.iter().all(|command| command.deadline_ms.is_multiple_of(1000)));
}

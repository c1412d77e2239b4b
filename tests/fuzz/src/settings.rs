//! The configuration: `guestd.toml` and `qemu-ga.conf`.

use guestd::config;

use crate::{Rng, Target};

/// The reader of `guestd.toml`.
pub const TOML: Target = Target { name: "toml", check: |bytes| check("x.toml", bytes), make: make_toml };
/// The reader of `qemu-ga.conf`.
pub const KEY_FILE: Target = Target { name: "key-file", check: |bytes| check("x.conf", bytes), make: make_key_file };

/// Headers and keys that the daemon knows, and some that it does not.
const HEADERS: [&str; 10] = [
    "[[channel]]",
    "[plugins]",
    "[plugins.fsfreeze]",
    "[commands]",
    "[log]",
    "[protocol]",
    "[daemon]",
    "[comands]",
    "[commands.deadline]",
    "[plugins.script.commands.\"__com.example_a\"]",
];
const KEYS: [&str; 16] = [
    "method",
    "path",
    "directories",
    "enable",
    "disable",
    "override",
    "allow",
    "block",
    "deadline",
    "level",
    "target",
    "compat",
    "reported-version",
    "state-dir",
    "lease",
    "alow",
];
const VALUES: [&str; 16] = [
    "\"virtio-serial\"",
    "\"unix-listen\"",
    "\"/run/x\"",
    "[\"a\", \"b\"]",
    "[]",
    "{ guest-ping = 5 }",
    "\"debug\"",
    "\"0.15\"",
    "3",
    "-1",
    "4294967296",
    "1e400",
    "true",
    "1979-05-27T07:32:00Z",
    "'''\na\u{1b}'''",
    "{ a = { b = { c = [ [ [] ] ] } } }",
];

fn make_toml(rng: &mut Rng) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..rng.usize(0..12) {
        if rng.u8(0..3) == 0 {
            text.push_str(rng.choice(HEADERS).unwrap());
        } else {
            text.push_str(&format!("{} = {}", rng.choice(KEYS).unwrap(), rng.choice(VALUES).unwrap()));
        }
        text.push('\n');
    }
    match rng.u8(0..40) {
        0 => text.push_str(&format!("[plugins.x]\na = {}1{}\n", "[".repeat(500), "]".repeat(500))),
        1 => text.push_str(&format!("[plugins.x]\n{} = 1\n", vec!["a"; rng.usize(1..500)].join("."))),
        2 => text.extend((0..rng.usize(1..500)).map(|number| format!("[plugins.s{number}]\nk = {number}\n"))),
        3 => text.push_str(&"x".repeat(rng.usize(1..50_000))),
        _ => {}
    }
    text.into_bytes()
}

fn make_key_file(rng: &mut Rng) -> Vec<u8> {
    const LINES: [&str; 20] = [
        "[general]",
        "[general] ",
        "[other]",
        "[general",
        "# comment",
        "",
        "daemon=true",
        "daemonize = 0",
        "verbose=1",
        "verbose=maybe",
        "method=unix-listen",
        "method=vsock",
        "path=/run/a\\sb",
        "path=",
        "block-rpcs=guest-exec;guest-a , b",
        "allow-rpcs=\\",
        "blacklist=a",
        "fsfreeze-hook=/x",
        "statedir=/\\n\\t\\r\\x",
        "=",
    ];
    let mut text = String::from("[general]\n");
    for _ in 0..rng.usize(0..10) {
        text.push_str(rng.choice(LINES).unwrap());
        text.push_str(if rng.u8(0..10) == 0 { "\r\n" } else { "\n" });
    }
    if rng.u8(0..30) == 0 {
        text.push_str(&"k".repeat(rng.usize(1..50_000)));
        text.push_str("=1");
    }
    text.into_bytes()
}

fn check(name: &str, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::from_text(name, text) {
        Ok(settings) => {
            // Whatever is in the file was said once, so that no list is longer than it.
            let named = settings.commands.block.iter().chain(&settings.commands.allow);
            assert!(named.map(|entry| entry.name.len()).sum::<usize>() <= text.len());
            assert!(settings.plugins.sections.keys().map(String::len).sum::<usize>() <= text.len());
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with(name), "an error that does not name its file: {said}");
            assert!(!said.contains(['\n', '\r', '\u{1b}']), "an error that is more than a line: {said:?}");
        }
    }
}

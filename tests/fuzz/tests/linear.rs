//! Work grows with the size of what is read, and not faster: counted in steps, never in time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use guestd::registry::read_manifest;
use guestd::wire::Envelope;
use guestd_fuzz::library::{Library, file_of, manifest_note, note};
use guestd_fuzz::stream::frames;
use guestd_sdk::{args, steps};
use serde::Deserialize;
use serde_json::Value;

/// The most that an input of eight times the size may cost, and what a small one may cost beside its size.
const GROWTH: u64 = 9;
const FIXED: u64 = 5000;
/// The most steps a byte: a type that holds itself looks at a value once for each of the 16 containers that it may lie in.
const PER_BYTE: u64 = 20;

/// The steps that this takes.
fn steps_of(work: impl FnOnce()) -> u64 {
    steps::reset();
    work();
    steps::taken()
}

/// Makes a text of so many pieces.
type Make = fn(usize) -> String;

/// Texts of `n` pieces, in all the shapes that made readers slow.
fn shapes() -> Vec<(&'static str, Make)> {
    vec![
        ("members", |n| object((0..n).map(|number| format!("\"k{number}\":1")))),
        ("one member again and again", |n| object((0..n).map(|_| "\"k\":1".to_owned()))),
        ("escaped keys", |n| object((0..n).map(|number| format!("\"\\u006b{number}\":1")))),
        ("known members with others", |n| object((0..n).map(|number| format!("\"handle\":1,\"k{number}\":{{}}")))),
        ("arrays in each other", |n| format!("{{\"any\":{}{}}}", "[".repeat(n), "]".repeat(n))),
        ("objects in each other", |n| format!("{{\"any\":{}1{}}}", "{\"a\":".repeat(n), "}".repeat(n))),
        ("a long string", |n| format!("{{\"text\":\"{}\"}}", "x".repeat(n * 8))),
        ("a string of escapes", |n| format!("{{\"text\":\"{}\"}}", "\\u0041".repeat(n))),
        ("a string of backslashes", |n| format!("{{\"text\":\"{}\"}}", "\\\\".repeat(n))),
        ("an array of numbers", |n| format!("{{\"any\":[{}1]}}", "1,".repeat(n))),
        ("an array of objects", |n| format!("{{\"cpus\":[{}{{}}]}}", "{\"logical-id\":1,\"online\":true},".repeat(n))),
        ("a long number", |n| format!("{{\"handle\":{}}}", "1".repeat(n * 4))),
        ("white space", |n| format!("{{{}\"handle\"{}:1}}", " ".repeat(n * 4), "\n".repeat(n * 4))),
        ("half a message", |n| format!("{{\"text\":\"{}", "x\\n".repeat(n))),
    ]
}

fn object(members: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Asserts that the work for a text of `n` pieces is linear in its bytes.
fn assert_linear(name: &str, make: impl Fn(usize) -> String, work: impl Fn(&str)) {
    let small = make(2000);
    let large = make(16_000);
    let (few, many) = (steps_of(|| work(&small)), steps_of(|| work(&large)));
    assert!(many <= few * GROWTH + FIXED, "{name}: {few} steps for {} bytes, {many} for {}", small.len(), large.len());
    assert!(many <= PER_BYTE * large.len() as u64 + FIXED, "{name}: {many} steps for {} bytes", large.len());
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Typed<'a> {
    handle: Option<i64>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    cpus: Option<Vec<BTreeMap<String, Value>>>,
}

#[test]
fn arguments_cost_what_they_are_long() {
    for (name, make) in shapes() {
        assert_linear(name, make, |text| drop(args::parse::<Typed<'_>>(text)));
        assert_linear(name, make, |text| drop(args::parse::<BTreeMap<String, Value>>(text)));
        assert_linear(name, make, |text| drop(args::members(text.as_bytes())));
    }
    let counted = steps_of(|| drop(args::parse::<BTreeMap<String, Value>>(&shapes()[9].1(1000))));
    assert!(counted >= 2000, "nothing is counted: {counted}");
}

/// What a stream may hold besides requests.
fn noises() -> Vec<(&'static str, Make)> {
    vec![
        ("closing braces", |n| "}".repeat(n)),
        ("opening braces", |n| "{".repeat(n)),
        ("empty objects", |n| "{}".repeat(n)),
        ("stray bytes", |n| "@".repeat(n)),
        ("stray bytes and brackets", |n| "@]".repeat(n)),
        ("quotes", |n| "\"".repeat(n)),
        ("broken strings", |n| "\"a\nb\"".repeat(n)),
        ("numbers", |n| "1 ".repeat(n)),
        ("a number", |n| "1".repeat(n)),
        ("a keyword", |n| "a".repeat(n)),
        ("line breaks", |n| "\n".repeat(n)),
        ("single quotes", |n| format!("{{'execute':'{}'}}", "\\'\"".repeat(n))),
        ("a name", |n| format!("{{\"execute\":\"{}\"}}", "\\n".repeat(n))),
        ("an id", |n| format!("{{\"execute\":\"a\",\"id\":[{}1]}}", "1,\n".repeat(n))),
        ("pings", |n| r#"{"execute":"guest-ping"}"#.repeat(n)),
        ("other members", |n| format!("{{{}}}", (0..n).map(|k| format!("\"k{k}\":1")).collect::<Vec<_>>().join(","))),
        ("text that is not ASCII", |n| format!("{{\"execute\":\"{}\"}}", "é".repeat(n))),
    ]
}

/// Everything that the daemon does with a stream before a command is called.
fn read_stream<'b>(pieces: impl Iterator<Item = &'b [u8]>) {
    for message in frames(pieces).into_iter().flatten() {
        drop(Envelope::read(message));
    }
}

#[test]
fn a_stream_costs_what_it_is_long_however_it_comes() {
    let requests = shapes()
        .into_iter()
        .map(|(name, make)| (name, Box::new(move |n| request(&make(n))) as Box<dyn Fn(usize) -> String>));
    let noises = noises().into_iter().map(|(name, make)| (name, Box::new(make) as Box<dyn Fn(usize) -> String>));
    for (name, make) in requests.chain(noises) {
        for size in [1, 7, 1000, usize::MAX] {
            assert_linear(&format!("{name}, {size} bytes a read"), &make, |text| {
                read_stream(text.as_bytes().chunks(size))
            });
        }
    }
    let counted = steps_of(|| read_stream([PING.repeat(100).as_bytes()].into_iter()));
    assert!(counted >= 2000, "nothing is counted: {counted}");
}

const PING: &str = r#"{"execute":"guest-ping"}"#;

/// A request with these arguments.
fn request(arguments: &str) -> String {
    format!("{{\"execute\":\"guest-sync\",\"arguments\":{arguments}}}")
}

/// The bytes that this thread has read, and its reads (proc_pid_io(5)).
fn reads() -> (u64, u64) {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
    (number("rchar:"), number("syscr:"))
}

/// The bytes and reads that a library's manifest takes.
fn reads_of(library: &Library) -> (u64, u64, usize) {
    let bytes = library.bytes();
    let file = file_of(&bytes);
    let before = reads();
    let _ = read_manifest(file, bytes.len() as u64);
    let after = reads();
    (after.0 - before.0, after.1 - before.1, bytes.len())
}

#[test]
fn a_library_costs_no_more_than_a_budget_whatever_its_notes() {
    let manifest = manifest_note("guestd-plugin 1\nabi 1.0\nname hello\nversion 1\nvendor X\n");
    let other = note(b"GNU\0", 3, &[0; 20]);
    // One large segment of notes, shared by all of many; many small ones; many notes in one.
    let large = other.repeat((1 << 20) / other.len());
    let mut many = vec![other.clone(); 60_000];
    many.push(manifest.clone());
    for (name, segments) in [
        ("many segments", many),
        ("many large segments", vec![large.clone(); 20]),
        ("many notes", vec![large, manifest]),
    ] {
        let (bytes, calls, length) = reads_of(&Library { segments, sections: 1 });
        assert!(bytes <= length as u64 + 10_000, "{name}: {bytes} bytes of {length} are read");
        assert!(calls <= 70_000, "{name}: {calls} reads");
    }
    // The same megabyte of notes, again and again: with 65,535 segments the file has 4.7 MB.
    for count in [200, 65_535] {
        let overlapping = overlapping(count);
        let file = file_of(&overlapping);
        let before = reads();
        let _ = read_manifest(file, overlapping.len() as u64);
        let read = reads().0 - before.0;
        assert!(read <= 2 * overlapping.len() as u64, "{read} bytes are read of a file of {}", overlapping.len());
    }
}

/// A library of so many segments, all of which are the last megabyte of the file.
fn overlapping(count: usize) -> Vec<u8> {
    const NOTES: usize = 1 << 20;
    let other = note(b"GNU\0", 3, &[0; 20]);
    let mut segments = vec![Vec::new(); count - 1];
    segments.push(other.repeat(NOTES / other.len()));
    let length = segments[count - 1].len() as u64;
    let mut file = Library { segments, sections: 0 }.bytes();
    let at = file.len() as u64 - length;
    for number in 0..count {
        let segment = 64 + 56 * number;
        file[segment + 8..segment + 16].copy_from_slice(&at.to_ne_bytes());
        file[segment + 32..segment + 40].copy_from_slice(&length.to_ne_bytes());
    }
    file
}

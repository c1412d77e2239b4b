//! `guest-file-read`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use common::{Bench, bytes_of};
use serde_json::json;

const MAX: usize = 48 * 1024 * 1024;

/// Bytes with no period that a chunk's length could hide.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_read_without_a_count_gives_4096_bytes() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("big", pattern(10_000)), "r");
    let mut all = Vec::new();
    for (count, eof) in [(4096, false), (4096, false), (1808, true), (0, true)] {
        let (bytes, ended) = bytes_of(&bench.ok("guest-file-read", json!({"handle": handle})));
        assert_eq!((bytes.len(), ended), (count, eof));
        all.extend(bytes);
    }
    assert!(all == pattern(10_000));
}

#[test]
fn a_read_that_goes_exactly_to_the_end_has_not_met_it() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("f", "hello world\n"), "r");
    for (count, text, eof) in
        [(5, "hello", false), (1, " ", false), (6, "world\n", false), (6, "", true), (0, "", false)]
    {
        assert_eq!(bench.read_text(handle, count), (text.to_owned(), eof));
    }
    let again = bench.open(&bench.path("f"), "r");
    assert_eq!(bench.read_text(again, 13), ("hello world\n".to_owned(), true));
}

#[test]
fn bytes_come_whole_around_every_boundary() {
    let bench = Bench::new();
    let chunk = 48 * 1024;
    for length in [0, 1, 2, 3, 4095, 4096, chunk - 1, chunk, chunk + 1, 2 * chunk + 2, 5 << 20] {
        let expected = pattern(length);
        let handle = bench.open(&bench.file("f", &expected), "r");
        assert!(bench.read(handle, length) == (expected.clone(), false), "{length}");
        bench.seek(handle, 0, "set");
        assert!(bench.read(handle, length + 1) == (expected, true), "{length} and one more");
        bench.close(handle);
    }
}

#[test]
fn the_count_is_limited() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("f", "hello world\n"), "r");
    for count in [-1, i64::MIN, MAX as i64 + 1, i64::MAX] {
        let error = bench.error("guest-file-read", json!({"handle": handle, "count": count}));
        assert_eq!(error, format!("value '{count}' is invalid for argument count"));
    }
    assert_eq!(bench.read_text(handle, MAX), ("hello world\n".to_owned(), true));
}

#[test]
fn a_large_count_costs_no_memory_that_the_file_does_not_fill() {
    let bench = Bench::new();
    for (path, most) in [(bench.file("f", "hello"), 100), ("/proc/self/status".to_owned(), 70_000)] {
        let handle = bench.open(&path, "r");
        let reply =
            bench.kit.call_raw("guest-file-read", &json!({"handle": handle, "count": MAX}).to_string(), 0).unwrap();
        assert!(reply.body.capacity() < most, "{path}: {}", reply.body.capacity());
    }
    let handle = bench.open(&bench.file("f", pattern(6 << 20)), "r");
    let reply = bench.kit.call_raw("guest-file-read", &json!({"handle": handle, "count": MAX}).to_string(), 0).unwrap();
    assert_eq!(reply.body.len().next_multiple_of(1 << 10), reply.body.capacity().next_multiple_of(1 << 10));
}

#[test]
fn a_full_read_of_48_mebibytes_works() {
    let bench = Bench::new();
    let handle = bench.open("/dev/zero", "r");
    let reply = bench.kit.call_raw("guest-file-read", &json!({"handle": handle, "count": MAX}).to_string(), 0).unwrap();
    let data = reply.body.strip_prefix(b"{\"buf-b64\": \"").unwrap();
    let data = data.strip_suffix(format!("\", \"count\": {MAX}, \"eof\": false}}").as_bytes()).unwrap();
    assert!(data.len() == MAX / 3 * 4 && data.iter().all(|byte| *byte == b'A'));
}

#[test]
fn what_is_added_after_the_end_is_read_too() {
    let bench = Bench::new();
    for first in ["", "hello"] {
        let path = bench.file("f", first);
        let handle = bench.open(&path, "r");
        assert_eq!(bench.read_text(handle, 4096), (first.to_owned(), true));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        assert_eq!(bench.read_text(handle, 3), ("mor".to_owned(), false));
        assert_eq!(bench.read_text(handle, 3), ("e".to_owned(), true));
        assert_eq!(bench.read_text(handle, 3), (String::new(), true));
    }
}

#[test]
fn a_deleted_file_is_still_read() {
    let bench = Bench::new();
    let path = bench.file("f", "hello");
    let handle = bench.open(&path, "r");
    fs::remove_file(path).unwrap();
    assert_eq!(bench.read_text(handle, 99), ("hello".to_owned(), true));
}

#[test]
fn a_directory_and_a_file_open_for_writing_only_cannot_be_read() {
    let bench = Bench::new();
    let directory = bench.open(bench.dir.path().to_str().unwrap(), "r");
    let output = bench.open(&bench.path("o"), "w");
    for (handle, reason) in [(directory, "Is a directory"), (output, "Bad file descriptor")] {
        assert_eq!(bench.read_text(handle, 0), (String::new(), false));
        for count in [1, 4096, MAX] {
            let error = bench.error("guest-file-read", json!({"handle": handle, "count": count}));
            assert_eq!(error, format!("failed to read file: {reason}"));
        }
    }
}

#[test]
fn files_under_proc_are_read_whole_and_in_pieces() {
    let bench = Bench::new();
    // The kernel gives a number under /proc/sys in one read only, whatever is left of it.
    for path in ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/ostype", "/proc/version"] {
        let expected = fs::read_to_string(path).unwrap();
        let handle = bench.open(path, "r");
        assert_eq!(bench.read_text(handle, 99_999), (expected.clone(), true), "{path}");
        assert_eq!(bench.read_text(handle, 4096), (String::new(), true), "{path}");
        bench.seek(handle, 0, "set");
        for (index, byte) in expected.bytes().enumerate() {
            assert_eq!(bench.read(handle, 1), (vec![byte], false), "{path} at {index}");
            assert_eq!(bench.seek(handle, 0, "cur"), index as u64 + 1, "{path}");
        }
        assert_eq!(bench.read_text(handle, 1), (String::new(), true), "{path}");
    }
}

#[test]
fn a_device_is_read_in_pieces_too() {
    let bench = Bench::new();
    let handle = bench.open("/dev/zero", "r");
    for count in [1, 4095, 4096, 5000, 100_000] {
        assert!(bench.read(handle, count) == (vec![0; count], false), "{count}");
    }
    let null = bench.open("/dev/null", "r");
    assert_eq!(bench.read_text(null, 10), (String::new(), true));
}

#[test]
fn a_read_that_is_too_late_leaves_the_position() {
    let bench = Bench::new();
    let path = bench.path("sparse");
    File::create(&path).unwrap().set_len(MAX as u64).unwrap();
    let handle = bench.open(&path, "r");
    bench.seek(handle, 5, "set");
    // 48 MiB in one millisecond would be 48 GB/s.
    let answer = bench.raw("guest-file-read", &json!({"handle": handle, "count": MAX}).to_string(), 1);
    assert_eq!(answer.unwrap_err(), "the call took longer than its deadline");
    assert_eq!(bench.seek(handle, 0, "cur"), 5);
}

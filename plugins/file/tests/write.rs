//! `guest-file-write`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;

use common::{Bench, content};
use serde_json::json;

const INVALID: &str = "Base64 data contains invalid characters";

#[test]
fn what_is_written_is_in_the_file_at_once() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    assert_eq!(bench.write(handle, "hello"), 5);
    assert_eq!(content(&path), "hello");
    assert_eq!(bench.write(handle, ""), 0);
    assert_eq!(bench.write(handle, " world"), 6);
    assert_eq!(content(&path), "hello world");
}

#[test]
fn megabytes_arrive_whole() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..5_000_001_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    assert_eq!(bench.write(handle, &bytes), 5_000_001);
    assert!(fs::read(&path).unwrap() == bytes);

    let text = base64_simd::STANDARD.encode_to_string(&bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
    let arguments = format!(r#"{{"handle":{handle},"buf-b64":"{}"}}"#, lines.join("\\n").replace('/', "\\/"));
    assert_eq!(bench.raw("guest-file-write", &arguments, 0).unwrap(), json!({"count": 5_000_001, "eof": false}));
    assert!(fs::read(&path).unwrap() == [bytes.clone(), bytes].concat());
}

#[test]
fn a_count_takes_the_first_bytes() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    let write = |count: i64| json!({"handle": handle, "buf-b64": "aGVsbG8=", "count": count});
    for count in [0, 3, 5] {
        assert_eq!(bench.ok("guest-file-write", write(count)), json!({"count": count, "eof": false}));
    }
    assert_eq!(content(&path), "helhello");
    for count in [6, -1, i64::MIN, i64::MAX] {
        let error = bench.error("guest-file-write", write(count));
        assert_eq!(error, format!("value '{count}' is invalid for argument count"));
    }
    assert_eq!(content(&path), "helhello");
}

#[test]
fn nothing_is_written_of_what_is_not_base64() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    let much = "QUJD".repeat(1_000_000);
    for bad in ["aGVs bG8=", "_-8=", "é", "aGVs\r\nbG8=", "####", "=QUJ", "QQ==QUJD", &format!("{much}Q*==")] {
        assert_eq!(bench.error("guest-file-write", json!({"handle": handle, "buf-b64": bad})), INVALID);
    }
    for short in ["QQ", "QQ=", "QUJDQ", &format!("{much}Q")] {
        let error = bench.error("guest-file-write", json!({"handle": handle, "buf-b64": short}));
        assert_eq!(error, "Base64 data is incomplete");
    }
    // The data is looked at before the count.
    assert_eq!(bench.error("guest-file-write", json!({"handle": handle, "buf-b64": "####", "count": -1})), INVALID);
    assert_eq!(bench.write(handle, "ok"), 2);
    assert_eq!(content(&path), "ok");
}

#[test]
fn newlines_and_loose_bits_are_taken() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    for (text, count) in [("aGVs\nbG8=\n", 5), ("a\nG\nV\ns\nbG8=", 5), ("QR==", 1), ("\n", 0), ("", 0)] {
        let answer = bench.ok("guest-file-write", json!({"handle": handle, "buf-b64": text}));
        assert_eq!(answer, json!({"count": count, "eof": false}), "{text:?}");
    }
    assert_eq!(content(&path), "hellohelloA");
}

#[test]
fn the_text_of_the_arguments_is_read_as_everywhere() {
    let bench = Bench::new();
    let path = bench.path("o");
    let h = bench.open(&path, "w");
    for (arguments, expected) in [
        (format!(r#"{{"handle":{h},"buf-b64":"QUJD"}}"#), Ok(3)),
        (format!(r#"{{"buf-b64" : "QUJD" , "count" : 2 , "handle" : {h} }}"#), Ok(2)),
        (format!(r#" {{ "buf-b64":"\u0051UJD","handle":{h}}} "#), Ok(3)),
        (format!(r#"{{"buf\u002db64":"QUJD","handle":{h}}}"#), Ok(3)),
        (format!(r#"{{"buf-b64":"","handle":{h},"count":0}}"#), Ok(0)),
        (format!(r#"{{"buf-b64":"QUJD","handle":{h},"buf-b64":"QUJD"}}"#), Err("JSON parse error, duplicate key")),
        (format!(r#"{{"buf-b64":"QUJD","handle":{h},"x":"\"}}"}}"#), Err("Parameter 'x' is unexpected")),
        (format!(r#"{{"buf-b64":"QUJD","handle":{h},"count":1.0}}"#), Err(count_type())),
        (format!(r#"{{"buf-b64":"QUJD","handle":{h},"count":null}}"#), Err(count_type())),
        (
            format!(r#"{{"buf-b64":"QUJD","handle":"{h}"}}"#),
            Err("Invalid parameter type for 'handle', expected: integer"),
        ),
        (format!(r#"{{"count":"x","handle":{h}}}"#), Err("Parameter 'buf-b64' is missing")),
        (format!(r#"{{"buf-b64":null,"count":"x","handle":{h}}}"#), Err(buf_type())),
        (format!(r#"{{"buf-b64":["QUJD"],"handle":{h}}}"#), Err(buf_type())),
        (format!(r#"{{"buf-b64":{{"buf-b64":"QUJD"}},"handle":{h}}}"#), Err(buf_type())),
        (r#"{"buf-b64":"QUJD","count":1}"#.to_owned(), Err("Parameter 'handle' is missing")),
        ("{}".to_owned(), Err("Parameter 'handle' is missing")),
        (String::new(), Err("Parameter 'handle' is missing")),
    ] {
        let answer = bench.raw("guest-file-write", &arguments, 0);
        let expected = expected.map(|count| json!({"count": count, "eof": false})).map_err(str::to_owned);
        assert_eq!(answer, expected, "{arguments}");
    }
    assert_eq!(content(&path), "ABCABABCABC");
}

fn count_type() -> &'static str {
    "Invalid parameter type for 'count', expected: integer"
}

fn buf_type() -> &'static str {
    "Invalid parameter type for 'buf-b64', expected: string"
}

#[test]
fn reading_and_writing_share_one_position() {
    let bench = Bench::new();
    let path = bench.file("f", "hello world\n");
    let handle = bench.open(&path, "r+");
    assert_eq!(bench.read_text(handle, 2), ("he".to_owned(), false));
    bench.write(handle, "XX");
    assert_eq!(bench.read_text(handle, 99), ("o world\n".to_owned(), true));
    assert_eq!(content(&path), "heXXo world\n");
}

#[test]
fn a_file_that_was_empty_is_read_and_written_alike() {
    // Such a file is read ahead, since those under /proc look the same.
    let bench = Bench::new();
    let path = bench.path("n");
    let handle = bench.open(&path, "w+");
    bench.write(handle, "hello world\n");
    assert_eq!(bench.seek(handle, 0, 0), 0);
    assert_eq!(bench.read_text(handle, 2), ("he".to_owned(), false));
    bench.write(handle, "XX");
    assert_eq!(bench.read_text(handle, 3), ("o w".to_owned(), false));
    assert_eq!(bench.seek(handle, -1, "cur"), 6);
    assert_eq!(bench.seek(handle, -1, "end"), 11);
    bench.write(handle, "!");
    assert_eq!(content(&path), "heXXo world!");
}

#[test]
fn appending_ignores_the_position() {
    let bench = Bench::new();
    let path = bench.file("f", "hello world\n");
    let handle = bench.open(&path, "a");
    assert_eq!(bench.seek(handle, 0, "set"), 0);
    bench.write(handle, "end");
    assert_eq!(bench.seek(handle, 0, "cur"), 15);
    let reader = bench.open(&path, "a+");
    assert_eq!(bench.read_text(reader, 2), ("he".to_owned(), false));
    bench.write(reader, "A");
    assert_eq!(bench.read_text(reader, 2), (String::new(), true));
    assert_eq!(content(&path), "hello world\nendA");
}

#[test]
fn a_device_takes_or_refuses_at_once() {
    let bench = Bench::new();
    let null = bench.open("/dev/null", "w");
    assert_eq!(bench.write(null, "x"), 1);
    let full = bench.open("/dev/full", "w");
    let error = bench.error("guest-file-write", json!({"handle": full, "buf-b64": "eA=="}));
    assert_eq!(error, "failed to write to file: No space left on device");
    assert_eq!(bench.ok("guest-file-flush", json!({"handle": full})), json!({}));
    bench.close(full);
}

#[test]
fn a_file_open_for_reading_only_takes_nothing() {
    let bench = Bench::new();
    let path = bench.file("f", "hello");
    let handle = bench.open(&path, "r");
    let error = bench.error("guest-file-write", json!({"handle": handle, "buf-b64": "QQ=="}));
    assert_eq!(error, "failed to write to file: Bad file descriptor");
    for none in [json!({"handle": handle, "buf-b64": ""}), json!({"handle": handle, "buf-b64": "QQ==", "count": 0})] {
        assert_eq!(bench.ok("guest-file-write", none), json!({"count": 0, "eof": false}));
    }
    assert_eq!(content(&path), "hello");
}

#[test]
fn a_write_that_is_too_late_writes_nothing_more() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w");
    // To decode 24 MiB in one millisecond would be 24 GB/s.
    let arguments = format!(r#"{{"handle":{handle},"buf-b64":"{}"}}"#, "QUJD".repeat(8 << 20));
    let error = bench.raw("guest-file-write", &arguments, 1).unwrap_err();
    assert_eq!(error, "failed to write to file: timed out");
    assert_eq!((fs::metadata(&path).unwrap().len(), bench.seek(handle, 0, "cur")), (0, 0));
}

#[test]
fn a_write_that_fails_half_way_leaves_the_position() {
    let bench = Bench::new();
    let handle = bench.open(&bench.path("o"), "w");
    // The largest position that the file system has; what lies beyond cannot be written.
    let (mut possible, mut impossible) = (0, i64::MAX);
    while impossible - possible > 1 {
        let middle = possible + (impossible - possible) / 2;
        match bench.kit.call("guest-file-seek", json!({"handle": handle, "offset": middle, "whence": 0})) {
            Ok(_) => possible = middle,
            Err(_) => impossible = middle,
        }
    }
    let position = bench.seek(handle, possible - 5, "set");
    let text = base64_simd::STANDARD.encode_to_string(b"0123456789");
    let error = bench.error("guest-file-write", json!({"handle": handle, "buf-b64": text}));
    let words = ["File too large", "Value too large for defined data type"]
        .map(|text| format!("failed to write to file: {text}"));
    assert!(words.contains(&error), "{error}");
    assert_eq!(bench.seek(handle, 0, "cur"), position);
}

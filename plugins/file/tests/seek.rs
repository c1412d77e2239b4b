//! `guest-file-seek`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Bench, content};
use serde_json::json;

const INVALID: &str = "failed to seek file: Invalid argument";

#[test]
fn names_and_numbers_mean_the_same() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("f", "hello world\n"), "r");
    for (set, cur, end) in [(json!("set"), json!("cur"), json!("end")), (json!(0), json!(1), json!(2))] {
        assert_eq!(bench.seek(handle, 6, set), 6);
        assert_eq!(bench.read_text(handle, 5), ("world".to_owned(), false));
        assert_eq!(bench.seek(handle, -5, cur.clone()), 6);
        assert_eq!(bench.seek(handle, 0, cur), 6);
        assert_eq!(bench.seek(handle, -6, end), 6);
        assert_eq!(bench.read_text(handle, 99), ("world\n".to_owned(), true));
    }
}

#[test]
fn a_position_beyond_the_end_can_be_written_to() {
    let bench = Bench::new();
    let path = bench.path("o");
    let handle = bench.open(&path, "w+");
    assert_eq!(bench.seek(handle, 3, "end"), 3);
    assert_eq!(bench.read_text(handle, 9), (String::new(), true));
    bench.write(handle, "A");
    assert_eq!(content(&path), "\0\0\0A");
}

#[test]
fn a_position_before_the_beginning_is_refused_and_nothing_moves() {
    let bench = Bench::new();
    for path in [&bench.file("f", "hello"), "/proc/sys/kernel/ostype"] {
        let handle = bench.open(path, "r");
        bench.read(handle, 3);
        for (offset, whence) in [
            (-1, "set"),
            (-4, "cur"),
            (-6, "end"),
            (i64::MIN, "set"),
            (i64::MIN, "cur"),
            (i64::MIN, "end"),
            (i64::MAX, "cur"),
        ] {
            let error = bench.error("guest-file-seek", json!({"handle": handle, "offset": offset, "whence": whence}));
            assert!(
                [INVALID, "failed to seek file: Value too large for defined data type"].contains(&&*error),
                "{error}"
            );
            assert_eq!(bench.seek(handle, 0, "cur"), 3, "{path} {offset} {whence}");
        }
    }
}

#[test]
fn whence_is_a_name_or_a_number_and_nothing_else() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("f", "hello"), "r");
    let kind = "Invalid parameter type for 'whence', expected: GuestFileWhence";
    let number = "Invalid parameter type for 'whence', expected: integer";
    for (whence, expected) in [
        ("-1", "invalid whence code -1"),
        ("3", "invalid whence code 3"),
        ("1099511627776", "invalid whence code 1099511627776"),
        ("\"SET\"", "Parameter 'whence' does not accept value 'SET'"),
        ("\"\"", "Parameter 'whence' does not accept value ''"),
        ("\"0\"", "Parameter 'whence' does not accept value '0'"),
        ("null", kind),
        ("true", kind),
        ("[]", kind),
        ("{}", kind),
        ("1.0", number),
        ("1e2", number),
        ("9223372036854775808", number),
        ("-9223372036854775809", number),
    ] {
        let arguments = format!(r#"{{"handle":{handle},"offset":0,"whence":{whence}}}"#);
        assert_eq!(bench.raw("guest-file-seek", &arguments, 0).unwrap_err(), expected);
    }
    for (arguments, expected) in [
        (json!({"handle": handle}), "Parameter 'offset' is missing"),
        (json!({"handle": handle, "whence": null}), "Parameter 'offset' is missing"),
        (json!({"handle": handle, "offset": 1}), "Parameter 'whence' is missing"),
        (
            json!({"handle": handle, "offset": "0", "whence": 0}),
            "Invalid parameter type for 'offset', expected: integer",
        ),
        (json!({"handle": handle, "offset": 0, "whence": 0, "x": 0}), "Parameter 'x' is unexpected"),
    ] {
        assert_eq!(bench.error("guest-file-seek", arguments), expected);
    }
    assert_eq!(bench.seek(handle, 0, "cur"), 0);
}

#[test]
fn a_seek_ends_the_end() {
    let bench = Bench::new();
    let handle = bench.open(&bench.file("f", "hello"), "r");
    assert_eq!(bench.read_text(handle, 99), ("hello".to_owned(), true));
    assert_eq!(bench.seek(handle, 0, "cur"), 5);
    assert_eq!(bench.read_text(handle, 0), (String::new(), false));
    assert_eq!(bench.read_text(handle, 99), (String::new(), true));
}

#[test]
fn the_end_of_a_file_under_proc_is_its_size() {
    let bench = Bench::new();
    for path in ["/proc/self/stat", "/proc/sys/kernel/pid_max"] {
        let handle = bench.open(path, "r");
        let (first, _) = bench.read(handle, 2);
        assert_eq!(bench.seek(handle, 0, "end"), 0, "{path}");
        assert_eq!(bench.read(handle, 2), (first, false), "{path}");
    }
}

#[test]
fn a_directory_has_a_position() {
    let bench = Bench::new();
    let handle = bench.open(bench.dir.path().to_str().unwrap(), "r");
    assert_eq!(bench.seek(handle, 0, "cur"), 0);
    bench.close(handle);
}

//! Handles: their numbers, `guest-file-close`, `guest-file-flush`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Bench, content};
use serde_json::{Value, json};

/// A call of each command that takes a handle.
fn calls(handle: i64) -> [(&'static str, Value); 5] {
    [
        ("guest-file-read", json!({"handle": handle})),
        ("guest-file-write", json!({"handle": handle, "buf-b64": "eA=="})),
        ("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "set"})),
        ("guest-file-flush", json!({"handle": handle})),
        ("guest-file-close", json!({"handle": handle})),
    ]
}

#[test]
fn handles_count_up_and_none_comes_twice() {
    let bench = Bench::new();
    let path = bench.file("f", "hello");
    let first = bench.open(&path, "r");
    assert_eq!(first, 1000);
    bench.close(first);
    assert_eq!(bench.open(&path, "r"), 1001);
    assert_eq!(bench.error("guest-file-close", json!({"handle": first})), "handle '1000' has not been found");
    assert_eq!(bench.read_text(1001, 9), ("hello".to_owned(), true));
}

#[test]
fn a_handle_that_is_not_open_is_not_found_by_any_command() {
    let bench = Bench::new();
    let closed = bench.open(&bench.file("f", "hello"), "r+");
    bench.close(closed);
    for handle in [closed, 77, 0, -1, i64::MIN, i64::MAX] {
        for (command, arguments) in calls(handle) {
            assert_eq!(bench.error(command, arguments), format!("handle '{handle}' has not been found"), "{command}");
        }
    }
}

#[test]
fn the_handle_is_looked_at_before_the_other_arguments_values() {
    let bench = Bench::new();
    for (command, arguments) in [
        ("guest-file-read", json!({"handle": 77, "count": -1})),
        ("guest-file-write", json!({"handle": 77, "buf-b64": "####", "count": -1})),
        ("guest-file-seek", json!({"handle": 77, "offset": 0, "whence": 9})),
    ] {
        assert_eq!(bench.error(command, arguments), "handle '77' has not been found");
    }
}

#[test]
fn the_type_of_a_handle_is_checked_by_each_command() {
    let bench = Bench::new();
    for (command, arguments) in calls(0) {
        for wrong in [json!(null), json!(true), json!(1.5), json!("x"), json!([]), json!({}), json!(u64::MAX)] {
            let mut arguments = arguments.clone();
            arguments["handle"] = wrong;
            let error = bench.error(command, arguments);
            assert_eq!(error, "Invalid parameter type for 'handle', expected: integer", "{command}");
        }
        let mut missing = arguments.clone();
        missing.as_object_mut().unwrap().remove("handle");
        missing["bogus"] = json!(1);
        assert_eq!(bench.error(command, missing), "Parameter 'handle' is missing", "{command}");
        let mut more = arguments.clone();
        more["bogus"] = json!(1);
        assert_eq!(bench.error(command, more), "Parameter 'bogus' is unexpected", "{command}");
    }
}

#[test]
fn a_flush_changes_nothing() {
    let bench = Bench::new();
    let path = bench.file("f", "hello world\n");
    let handle = bench.open(&path, "r+");
    let flush = || assert_eq!(bench.ok("guest-file-flush", json!({"handle": handle})), json!({}));
    flush();
    assert_eq!(bench.read_text(handle, 3), ("hel".to_owned(), false));
    flush();
    assert_eq!(bench.read_text(handle, 99), ("lo world\n".to_owned(), true));
    bench.write(handle, "a");
    flush();
    flush();
    bench.write(handle, "b");
    assert_eq!(content(&path), "hello world\nab");
}

#[test]
fn threads_use_handles_of_their_own_at_the_same_time() {
    let bench = Bench::new();
    let paths: Vec<String> = (0..8).map(|number| bench.path(&format!("f{number}"))).collect();
    std::thread::scope(|scope| {
        for path in &paths {
            let bench = &bench;
            scope.spawn(move || {
                for round in 0..50 {
                    let text = format!("{path} {round}");
                    let handle = bench.open(path, "w+");
                    assert_eq!(bench.write(handle, &text), text.len() as u64);
                    assert_eq!(bench.seek(handle, 0, 0), 0);
                    assert_eq!(bench.read_text(handle, 4096), (text, true));
                    bench.close(handle);
                }
            });
        }
    });
    assert_eq!(bench.open(paths.first().unwrap(), "r"), 1000 + 8 * 50);
}

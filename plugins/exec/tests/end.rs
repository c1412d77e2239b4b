//! What is told of a program's end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{error, kit, kit_with, result, run, sh, start, status, text, until};
use guestd_sdk::LogLevel;
use serde_json::json;

const EXEC: &str = "guest-exec";
const STATUS: &str = "guest-exec-status";

#[test]
fn status_and_signal_are_told() {
    let kit = kit();
    assert_eq!(sh(&kit, "exit 7"), json!({"exitcode": 7, "exited": true}));
    for signal in [9, 15, 11, 6] {
        let expected = json!({"signal": signal, "exited": true});
        assert_eq!(sh(&kit, &format!("ulimit -c 0; kill -{signal} $$")), expected);
    }
}

#[test]
fn a_running_program_has_not_exited_and_a_result_is_told_once() {
    let kit = kit();
    let pid = start(&kit, json!({"path": "sleep", "arg": ["0.3"]}));
    assert_eq!(status(&kit, pid), json!({"exited": false}));
    assert_eq!(result(&kit, pid), json!({"exitcode": 0, "exited": true}));
    assert_eq!(error(&kit, STATUS, json!({"pid": pid})), format!("PID {pid} does not exist"));
}

#[test]
fn unknown_numbers_are_named() {
    let kit = kit();
    for pid in [0, 1, -1, i64::MAX, i64::MIN] {
        assert_eq!(error(&kit, STATUS, json!({"pid": pid})), format!("PID {pid} does not exist"));
    }
    assert_eq!(error(&kit, STATUS, json!({})), "Parameter 'pid' is missing");
    for value in [json!(null), json!(true), json!(1.5), json!("x"), json!([]), json!({})] {
        let expected = "Invalid parameter type for 'pid', expected: integer";
        assert_eq!(error(&kit, STATUS, json!({"pid": value})), expected);
    }
}

#[test]
fn a_program_that_leaves_its_streams_is_still_waited_for() {
    let kit = kit();
    let result = sh(&kit, "echo begin; exec >&- 2>&- <&-; sleep 0.2; exit 3");
    assert_eq!((text(&result, "out-data").as_str(), &result["exitcode"]), ("begin\n", &json!(3)));
}

#[test]
fn what_is_written_last_is_not_lost() {
    let kit = kit();
    // As much as fits into a pipe, by a program that ends at once, while another one keeps the pipe.
    for _ in 0..100 {
        let result = sh(&kit, "sleep 0.5 & head -c 65536 /dev/zero");
        assert_eq!(common::bytes(&result, "out-data").len(), 65536);
    }
}

#[test]
fn past_its_time_limit_a_program_is_killed_with_its_group() {
    let kit = kit_with(json!({"timeout": 1}));
    let script = "echo begin; sleep 1000 & echo $!; wait";
    let result = run(&kit, json!({"path": "sh", "arg": ["-c", script], "capture-output": true}));
    assert_eq!(result["signal"], json!(9));
    let output = text(&result, "out-data");
    let child = output.strip_prefix("begin\n").unwrap().trim();
    until("its child is gone", || !is_alive(child));
    let log = kit.log();
    let is_kill = |line: &str| line.ends_with("is killed at its timeout");
    assert!(log.iter().any(|(level, line)| *level == LogLevel::Warn && is_kill(line)), "{log:?}");
    assert_eq!(sh(&kit, "exit 0"), json!({"exitcode": 0, "exited": true}));
}

#[test]
fn a_program_of_which_the_client_was_told_that_it_failed_does_not_run() {
    let kit = kit();
    // A deadline that has passed when the program has been started.
    let data = "AAAA".repeat(4 << 20);
    let arguments = format!(r#"{{"path":"sleep","arg":["1000"],"input-data":"{data}"}}"#);
    let reply = kit.call_raw(EXEC, &arguments, 1).unwrap();
    let pid = serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap()["pid"].as_i64().unwrap();
    assert_eq!(result(&kit, pid), json!({"signal": 9, "exited": true}));
}

#[test]
fn places_are_bounded_and_a_reload_changes_that() {
    let kit = kit_with(json!({"max-jobs": 2}));
    let sleep = json!({"path": "sleep", "arg": ["1000"]});
    let pids = [start(&kit, sleep.clone()), start(&kit, sleep)];
    let expected = "too many programs: 2 are running or have not been asked for (max-jobs)";
    assert_eq!(error(&kit, EXEC, json!({"path": "true"})), expected);
    kit.reload(json!({"max-jobs": 3})).unwrap();
    assert_eq!(run(&kit, json!({"path": "true"})), json!({"exitcode": 0, "exited": true}));
    // What fails to start takes no place.
    for _ in 0..5 {
        assert!(error(&kit, EXEC, json!({"path": "/nonexistent"})).contains("No such file"));
    }
    for pid in pids {
        assert_eq!(sh(&kit, &format!("kill {pid}"))["exitcode"], json!(0));
        assert_eq!(result(&kit, pid), json!({"signal": 15, "exited": true}));
    }
}

#[test]
fn results_that_nobody_asks_for_give_way_when_their_time_is_over() {
    let kit = kit_with(json!({"max-jobs": 1, "keep": 0}));
    let first = start(&kit, json!({"path": "true"}));
    until("there is a place", || kit.call(EXEC, json!({"path": "true"})).is_ok());
    assert_eq!(error(&kit, STATUS, json!({"pid": first})), format!("PID {first} does not exist"));
}

#[test]
fn a_bad_configuration_is_an_error() {
    use guestd_sdk::testkit::{Settings, TestKit};
    for (config, expected) in [
        (json!({"max-jobs": 0}), "configuration: max-jobs is 0"),
        (json!({"max-job": 1}), "unknown field `max-job`"),
        (json!({"timeout": -1}), "invalid value"),
    ] {
        let settings = Settings { config, ..Settings::default() };
        let error = TestKit::start_with(guestd_exec::plugin_module(), settings).err().unwrap();
        assert!(error.desc().contains(expected), "{error:?}");
    }
}

/// Whether a process runs; one that nobody has reaped yet does not.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.len() > 2 && !rest.starts_with(" Z"))
}

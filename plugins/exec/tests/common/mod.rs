//! Runs programs through the set and waits for them.

#![allow(dead_code)]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};

pub fn kit() -> TestKit {
    kit_with(json!({}))
}

pub fn kit_with(config: Value) -> TestKit {
    TestKit::start_with(guestd_exec::plugin_module(), Settings { config, ..Settings::default() }).unwrap()
}

/// Starts a program and returns its number.
pub fn start(kit: &TestKit, arguments: Value) -> i64 {
    let started = kit.call("guest-exec", arguments).unwrap();
    let pid = started["pid"].as_i64().unwrap();
    assert_eq!(started, json!({"pid": pid}));
    pid
}

pub fn status(kit: &TestKit, pid: i64) -> Value {
    kit.call("guest-exec-status", json!({"pid": pid})).unwrap()
}

/// Waits for a program and returns its result.
pub fn result(kit: &TestKit, pid: i64) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let status = status(kit, pid);
        if status["exited"] == json!(true) {
            return status;
        }
        assert_eq!(status, json!({"exited": false}));
        assert!(Instant::now() < until, "process {pid} does not end");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn run(kit: &TestKit, arguments: Value) -> Value {
    result(kit, start(kit, arguments))
}

/// Runs a shell script, its output captured.
pub fn sh(kit: &TestKit, script: &str) -> Value {
    run(kit, json!({"path": "sh", "arg": ["-c", script], "capture-output": true}))
}

/// What a result has of a stream.
pub fn bytes(result: &Value, key: &str) -> Vec<u8> {
    let text = result[key].as_str().unwrap_or_else(|| panic!("no {key}: {result}"));
    base64_simd::STANDARD.decode_to_vec(text).unwrap()
}

pub fn text(result: &Value, key: &str) -> String {
    String::from_utf8(bytes(result, key)).unwrap()
}

/// The text of an error of class `GenericError`.
pub fn error(kit: &TestKit, command: &str, arguments: Value) -> String {
    let error = kit.call(command, arguments).unwrap_err();
    assert_eq!(error.class(), "GenericError");
    error.desc().to_owned()
}

/// The `stat` lines of proc(5) of this process' children: `( name ) state parent`.
pub fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(')').next().unwrap().split(' ').nth(2) == Some(&own)).collect()
}

/// How many descriptors this process has open.
pub fn descriptors() -> usize {
    // One of them is that of the directory.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Waits until `what` is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

//! Which program is started, with which arguments, environment and input.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{bytes, error, kit, run, sh, start, text};
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};

fn output(arguments: Value) -> String {
    let mut arguments = arguments;
    arguments["capture-output"] = json!(true);
    text(&run(&kit(), arguments), "out-data")
}

/// Makes an executable file. Not by this process itself: a program that another thread starts meanwhile would hold the
/// file open for writing, and the kernel executes no such file.
fn script(directory: &Path, name: &str, content: &str) -> PathBuf {
    let (source, path) = (directory.join("source"), directory.join(name));
    fs::create_dir_all(directory).unwrap();
    fs::write(&source, content).unwrap();
    assert!(Command::new("install").arg("-Dm755").arg(&source).arg(&path).status().unwrap().success());
    path
}

#[test]
fn arguments_arrive_as_they_are() {
    let words = ["<%s>", "a b", "", "*", "$HOME", "\"q\"", "back\\slash", "é€", "a\nb"];
    let expected = "<a b><><*><$HOME><\"q\"><back\\slash><é€><a\nb>";
    assert_eq!(output(json!({"path": "printf", "arg": words})), expected);
    assert_eq!(output(json!({"path": "echo"})), "\n");
    assert_eq!(output(json!({"path": "sh", "arg": ["-c", "echo $0"]})), "sh\n");
    let long = "y".repeat(100_000);
    assert_eq!(output(json!({"path": "sh", "arg": ["-c", "printf %s \"$1\" | wc -c", "x", long]})), "100000\n");
}

/// The umask that the daemon was started with, whatever its own is.
#[test]
fn the_umask_is_not_the_daemons() {
    let settings = Settings { facts: json!({"umask": 0o037}), ..Settings::default() };
    let kit = TestKit::start_with(guestd_exec::plugin_module(), settings).unwrap();
    let ended = run(&kit, json!({"path": "sh", "arg": ["-c", "umask"], "capture-output": true}));
    assert_eq!(text(&ended, "out-data"), "0037\n");
}

#[test]
fn the_environment_is_exactly_the_given_one() {
    let env = |entries: &[&str]| output(json!({"path": "/usr/bin/env", "env": entries}));
    assert_eq!(env(&["B=1", "A=x y", "C=", "A=2", "D"]), "B=1\nA=x y\nC=\nA=2\nD\n");
    let empty = run(&kit(), json!({"path": "/usr/bin/env", "env": [], "capture-output": true}));
    assert_eq!(empty, json!({"exitcode": 0, "exited": true}));
    let own: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
    assert_eq!(output(json!({"path": "/usr/bin/env"})), own.concat());
}

#[test]
fn a_name_is_looked_for_in_the_path_of_the_given_environment() {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    script(&bin, "true", "#!/bin/sh\necho mine\n");
    script(&bin, "no-program/file", "");
    fs::write(bin.join("not-executable"), "").unwrap();
    let path = format!("PATH=/nonexistent:/etc/passwd:{}:/usr/bin:/bin", bin.display());
    assert_eq!(output(json!({"path": "true", "env": [path]})), "mine\n");
    assert_eq!(output(json!({"path": "echo", "env": ["A=1"]})), "\n");
    let kit = kit();
    for (name, reason) in [
        ("no-such-program-xyz", "No such file or directory"),
        ("not-executable", "Permission denied"),
        ("no-program", "Permission denied"),
        ("", "No such file or directory"),
    ] {
        let expected = format!("Failed to execute child process “{name}” ({reason})");
        assert_eq!(error(&kit, "guest-exec", json!({"path": name, "env": [path]})), expected);
    }
}

#[test]
fn what_cannot_be_executed_is_told_in_qemu_gas_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    fs::write(&file, "hello world\n").unwrap();
    let bad = script(directory.path(), "bad", "#!/no/such/interpreter\n");
    let kit = kit();
    for (path, reason) in [
        (Path::new("/nonexistent/prog"), "No such file or directory"),
        (&file, "Permission denied"),
        (directory.path(), "Permission denied"),
        (&bad, "No such file or directory"),
        (&file.join("x"), "Not a directory"),
        (Path::new("/bin/true\0x"), "Invalid argument"),
    ] {
        let expected = format!("Failed to execute child process “{}” ({reason})", path.to_str().unwrap());
        assert_eq!(error(&kit, "guest-exec", json!({"path": path})), expected);
    }
    let arguments = json!({"path": "/bin/true", "arg": ["x".repeat(1 << 20)]});
    let expected = "Failed to execute child process “/bin/true” (Argument list too long)";
    assert_eq!(error(&kit, "guest-exec", arguments), expected);
}

#[test]
fn a_script_without_an_interpreter_line_runs_in_sh() {
    let directory = tempfile::tempdir().unwrap();
    let path = script(directory.path(), "prog", "echo plain $# $1 $0\n");
    let expected = format!("plain 2 a b {}\n", path.display());
    assert_eq!(output(json!({"path": path, "arg": ["a b", "c"]})), expected);
}

#[test]
fn input_arrives_whole() {
    let input = |data: &str| json!({"path": "cat", "input-data": data, "capture-output": true});
    assert_eq!(text(&run(&kit(), input("c29tZSBpbnB1dAo=")), "out-data"), "some input\n");
    assert_eq!(output(json!({"path": "wc", "arg": ["-c"], "input-data": ""})), "0\n");
    assert_eq!(output(json!({"path": "wc", "arg": ["-c"]})), "0\n");

    let data: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let result = run(&kit(), input(&base64_simd::STANDARD.encode_to_string(&data)));
    assert!(bytes(&result, "out-data") == data);
    let large = base64_simd::STANDARD.encode_to_string(vec![b'x'; 12 << 20]);
    assert_eq!(output(json!({"path": "wc", "arg": ["-c"], "input-data": large})), format!("{}\n", 12 << 20));
}

#[test]
fn a_program_need_not_read_its_input() {
    let kit = kit();
    let data = base64_simd::STANDARD.encode_to_string(vec![0; 1_000_000]);
    let result = run(&kit, json!({"path": "true", "input-data": data}));
    assert_eq!(result, json!({"exitcode": 0, "exited": true}));
    let script = "head -c 5 >/dev/null; exec <&-; echo done";
    let result = run(&kit, json!({"path": "sh", "arg": ["-c", script], "input-data": data, "capture-output": true}));
    assert_eq!(text(&result, "out-data"), "done\n");
}

#[test]
fn bad_input_is_found_before_a_missing_program() {
    let kit = kit();
    for (data, expected) in [("!!", "Base64 data contains invalid characters"), ("QUJ", "Base64 data is incomplete")] {
        assert_eq!(error(&kit, "guest-exec", json!({"path": "/nonexistent", "input-data": data})), expected);
    }
}

#[test]
fn a_program_starts_as_from_a_fresh_shell() {
    // Its own process group, nothing ignored or blocked, no descriptor but its own three.
    let script = "test $(ps -o pgid= -p $$) = $$ && sed -nE 's/^Sig(Blk|Ign):.//p' /proc/self/status; ls /proc/self/fd";
    let result = text(&sh(&kit(), script), "out-data");
    let inherited: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|fd| fd.parse::<u32>().unwrap() > 2 && is_inherited(fd))
        .collect();
    let mut expected = vec!["0000000000000000", "0000000000000000", "0", "1", "2"];
    let found: Vec<_> = result.lines().filter(|line| !inherited.contains(&(*line).to_owned())).collect();
    // ls has the directory open, at the lowest number that is free.
    expected.extend(found.last());
    assert_eq!(found, expected);
}

/// Whether a descriptor of this process has no close-on-exec flag, as those of whoever started the tests.
fn is_inherited(fd: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0)
}

#[test]
fn arguments_have_their_types() {
    let kit = kit();
    let base = json!({"path": "/nonexistent/program", "arg": ["a"], "env": ["A=b"], "input-data": "QQ=="});
    for (key, values, expected) in [
        ("path", json!([null, true, 1, 1.5, [], {}]), "Invalid parameter type for 'path', expected: string"),
        ("arg", json!([null, true, 1, "x", {}]), "Invalid parameter type for 'arg', expected: array"),
        ("arg", json!([[1], [null], [["a"]], [{}]]), "Invalid parameter type for 'arg[0]', expected: string"),
        ("env", json!([null, "x"]), "Invalid parameter type for 'env', expected: array"),
        ("env", json!([["a", 2]]), "Invalid parameter type for 'env[1]', expected: string"),
        ("input-data", json!([null, true, 1, [], {}]), "Invalid parameter type for 'input-data', expected: string"),
        ("bogus", json!([1]), "Parameter 'bogus' is unexpected"),
    ] {
        for value in values.as_array().unwrap() {
            let mut arguments = base.clone();
            arguments[key] = value.clone();
            assert_eq!(error(&kit, "guest-exec", arguments), expected, "{key}: {value}");
        }
    }
    assert_eq!(error(&kit, "guest-exec", json!({"arg": 1, "bogus": 1})), "Parameter 'path' is missing");
}

#[test]
fn what_is_started_is_logged_without_its_arguments() {
    let kit = kit();
    let pid = start(&kit, json!({"path": "/bin/true", "arg": ["secret"], "env": ["TOKEN=secret"]}));
    let log: Vec<_> = kit.log().into_iter().map(|(_, line)| line).collect();
    assert!(log.contains(&format!("guest-exec: process {pid} is /bin/true")), "{log:?}");
    assert!(!log.concat().contains("secret"));
    let mode = fs::metadata("/bin/true").unwrap().permissions().mode();
    assert_ne!(mode & 0o111, 0);
}

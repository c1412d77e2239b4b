//! What programs get and what becomes of what they write.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{NAME, Programs, call, start, text};
use serde_json::{Value, json};

/// Arguments of each type.
fn arguments() -> Value {
    json!({
        "level": {"type": "integer", "min": 0, "max": 9},
        "name": {"type": "string", "pattern": "[a-zé ]+", "optional": true},
        "dry": {"type": "boolean", "optional": true},
    })
}

#[test]
fn arguments_arrive_as_json_on_stdin() {
    let programs = Programs::new();
    let kit = programs.command("cat", json!({"arguments": arguments()}));
    for given in [json!({"level": 3}), json!({"level": 0, "name": "a é", "dry": false})] {
        assert_eq!(call(&kit, given.clone()), Ok(given));
    }
    let none = programs.command("cat", json!({}));
    assert_eq!(call(&none, json!({})), Ok(json!({})));
}

#[test]
fn arguments_arrive_as_parameters_and_no_shell_looks_at_them() {
    let programs = Programs::new();
    let lines = r#"for one; do printf '<%s>' "$one"; done; cat"#;
    let more = |args: Value| {
        let arguments = json!({"level": {"type": "integer"}, "name": {"type": "string", "optional": true}});
        json!({"args": args, "arguments": arguments, "pass": "parameters", "output": "text"})
    };
    let given = json!({"level": -3, "name": "$(id) `id`; \"'\n*"});
    let kit = programs.command(lines, more(json!(["status"])));
    let expected = "<status><--level=-3><--name=$(id) `id`; \"'\n*>";
    assert_eq!(call(&kit, given.clone()), Ok(json!({"text": expected})));
    let kit = programs.command(lines, more(json!(["l{level}", "--", "{name}"])));
    assert_eq!(call(&kit, given), Ok(json!({"text": "<l-3><--><$(id) `id`; \"'\n*>"})));
    assert_eq!(call(&kit, json!({"level": 1})), Ok(json!({"text": "<l1><-->"})));
}

#[test]
fn what_is_wrong_with_arguments_is_said_in_qemus_words_and_nothing_is_run() {
    let programs = Programs::new();
    let ran = programs.path("ran");
    let kit = programs.command(&format!(">{}", ran.display()), json!({"arguments": arguments()}));
    for (given, expected) in [
        (json!({}), "Parameter 'level' is missing"),
        (json!({"level": "3"}), "Invalid parameter type for 'level', expected: integer"),
        (json!({"level": 3.0}), "Invalid parameter type for 'level', expected: integer"),
        (json!({"level": 10}), "Parameter 'level' does not accept value '10'"),
        (json!({"level": 1, "name": "A"}), "Parameter 'name' does not accept value 'A'"),
        (json!({"level": 1, "dry": null}), "Invalid parameter type for 'dry', expected: boolean"),
        (json!({"level": 1, "bogus": 1}), "Parameter 'bogus' is unexpected"),
    ] {
        assert_eq!(call(&kit, given), Err(expected.to_owned()));
    }
    let error = kit.call("__com.example_none", json!({})).unwrap_err();
    assert_eq!(error.class(), "CommandNotFound");
    assert_eq!(error.desc(), "The command __com.example_none has not been found");
    assert!(!ran.exists());
}

#[test]
fn the_environment_is_clean_and_the_directory_the_one_that_is_configured() {
    let programs = Programs::new();
    let directory = fs::canonicalize(programs.path("")).unwrap();
    let more = json!({
        "directory": directory,
        "environment": {"GREETING": "hello world", "LC_ALL": "C"},
        "output": "text",
    });
    let kit = programs.command("pwd; umask; env | sort", more);
    let answer = call(&kit, json!({})).unwrap();
    let lines: Vec<&str> = answer["text"].as_str().unwrap().lines().filter(|line| !line.starts_with("_=")).collect();
    let directory = directory.to_str().unwrap();
    let expected = [
        directory.to_owned(),
        "0022".to_owned(),
        "GREETING=hello world".to_owned(),
        format!("GUESTD_COMMAND={NAME}"),
        "HOME=/".to_owned(),
        "LC_ALL=C".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("PWD={directory}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_answer_is_one_json_value() {
    let programs = Programs::new();
    let kit = programs.command(r#"printf '[1,\n "caf\303\251"]\n'"#, json!({}));
    let reply = kit.call_raw(NAME, "{}", 0).unwrap();
    assert_eq!(reply.body.as_slice(), br#"[1,  "caf\u00E9"]"#);
    for (lines, why) in [
        ("echo ok", "expected value at line 1 column 1"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("echo '{} {}'", "trailing characters at line 1 column 4"),
    ] {
        let kit = programs.command(lines, json!({}));
        let expected = format!("'{}' has written what is not JSON: {why}", programs.path("program").display());
        assert_eq!(call(&kit, json!({})), Err(expected));
    }
    let kit = programs.command("echo ok", json!({"output": "none"}));
    assert_eq!(call(&kit, json!({})), Ok(json!({})));
}

#[test]
fn a_failure_is_told_in_the_programs_first_words() {
    let programs = Programs::new();
    let program = programs.path("program");
    let program = program.display();
    for (lines, expected) in [
        ("echo '{}'; echo >&2; echo 'no space' >&2; echo more >&2; exit 3", "no space".to_owned()),
        ("echo words >/dev/stderr; exit 1", "words".to_owned()),
        ("echo '{}'; exit 3", format!("'{program}' has ended with status 3")),
        ("kill -TERM $$", format!("'{program}' was ended by signal 15")),
    ] {
        let kit = programs.command(lines, json!({}));
        assert_eq!(call(&kit, json!({})), Err(expected), "{lines}");
    }
    let kit = programs.command("echo warning >&2; echo '{}'", json!({}));
    assert_eq!(call(&kit, json!({})), Ok(json!({})), "words alone are no failure");
    let log = kit.log();
    assert!(log.iter().any(|(_, line)| line.starts_with(NAME) && line.ends_with(": warning")), "{log:?}");
}

#[test]
fn a_program_that_cannot_be_run_is_named_with_the_reason() {
    let programs = Programs::new();
    let kit = programs.command("echo '{}'", json!({}));
    let program = programs.path("program");
    let cannot = |why: String| Err(format!("'{}' cannot be run: {why}", program.display()));
    for (mode, why) in [
        (0o644, "Permission denied".to_owned()),
        (0o775, format!("'{}' can be written by others (mode 0775)", program.display())),
    ] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(call(&kit, json!({})), cannot(why));
    }
    fs::remove_file(&program).unwrap();
    let missing = format!("'{}' cannot be looked at: No such file or directory", program.display());
    assert_eq!(call(&kit, json!({})), cannot(missing));
}

#[test]
fn a_configuration_is_taken_as_a_whole_or_not_at_all() {
    let programs = Programs::new();
    let program = programs.script("program", "echo 1");
    let missing = start(json!({"commands": {NAME: {"program": programs.path("none")}}}));
    let log = missing.log();
    assert!(log.iter().any(|(_, line)| line.starts_with("__com.example_test would fail now: ")), "{log:?}");
    let kit = start(json!({}));
    assert!(call(&kit, json!({})).unwrap_err().contains("has not been found"));
    kit.reload(json!({"commands": {NAME: {"program": program}}})).unwrap();
    assert_eq!(call(&kit, json!({})), Ok(json!(1)));
    let bad = json!({"commands": {NAME: {"program": program}, "__com.example_b": {"program": "b"}}});
    let error = kit.reload(bad).map_err(text).unwrap_err();
    assert_eq!(error, "configuration: commands.\"__com.example_b\": `program` must be an absolute path");
    assert_eq!(call(&kit, json!({})), Ok(json!(1)));
    kit.reload(json!({})).unwrap();
    assert!(call(&kit, json!({})).is_err());
}

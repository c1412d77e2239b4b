//! The command line's subcommands, and what is wrong with a configuration.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use guestd_daemon_tests::{Daemon, patched, stage, vendor_plugin};
use serde_json::{Value, json};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn plugins_lists_sets_and_refused_files() {
    let daemon = Daemon::new().plugin(&vendor_plugin(), "greeter.so").config("[plugins]\ndisable = [\"power\"]");
    fs::write(daemon.path("plugins/text.so"), "text").unwrap();
    let output = daemon.command(&["plugins"]).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(text.lines().any(|line| line.starts_with("greeter") && line.contains("Example Ltd")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("power") && line.contains("disabled")), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("refused: ") && line.ends_with("text.so is not an ELF file")),
        "{text}"
    );
    let json: Value = serde_json::from_slice(&daemon.command(&["plugins", "--json"]).output().unwrap().stdout).unwrap();
    let greeter = json["sets"].as_array().unwrap().iter().find(|set| set["name"] == "greeter").unwrap();
    assert_eq!(greeter["commands"], json!(["__com.example_greet"]));
    assert_eq!((&greeter["version"], &greeter["boundary"]), (&json!("0.3.0"), &json!("1.0")));
    assert_eq!(json["refused"][0]["reason"], "is not an ELF file");
}

#[test]
fn commands_and_explain_tell_who_forbids_what() {
    let daemon = Daemon::new().config("[commands]\nblock = [\"guest-file-open\"]\ndeadline = { guest-file-read = 7 }");
    let commands: Value =
        serde_json::from_slice(&daemon.command(&["commands", "--json"]).output().unwrap().stdout).unwrap();
    let find = |name: &str| commands.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(find("guest-file-open")["enabled"], false);
    assert_eq!(find("guest-file-read")["deadline-ms"], 7000);
    assert_eq!(find("guest-shutdown")["success-response"], false);
    assert_eq!(find("guest-ping")["while-frozen"], true);
    let table = stdout(&daemon.command(&["commands"]).output().unwrap());
    assert!(
        table.lines().any(|line| line.starts_with("guest-file-open") && line.contains("no: blocked by")),
        "{table}"
    );

    let explain = |words: &[&str]| daemon.command(words).output().unwrap();
    let blocked = explain(&["explain", "guest-file-open"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(stdout(&blocked).contains(&format!("blocked by {}", daemon.path("guestd.toml").display())));
    let fine = explain(&["explain", "guest-ping"]);
    assert!(fine.status.success() && stdout(&fine).contains("guest-ping answers"));
    assert!(stdout(&explain(&["explain", "guest-nope"])).contains("does not exist"));
    let allowed = explain(&["-a", "guest-info", "explain", "guest-ping"]);
    assert!(
        stdout(&allowed).contains("the list of allowed commands (the command line) does not name it"),
        "{allowed:?}"
    );
}

#[test]
fn check_opens_every_set_and_finds_what_is_wrong() {
    let good = Daemon::new().plugin(&vendor_plugin(), "greeter.so");
    let output = good.command(&["check"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("greeter: 1 commands"), "{output:?}");
    assert_eq!(fs::read_dir(good.path("state")).unwrap().count(), 0, "the daemon's state was touched");

    let scratch = tempfile::tempdir().unwrap();
    let library = patched(&vendor_plugin(), scratch.path(), b"_greet 5 FREEZE_SAFE", b"_greet 9 FREEZE_SAFE");
    let bad = Daemon::new().plugin(&library, "bad.so").config(
        "[plugins]\ndisable = [\"greetre\"]\n[plugins.fsfreeze]\nlaese = 1\n[commands]\nblock = [\"guest-pnig\"]",
    );
    let output = bad.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for expected in [
        "bad.so has a manifest that does not fit its code",
        "names a set \"greetre\", which is not installed",
        "unknown field `laese`",
        "lists a command \"guest-pnig\", which no enabled set has",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with("problem: ") && line.contains(expected)),
            "{expected}\n{text}"
        );
    }
}

#[test]
fn call_is_a_client() {
    let daemon = Daemon::new().start();
    let call = |words: &[&str]| daemon.command(&[&["call"], words].concat()).output().unwrap();
    // The socket is the configuration's own.
    let ping = call(&["guest-ping"]);
    assert!(ping.status.success() && stdout(&ping) == "{}\n", "{ping:?}");
    let sync = call(&["guest-sync", "{\"id\": 7}"]);
    assert_eq!(stdout(&sync), "7\n");
    let nope = call(&["guest-nope"]);
    assert_eq!(nope.status.code(), Some(1));
    assert_eq!(stderr(&nope), "CommandNotFound: The command guest-nope has not been found\n");
    let silent = call(&["guest-shutdown", "{\"mode\": \"nonsense\"}"]);
    assert_eq!(silent.status.code(), Some(1), "an error of a command without an answer is told: {silent:?}");
    assert_eq!(call(&["guest-sync", "nonsense"]).status.code(), Some(1));
    let nowhere = call(&["--socket", "/nonexistent/s", "guest-ping"]);
    assert!(stderr(&nowhere).contains("No such file or directory"));
}

#[test]
fn what_is_wrong_with_a_configuration_is_one_line_with_its_place() {
    for (config, expected) in [
        ("[comands]\n", "guestd.toml:3: unknown field `comands`"),
        ("[log]\nlevel = \"loud\"\n", "unknown variant `loud`"),
        ("[[channel]]\nmethod = \"unix-listen\"\n", "a channel with the method unix-listen needs a path"),
    ] {
        let output = Daemon::new().config(config).command(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.starts_with("guestd: ") && text.contains(expected) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn called_as_qemu_ga_it_has_no_subcommands() {
    let daemon = Daemon::new();
    symlink(stage().join("sbin/guestd"), daemon.path("qemu-ga")).unwrap();
    let run = |words: &[&str]| std::process::Command::new(daemon.path("qemu-ga")).args(words).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success() && stdout(&help).starts_with("Usage: qemu-ga"));
    let surplus = run(&["plugins"]);
    assert_eq!(surplus.status.code(), Some(1));
    assert!(stderr(&surplus).contains("surplus word"), "{surplus:?}");
    let list = stdout(&run(&["-b", "help"]));
    assert!(list.lines().any(|line| line == "guest-ping"), "its plugins lie beside the real file: {list}");
}

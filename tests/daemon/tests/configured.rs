//! What the configuration makes of sets: commands of the operator's own (`script`), a start with the daemon (`hardware`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use guestd_daemon_tests::Daemon;
use nix::sys::signal::Signal;
use serde_json::json;

const ECHO: &str = "__com.example_echo";

const TABLE: &str = r#"
[plugins.script.commands."__com.example_echo"]
program = "DIR/echo"
arguments = { word = { type = "string" } }
[plugins.script.commands."__com.example_slow"]
program = "DIR/slow"
timeout = 1
[plugins.script.commands."__com.example_blocked"]
program = "DIR/echo"
[commands]
block = ["__com.example_blocked"]
"#;

fn daemon() -> Daemon {
    let daemon = Daemon::new().config(TABLE);
    fs::set_permissions(daemon.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, script) in [("echo", "exec cat"), ("slow", "exec sleep 60")] {
        // Made elsewhere and renamed: a file that is open for writing cannot be run.
        let made = std::process::Command::new("sh")
            .args([
                "-c",
                &format!(
                    "printf '#!/bin/sh\\n{script}\\n' >'{name}.new' && chmod 755 {name}.new && mv {name}.new {name}"
                ),
            ])
            .current_dir(daemon.path(""))
            .status()
            .unwrap();
        assert!(made.success());
    }
    daemon
}

#[test]
fn they_are_answered_listed_blocked_and_limited_like_all_others() {
    let daemon = daemon().start();
    let mut client = daemon.client();
    assert_eq!(client.call(ECHO, json!({"word": "hello"})), json!({"word": "hello"}));
    assert_eq!(client.error(ECHO, json!({"word": "hello", "x": 1})), "Parameter 'x' is unexpected");
    assert_eq!(client.error(ECHO, json!({})), "Parameter 'word' is missing");
    let blocked = client.ask("__com.example_blocked", json!({}));
    assert_eq!(blocked["error"]["desc"], "Command __com.example_blocked has been disabled: the command is not allowed");
    let slow = client.error("__com.example_slow", json!({}));
    assert!(slow.contains("1 s"), "{slow}");
    let info = client.call("guest-info", json!({}));
    for (name, enabled) in [(ECHO, true), ("__com.example_blocked", false)] {
        let entry = json!({"enabled": enabled, "name": name, "success-response": true});
        assert!(info["supported_commands"].as_array().unwrap().contains(&entry), "{entry}: {info}");
    }
}

#[test]
fn a_reload_brings_new_ones_and_a_bad_name_is_refused_alone() {
    let daemon = daemon().start();
    let mut client = daemon.client();
    assert_eq!(client.ask("__com.example_new", json!({}))["error"]["class"], "CommandNotFound");
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    let program = daemon.path("echo").display().to_string();
    let more = format!("[plugins.script.commands.\"__com.example_new\"]\nprogram = {program:?}\n");
    fs::write(daemon.path("guestd.d/new.toml"), more).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration was read again");
    assert_eq!(client.call("__com.example_new", json!({})), json!({}));
    assert_eq!(client.call(ECHO, json!({"word": "a"})), json!({"word": "a"}), "the main file's are still there");
    fs::write(
        daemon.path("guestd.d/new.toml"),
        format!("[plugins.script.commands.guest-mine]\nprogram = {program:?}\n"),
    )
    .unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("[plugins.script.commands] names a command \"guest-mine\"");
    assert_eq!(client.ask("guest-mine", json!({}))["error"]["class"], "CommandNotFound");
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
}

#[test]
fn a_set_is_started_with_the_daemon_if_its_section_asks_for_it() {
    let section = "[plugins.hardware]\nrehearsal = \"DIR/state\"\n";
    let lazy = Daemon::new().config(section).start();
    assert_eq!(lazy.client().call("guest-ping", json!({})), json!({}));
    assert!(!lazy.has_mapped("hardware.so"));
    fs::create_dir(lazy.path("guestd.d")).unwrap();
    fs::write(lazy.path("guestd.d/a.toml"), "[plugins.hardware]\nauto-online = [\"cpu\"]\n").unwrap();
    lazy.signal(Signal::SIGHUP);
    lazy.wait_for("its start by the reload", || lazy.has_mapped("hardware.so"));
    let early = Daemon::new().config(&format!("{section}auto-online = [\"cpu\"]\n")).start();
    early.wait_for("its start", || early.has_mapped("hardware.so"));
}

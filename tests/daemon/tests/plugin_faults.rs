//! Faults of a plugin are counted, and end in a set that is switched off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use guestd_daemon_tests::{Client, Daemon, fixture};
use nix::sys::signal::Signal;
use serde_json::json;

const FINE: &str = "__com.example_fine";

fn troubled(config: &str) -> Daemon {
    Daemon::new().plugin(&fixture("trouble"), "trouble.so").config(config).start()
}

fn is_enabled(client: &mut Client, command: &str) -> bool {
    let info = client.call("guest-info", json!({}));
    let commands = info["supported_commands"].as_array().unwrap();
    let entry = commands.iter().find(|entry| entry["name"] == command).expect("it is not listed");
    entry["enabled"].as_bool().unwrap()
}

#[test]
fn faults_in_a_row_switch_a_set_off_until_a_reload() {
    let daemon = troubled("[plugins]\nmax-faults = 3");
    let mut client = daemon.client();
    for (command, arguments, what) in [
        ("__com.example_panic", json!({}), "has panicked"),
        ("__com.example_panic-instant", json!({}), "has panicked"),
        ("__com.example_raw", json!({"body": "nonsense"}), "has answered what is not JSON"),
        ("__com.example_large", json!({"mebibytes": 81}), "has answered more than 80 MiB"),
    ] {
        for _ in 0..2 {
            client.error(command, arguments.clone());
        }
        assert_eq!(client.call(FINE, json!({})), "fine", "a call that goes well ends the row");
        for _ in 0..3 {
            assert!(is_enabled(&mut client, FINE));
            client.error(command, arguments.clone());
        }
        assert!(!is_enabled(&mut client, FINE), "{command}");
        let expected = format!(
            "The command set 'trouble' is switched off after 3 faults in a row, the last of which: {command} {what}"
        );
        for command in [FINE, "__com.example_release"] {
            assert_eq!(client.error(command, json!({})), expected);
        }
        let log = daemon.wait_for_log(&format!("error: {expected}; reloading the configuration switches it on again"));
        let logged = log.matches("error: The command set").count();
        let reloads = log.matches("the configuration was read again").count();
        assert_eq!(logged, reloads + 1, "a line each");
        assert_eq!(client.call("guest-ping", json!({})), json!({}));
        let (state, reason) = told(&daemon);
        assert_eq!((state.as_str(), reason.as_str()), ("off", expected.as_str()));
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("the reload", || daemon.log().matches("the configuration was read again").count() > reloads);
        assert_eq!(client.call(FINE, json!({})), "fine");
        assert_eq!(told(&daemon).0, "enabled");
    }
}

/// What `guestd plugins` says of the set: its state, and why.
fn told(daemon: &Daemon) -> (String, String) {
    let output = daemon.command(&["plugins", "--json"]).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sets = all["sets"].as_array().unwrap();
    let set = sets.iter().find(|set| set["name"] == "trouble").unwrap();
    let text = |key: &str| set[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

#[test]
fn ten_faults_are_the_usual_limit_and_zero_is_none() {
    for (config, limit) in [("", Some(10)), ("[plugins]\nmax-faults = 0", None)] {
        let daemon = troubled(config);
        let mut client = daemon.client();
        for _ in 0..limit.unwrap_or(200) {
            assert!(client.error("__com.example_panic", json!({})).contains("panicked"));
        }
        assert_eq!(is_enabled(&mut client, FINE), limit.is_none());
    }
}

#[test]
fn a_set_that_hangs_is_not_enabled_for_as_long() {
    let daemon = troubled("");
    let mut client = daemon.client();
    assert!(is_enabled(&mut client, FINE));
    assert!(client.error("__com.example_hang", json!({})).contains("has not finished within 1 s"));
    assert!(!is_enabled(&mut client, FINE));
    let (state, reason) = told(&daemon);
    assert!(state == "busy" && reason.starts_with("__com.example_hang has been running for "), "{state}: {reason}");
    for command in ["__com.example_release", "__com.example_fine-own", "guest-file-open"] {
        assert!(is_enabled(&mut client, command), "{command}");
    }
    assert_eq!(client.call("__com.example_fine-own", json!({})), "fine");
    client.call("__com.example_release", json!({}));
    daemon.wait_for_log("its reply is dropped");
    assert!(is_enabled(&mut client, FINE));
}

#[test]
fn a_start_that_fails_is_tried_again_after_a_reload() {
    let daemon = troubled("");
    let drop_in = daemon.path("guestd.d/a.toml");
    std::fs::create_dir(daemon.path("guestd.d")).unwrap();
    std::fs::write(&drop_in, "[plugins.trouble]\nstart = \"error\"\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration was read again");
    let mut client = daemon.client();
    for _ in 0..2 {
        assert!(client.error(FINE, json!({})).ends_with("cannot be used: asked to fail at the start"));
        assert!(!is_enabled(&mut client, FINE));
    }
    std::fs::remove_file(&drop_in).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("another reload", || daemon.log().matches("the configuration was read again").count() > 1);
    assert_eq!(client.call(FINE, json!({})), "fine");
    assert!(is_enabled(&mut client, FINE));
}

#[test]
fn a_freeze_opens_nothing_that_a_list_closes_and_what_thaws_is_never_switched_off() {
    let blocked = "__com.example_fine-frozen";
    let daemon = troubled(&format!(
        "[commands]\nblock = [{blocked:?}, \"guest-ping\", \"guest-fsfreeze-status\"]\n[plugins]\nmax-faults = 1"
    ));
    let mut client = daemon.client();
    let refusal = |client: &mut Client, command: &str| {
        let error = client.error(command, json!({}));
        assert_eq!(error, format!("Command {command} has been disabled: the command is not allowed"));
    };
    for command in [blocked, "guest-ping", "guest-fsfreeze-status"] {
        refusal(&mut client, command);
    }
    client.call("__com.example_freeze", json!({}));
    refusal(&mut client, blocked);
    assert!(!is_enabled(&mut client, blocked));
    refusal(&mut client, "guest-file-open");
    // Those that qemu-ga exempts.
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    assert_eq!(client.call("guest-fsfreeze-status", json!({})), "frozen");
    assert!(is_enabled(&mut client, "guest-ping"));
    client.call("__com.example_thaw", json!({}));
    refusal(&mut client, "guest-ping");
}

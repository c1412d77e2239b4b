//! A moment without descriptors passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use guestd_daemon_tests::{Client, Daemon, stage};
use serde_json::json;

/// A daemon that is started after this line of a shell.
fn after(line: &str) -> Daemon {
    let daemon = Daemon::new();
    let wrapper = daemon.path("limited");
    let program = stage().join("sbin/guestd");
    fs::write(&wrapper, format!("#!/bin/sh\n{line}\nexec {} \"$@\"\n", program.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    daemon.program(&wrapper)
}

#[test]
fn the_daemon_has_all_that_it_may_have_and_programs_what_it_was_started_with() {
    let daemon = after("ulimit -Sn 300; ulimit -Hn 4000");
    let (script, hook) = (daemon.path("script"), daemon.path("hook"));
    fs::write(&script, "#!/bin/sh\nulimit -Sn\nulimit -Hn\nenv | grep -c GUESTD_NOFILE\ntrue\n").unwrap();
    fs::write(&hook, "#!/bin/sh\n${0%/*}/script > ${0%/*}/said-$1\n").unwrap();
    for path in [&script, &hook] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = "[plugins.script.commands.\"__com.example_x\"]\nprogram = \"DIR/script\"\noutput = \"text\"\n\
        [plugins.fsfreeze]\nhook = \"DIR/hook\"\ninclude = [\"/nonexistent\"]";
    let daemon = daemon.config(config).start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let own = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(own.split_whitespace().nth(3), Some("4000"), "{own}");
    let mut client = daemon.client();
    let expected = "300\n4000\n0\n";
    let pid = client.call("guest-exec", json!({"path": script, "capture-output": true}))["pid"].clone();
    daemon.wait_for("the program's end", || {
        let status = daemon.client().call("guest-exec-status", json!({"pid": pid}));
        status["exited"] == true && {
            assert_eq!(status["out-data"], "MzAwCjQwMDAKMAo=", "{expected:?} in base64");
            true
        }
    });
    let said = client.call("__com.example_x", json!({})).to_string();
    assert!(said.contains("300") && said.contains("4000"), "{said}");
    client.call("guest-fsfreeze-freeze", json!({}));
    client.ask("guest-fsfreeze-thaw", json!({}));
    assert_eq!(fs::read_to_string(daemon.path("said-freeze")).unwrap(), expected);
    // With fewer to be had, sets take fewer.
    let daemon = after("ulimit -n 512").start();
    daemon.client().call("guest-file-open", json!({"path": "/dev/null"}));
    daemon.wait_for_log("max-open is 512, but the limit on descriptors leaves room for 128 files");
    daemon.client().call("guest-exec", json!({"path": "true"}));
    daemon.wait_for_log("the limit on descriptors leaves room for 32 programs");
}

#[test]
fn sets_that_could_not_be_opened_without_descriptors_are_opened_when_there_are_some() {
    // Both limits: there are no more than these to be had.
    let daemon = after("ulimit -n 48").start();
    let mut client = daemon.client();
    client.call("guest-ping", json!({}));
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = open();
    let taken: Vec<Client> = (0..48).map(|_| daemon.client()).collect();
    daemon.wait_for_log("a client cannot be accepted: Too many open files");
    let calls = [
        ("guest-get-users", json!({})),
        ("guest-get-disks", json!({})),
        ("guest-network-get-interfaces", json!({})),
        ("guest-fsfreeze-status", json!({})),
    ];
    let shutdown = ("guest-shutdown", json!({"mode": "nonsense"}));
    for (command, arguments) in calls.iter().chain([&shutdown]) {
        for _ in 0..2 {
            let error = client.error(command, arguments.clone());
            assert!(error.contains("Too many open files"), "{command}: {error}");
        }
    }
    drop(taken);
    daemon.wait_for("descriptors", || open() <= before);
    for (command, arguments) in &calls {
        client.call(command, arguments.clone());
    }
    assert!(client.error(shutdown.0, shutdown.1.clone()).contains("mode is invalid"));
}

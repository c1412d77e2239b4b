//! What a file system that never answers takes with it: calls on it, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use guestd_daemon_tests::{Client, Daemon, DeadMount, private};
use nix::sys::signal::Signal;
use serde_json::json;

/// Sixty-four opens on it, each from a client of its own; none is answered before its deadline.
fn open_on(dead: &DeadMount, daemon: &Daemon) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..64).map(|_| daemon.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.request("guest-file-open", json!({"path": dead.path().join(format!("file-{number}"))}));
    }
    clients
}

#[test]
fn files_elsewhere_can_be_opened_by_all() {
    if !private::enter() {
        return;
    }
    let dead = DeadMount::new();
    let daemon = Daemon::new().config("[plugins.fsfreeze]\ninclude = [\"/nonexistent\"]").start();
    let mut client = daemon.client();
    let before = client.call("guest-file-open", json!({"path": "/proc/version"}));
    let mut stuck = open_on(&dead, &daemon);
    client.call("guest-fsfreeze-thaw", json!({}));
    client.call("guest-get-users", json!({}));
    let mut answered = 0;
    for client in &mut stuck {
        let error = client.reply()["error"]["desc"].as_str().unwrap().to_owned();
        answered += 1;
        assert!(
            error.contains("an open on its file system has been running for")
                || error.contains("has not finished within 10 s")
                || error.contains("could not be begun within 10 s"),
            "{error}"
        );
    }
    assert_eq!(answered, 64);
    // Three hang for good now. What is on other mounts does not mind, and a link that leads there is told.
    let link = daemon.path("link");
    symlink(dead.path(), &link).unwrap();
    for path in [dead.path().join("another"), link.join("another")] {
        let error = client.error("guest-file-open", json!({"path": path}));
        let words = format!(
            "failed to open file '{}' (mode: 'r'): an open on its file system has been running",
            path.display()
        );
        assert!(error.starts_with(&words), "{error}");
    }
    let handle = client.call("guest-file-open", json!({"path": daemon.path("log")}));
    assert!(client.call("guest-file-read", json!({"handle": handle}))["count"].as_u64().unwrap() > 0);
    assert!(client.call("guest-file-read", json!({"handle": before}))["count"].as_u64().unwrap() > 0);
    drop(dead);
    daemon.wait_for("the three to come back", || daemon.log().matches("its reply is dropped").count() == 3);
}

/// The issue of a script on a dead server: a reload looks at it, and must not make the daemon deaf.
#[test]
fn a_reload_that_hangs_does_not_keep_the_daemon_from_ending() {
    if !private::enter() {
        return;
    }
    let dead = DeadMount::new();
    let mut daemon = Daemon::new().start();
    let mut client = daemon.client();
    let command = "__com.example_x";
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    let configure = |program: &str| {
        let text = format!("[plugins.script.commands.{command:?}]\nprogram = {program:?}\n");
        fs::write(daemon.path("guestd.d/a.toml"), text).unwrap();
    };
    configure("/bin/true");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration was read again");
    client.ask(command, json!({}));
    configure(&dead.path().join("program").display().to_string());
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the set to hang", || hangs(&daemon));
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    // Once more, while it hangs; and what it says of that.
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the set 'script' has not read its configuration again within 10 s");
    daemon.wait_for_log("the set 'script' stays as it was: it still reads what was there the last time");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
}

/// Whether a thread of the daemon waits for an answer of FUSE: proc(5), /proc/PID/wchan.
fn hangs(daemon: &Daemon) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("wchan")).ok())
        .any(|place| place.contains("request_wait_answer"))
}

#[test]
fn files_of_the_configuration_that_hang_hold_up_nothing_but_the_reload() {
    if !private::enter() {
        return;
    }
    let dead = DeadMount::new();
    let mut daemon = Daemon::new().start();
    let mut client = daemon.client();
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    symlink(dead.path().join("file"), daemon.path("guestd.d/a.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the reader to hang", || hangs(&daemon));
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
}

#[test]
fn a_start_that_hangs_can_be_ended() {
    if !private::enter() {
        return;
    }
    let dead = DeadMount::new();
    let mut daemon = Daemon::new();
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    symlink(dead.path().join("file"), daemon.path("guestd.d/a.toml")).unwrap();
    daemon = daemon.start_without_socket();
    daemon.wait_for("the start to hang", || hangs(&daemon));
    daemon.signal(Signal::SIGTERM);
    assert!(!daemon.wait().success());
}

#[test]
fn one_users_home_directory_that_hangs_is_that_users_affair() {
    if !private::enter() {
        return;
    }
    let dead = DeadMount::new();
    let daemon = Daemon::new().config(
        "[plugins.account]\nrehearsal = \"DIR/guest\"\n[commands]\ndeadline = { guest-ssh-get-authorized-keys = 1 }",
    );
    let home = daemon.path("guest/home");
    fs::create_dir_all(home.join("well/.ssh")).unwrap();
    fs::create_dir_all(daemon.path("guest/etc")).unwrap();
    for (path, mode) in [("guest/home/well", 0o755), ("guest/home/well/.ssh", 0o700)] {
        fs::set_permissions(daemon.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(home.join("well/.ssh/authorized_keys"), "ssh-ed25519 AAAA well\n").unwrap();
    symlink(dead.path(), home.join("sick")).unwrap();
    let users = "well:x:0:0::/home/well:/bin/sh\nsick:x:4242:4242::/home/sick/home:/bin/sh\n";
    fs::write(daemon.path("guest/etc/passwd"), users).unwrap();
    let daemon = daemon.start();
    let mut client = daemon.client();
    let get = "guest-ssh-get-authorized-keys";
    assert!(client.error(get, json!({"username": "sick"})).contains("has not finished within 1 s"));
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let error = client.error(get, json!({"username": "sick"}));
        if error.contains("another command for this user has been running for") {
            break;
        }
        assert!(error.contains("has not finished within 1 s") && std::time::Instant::now() < until, "{error}");
    }
    assert_eq!(client.call(get, json!({"username": "well"})), json!({"keys": ["ssh-ed25519 AAAA well"]}));
    client.call("guest-set-user-password", json!({"username": "well", "password": "cGFzcw==", "crypted": false}));
}

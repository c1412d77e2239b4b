//! Programs that run as another user, which takes root.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use common::{Programs, call, is_root};
use serde_json::json;

/// Whether the tests run as root and there is the user nobody; says so otherwise.
fn is_possible() -> bool {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let possible = is_root() && users.contains("nobody:x:65534:65534:");
    if !possible {
        guestd_sdk::testkit::skip("only root can run programs as the user nobody (65534)");
    }
    possible
}

#[test]
fn a_program_runs_as_its_user_and_has_nothing_of_roots() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let secret = programs.path("secret");
    fs::write(&secret, "root's own").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o660)).unwrap();
    // A descriptor of the daemon's that lacks the mark to be closed.
    let open = fs::File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let lines = format!(
        "id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapBnd)' /proc/self/status | head -5; echo $HOME $USER $LOGNAME; \
         cat {} 2>&1 | sed 's/.*: //'; ls /proc/self/fd | wc -l; echo on >/dev/stdout; cat /dev/stdin",
        secret.display()
    );
    let kit = programs.command(&lines, json!({"user": "nobody", "output": "text"}));
    let answer = call(&kit, json!({})).unwrap();
    let mut lines = answer["text"].as_str().unwrap().lines();
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some("65534"); 3]);
    let status: Vec<String> =
        lines.by_ref().take(5).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let none = "0000000000000000";
    let id = "65534 65534 65534 65534";
    let expected = [
        format!("Uid: {id}"),
        format!("Gid: {id}"),
        "Groups: 65534".to_owned(),
        format!("CapPrm: {none}"),
        format!("CapEff: {none}"),
    ];
    assert_eq!(status, expected);
    assert!(lines.next().unwrap().ends_with(" nobody nobody"));
    assert_eq!(lines.next(), Some("Permission denied"));
    // Its three standard streams and the directory that ls reads.
    assert_eq!(lines.next(), Some("4"));
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some("on"), Some("{}"), None]);
}

#[test]
fn a_program_of_the_users_own_is_trusted_with_the_users_rights_alone() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let kit = programs.command("id -u", json!({"user": "nobody"}));
    let program = programs.path("program");
    chown(&program, Some(65534), None).unwrap();
    assert_eq!(call(&kit, json!({})), Ok(json!(65534)));
    let kit = programs.command("id -u", json!({}));
    chown(&program, Some(65534), None).unwrap();
    let path = program.display();
    let expected = format!("'{path}' cannot be run: '{path}' is owned by user 65534, who could change it");
    assert_eq!(call(&kit, json!({})), Err(expected));
}

#[test]
fn an_unknown_user_is_an_error_and_nothing_is_run() {
    let programs = Programs::new();
    let kit = programs.command("id -u", json!({"user": "no-such-user"}));
    assert_eq!(call(&kit, json!({})), Err("there is no user 'no-such-user'".to_owned()));
}

#[test]
fn nobody_but_root_can_become_another_user() {
    if guestd_sdk::testkit::ran_as_nobody("nobody_but_root_can_become_another_user") {
        return;
    }
    let programs = Programs::new();
    let kit = programs.command("id -u", json!({"user": "root"}));
    let expected = format!("'{}' cannot be run: Operation not permitted", programs.path("program").display());
    assert_eq!(call(&kit, json!({})), Err(expected));
}

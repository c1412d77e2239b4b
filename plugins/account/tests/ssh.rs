//! The ssh commands on files as users have them.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use common::{ALICE, Guest, access, is_root, text};
use serde_json::json;

#[test]
fn the_first_key_makes_directory_and_file_for_their_owner_alone() {
    let guest = Guest::new();
    assert_eq!(guest.add(&["ssh-ed25519 AAAA x", "k2", "k2"]), Ok(json!({})));
    assert_eq!(guest.text(), "ssh-ed25519 AAAA x\nk2\n");
    let (directory, file) = (access(&guest.ssh()), access(&guest.keys()));
    assert_eq!((directory.0, directory.2), (guest.uid, 0o700));
    assert_eq!((file.0, file.2), (guest.uid, 0o600));
    assert_eq!(guest.names(), ["authorized_keys"]);
    assert_eq!(guest.get(), Ok(json!({"keys": ["k2", "ssh-ed25519 AAAA x"]})));
}

#[test]
fn what_is_in_the_file_stays_unless_it_is_to_go() {
    let guest = Guest::new();
    guest.write_keys("# by hand\n  k1\nk2");
    guest.add(&["k1", "k3"]).unwrap();
    assert_eq!(guest.text(), "# by hand\n  k1\nk2\nk3\n");
    guest.remove(&["k1", "unknown"]).unwrap();
    assert_eq!(guest.text(), "# by hand\nk2\nk3\n");
    let reset = json!({"username": "alice", "keys": ["k9"], "reset": true});
    guest.kit.call("guest-ssh-add-authorized-keys", reset).unwrap();
    assert_eq!(guest.text(), "k9\n");
    let none = json!({"username": "alice", "keys": [], "reset": true});
    guest.kit.call("guest-ssh-add-authorized-keys", none).unwrap();
    assert_eq!(guest.get(), Ok(json!({"keys": []})));
}

#[test]
fn owner_group_and_mode_are_kept_but_nobody_else_may_write() {
    let guest = Guest::new();
    guest.write_keys("k1\n");
    guest.own(&guest.keys(), 0o666);
    let (owner, group, _) = access(&guest.keys());
    guest.add(&["k2"]).unwrap();
    assert_eq!(access(&guest.keys()), (owner, group, 0o644));
    if !is_root() {
        guestd_sdk::testkit::skip("only root can have files of others");
        return;
    }
    for (owner, group) in [(ALICE, 0), (0, 0), (0, ALICE), (0, 77)] {
        chown(guest.keys(), Some(owner), Some(group)).unwrap();
        let key = format!("{owner}:{group}");
        guest.add(&[&key]).unwrap();
        assert!(guest.text().ends_with(&format!("{key}\n")));
        // A user cannot give a file to groups of others.
        let expected = if owner == ALICE { ALICE } else { group };
        assert_eq!(access(&guest.keys()), (owner, expected, 0o644), "{key}");
    }
}

#[test]
fn what_is_right_already_is_not_written() {
    let guest = Guest::new();
    guest.write_keys("k1");
    let before = fs::metadata(guest.keys()).unwrap();
    guest.add(&["k1", ""]).unwrap();
    guest.remove(&["k2", ""]).unwrap();
    let after = fs::metadata(guest.keys()).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    assert_eq!(guest.text(), "k1");
}

#[test]
fn what_does_not_exist_is_missing_only_where_it_is_asked_for() {
    let guest = Guest::new();
    let missing = |path: std::path::PathBuf| {
        let path = path.display();
        Err(format!("failed to read '{path}': Failed to open file “{path}”: No such file or directory"))
    };
    assert_eq!(guest.get(), missing(guest.keys()));
    assert_eq!(guest.remove(&["k"]), Ok(json!({})));
    assert!(!guest.ssh().exists());
    let ghost = |command, keys: Option<&str>| {
        let arguments = match keys {
            Some(key) => json!({"username": "ghost", "keys": [key]}),
            None => json!({"username": "ghost"}),
        };
        guest.kit.call(command, arguments).map_err(text)
    };
    let home = guest.path("home/ghost");
    assert_eq!(ghost("guest-ssh-get-authorized-keys", None), missing(home.join(".ssh/authorized_keys")));
    assert_eq!(ghost("guest-ssh-remove-authorized-keys", Some("k")), Ok(json!({})));
    let error = format!("failed to create directory '{}/.ssh': No such file or directory", home.display());
    assert_eq!(ghost("guest-ssh-add-authorized-keys", Some("k")), Err(error));
}

#[test]
fn an_empty_list_makes_the_file_as_qemu_ga_does() {
    let guest = Guest::new();
    guest.add(&[]).unwrap();
    assert_eq!(guest.get(), Ok(json!({"keys": []})));
}

#[test]
fn users_and_keys_that_are_none_are_refused_before_anything_is_done() {
    let guest = Guest::new();
    for name in ["no-such-user", "a\nb", "a:b", "", "%s%n", "alice\0"] {
        let lookup = format!("failed to lookup user '{name}': there is no such user");
        for command in ["guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys"] {
            let error = guest.kit.call(command, json!({"username": name, "keys": ["", " #x"]})).unwrap_err();
            assert_eq!(error.desc(), lookup);
            // As in qemu-ga the keys are judged before the user is looked up.
            let error = guest.kit.call(command, json!({"username": name, "keys": ["k", "#x"]})).unwrap_err();
            assert_eq!(error.desc(), "invalid OpenSSH public key: '#x'");
        }
        let error = guest.kit.call("guest-ssh-get-authorized-keys", json!({"username": name})).unwrap_err();
        assert_eq!(error.desc(), lookup);
    }
    for key in ["#x", "a\nb", "a\n"] {
        let expected = Err(format!("invalid OpenSSH public key: '{key}'"));
        assert_eq!(guest.add(&["good", key]), expected);
        assert_eq!(guest.remove(&["good", key]), expected);
    }
    assert!(!guest.ssh().exists());
}

#[test]
fn a_change_that_comes_too_late_does_not_happen() {
    let guest = Guest::new();
    guest.write_keys("k1\n");
    fs::write(guest.ssh().join("big"), "").unwrap();
    let many: Vec<String> = (0..50_000).map(|number| format!("key-{number}")).collect();
    let arguments = json!({"username": "alice", "keys": many}).to_string();
    let error = guest.kit.call_raw("guest-ssh-add-authorized-keys", &arguments, 1).unwrap_err();
    assert!(error.desc().ends_with(": Connection timed out"), "{}", error.desc());
    assert_eq!(guest.text(), "k1\n");
    assert_eq!(guest.names(), ["authorized_keys", "big"]);
}

#[test]
fn many_clients_at_once_lose_nothing() {
    let guest = Guest::in_memory();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let guest = &guest;
            scope.spawn(move || {
                for number in 0..25 {
                    guest.add(&[&format!("key-{client}-{number}")]).unwrap();
                }
            });
        }
    });
    assert_eq!(guest.text().lines().count(), 100);
}

#[test]
fn a_home_of_roots_gets_a_directory_of_the_users() {
    if !is_root() {
        guestd_sdk::testkit::skip("only root can have files of others");
        return;
    }
    let guest = Guest::new();
    chown(guest.home(), Some(0), Some(0)).unwrap();
    guest.add(&["k"]).unwrap();
    assert_eq!(access(&guest.ssh()), (ALICE, ALICE, 0o700));
    assert_eq!(access(&guest.keys()), (ALICE, ALICE, 0o600));
    chown(guest.ssh(), Some(0), Some(0)).unwrap();
    guest.own(&guest.keys(), 0o644);
    std::os::unix::fs::chown(guest.ssh(), Some(0), Some(ALICE)).unwrap();
    fs::set_permissions(guest.ssh(), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    guest.add(&["k2"]).unwrap();
    assert_eq!(guest.text(), "k\nk2\n");
    assert_eq!(access(&guest.keys()), (ALICE, ALICE, 0o644));
}

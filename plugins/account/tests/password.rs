//! `guest-set-user-password`, with passwords that are only written down.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;

use common::{Guest, text};
use guestd_sdk::testkit::TestKit;
use serde_json::{Value, json};

fn set(guest: &Guest, username: &str, password: &str, crypted: bool) -> Result<Value, String> {
    let arguments = json!({"username": username, "password": password, "crypted": crypted});
    guest.kit.call("guest-set-user-password", arguments).map_err(text)
}

#[test]
fn a_password_reaches_whoever_sets_it_as_it_was_meant() {
    let guest = Guest::new();
    assert_eq!(set(&guest, "alice", "cGE6cw==", false), Ok(json!({})));
    assert_eq!(set(&guest, "bob", "JDYkYSRi", true), Ok(json!({})));
    assert_eq!(set(&guest, "é", "", false), Ok(json!({})));
    let record = fs::read_to_string(guest.path("passwords")).unwrap();
    assert_eq!(record, "plain alice:pa:s\ncrypted bob:$6$a$b\nplain é:\n");
    let log = guest.kit.log();
    assert!(log.iter().any(|(_, line)| line == "the password of 'alice' was set"), "{log:?}");
    assert!(log.iter().all(|(_, line)| !line.contains("pa:s")), "{log:?}");
}

#[test]
fn what_cannot_be_set_is_refused_in_qemu_gas_order() {
    let guest = Guest::new();
    for (username, password, crypted, expected) in [
        ("a:b", "!!", false, "Base64 data contains invalid characters"),
        ("a:b", "cHc", false, "Base64 data is incomplete"),
        ("a:b", "Cg==", false, "forbidden characters in raw password"),
        ("a:b", "YQpi", true, "forbidden characters in raw password"),
        ("alice", "YQBi", false, "forbidden characters in raw password"),
        ("a:b", "cHc=", false, "forbidden characters in username"),
        ("a\nb", "cHc=", false, "forbidden characters in username"),
        ("a\0b", "cHc=", false, "forbidden characters in username"),
        ("alice", "YTpi", true, "forbidden characters in crypted password"),
        ("alice", "YSBi", true, "forbidden characters in crypted password"),
        ("alice", "w6k=", true, "forbidden characters in crypted password"),
    ] {
        assert_eq!(set(&guest, username, password, crypted), Err(expected.to_owned()), "{username:?} {password}");
    }
    assert!(!guest.path("passwords").exists(), "nothing was set");
}

#[test]
fn the_set_does_not_start_in_a_test_that_would_act_on_the_machine() {
    let error = TestKit::start(guestd_account::plugin_module()).map(|_| ()).unwrap_err();
    assert!(error.desc().contains("rehearsal"), "{}", error.desc());
}

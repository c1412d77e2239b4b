//! The set `core` in the sdk's test kit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use guestd_sdk::abi::reply_flags;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::json;

fn kit() -> TestKit {
    let facts = json!({"reported-version": "10.2.2"});
    TestKit::start_with(guestd_core::plugin_module(), Settings { facts, ..Settings::default() }).unwrap()
}

#[test]
fn sync_returns_the_id_and_the_delimited_form_says_so() {
    let kit = kit();
    assert_eq!(kit.call("guest-sync", json!({"id": i64::MIN})).unwrap(), json!(i64::MIN));
    let reply = kit.call_raw("guest-sync-delimited", r#"{"id":-7}"#, 0).unwrap();
    assert_eq!((reply.body.as_slice(), reply.flags), (b"-7".as_slice(), reply_flags::DELIMITED));
    let error = kit.call("guest-sync-delimited", json!({"id": "x"})).unwrap_err();
    assert_eq!(error.desc(), "Invalid parameter type for 'id', expected: integer");
}

#[test]
fn ping_answers_nothing_and_takes_nothing() {
    let kit = kit();
    assert_eq!(kit.call("guest-ping", json!({})).unwrap(), json!({}));
    assert_eq!(kit.call("guest-ping", json!({"x": 1})).unwrap_err().desc(), "Parameter 'x' is unexpected");
}

#[test]
fn info_lists_commands_and_is_made_anew_when_they_change() {
    let kit = kit();
    let info = kit.call("guest-info", json!({})).unwrap();
    assert_eq!(info["version"], "10.2.2");
    let ping = json!({"name": "guest-ping", "enabled": true, "success-response": true});
    assert!(info["supported_commands"].as_array().unwrap().contains(&ping), "{info}");
    kit.commands_changed();
    assert_eq!(kit.call("guest-info", json!({})).unwrap(), info);
}

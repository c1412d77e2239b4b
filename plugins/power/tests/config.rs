//! The section `[plugins.power]`, and the guard that keeps tests from the machine they run on.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Guest, start};
use serde_json::json;

#[test]
fn what_is_unknown_or_empty_is_an_error() {
    let guest = Guest::new();
    for (config, expected) in [
        (json!({"shutdown-means": ["magic"]}), "unknown variant `magic`"),
        (json!({"suspend-means": ["reboot-syscall"]}), "unknown variant `reboot-syscall`"),
        (json!({"shutdown-mean": []}), "unknown field `shutdown-mean`"),
        (json!({"shutdown-means": "systemctl"}), "invalid type"),
        (json!({"shutdown-means": []}), "shutdown-means is empty"),
        (json!({"suspend-means": []}), "suspend-means is empty"),
    ] {
        let error = start(guest.config(config.clone()), json!({})).err().unwrap();
        assert!(error.desc().starts_with("configuration: ") && error.desc().contains(expected), "{config}: {error:?}");
    }
}

#[test]
fn under_the_test_kit_the_real_machine_is_out_of_reach() {
    for facts in [json!({}), json!({"version": ""})] {
        let error = start(json!({}), facts).err().unwrap();
        assert_eq!(error.desc(), "a test must not act on its own machine: configure `rehearsal`");
    }
}

#[test]
fn a_rehearsal_says_so() {
    let guest = Guest::new();
    let log = guest.kit().log();
    let expected = format!("only rehearses in {}: nothing is shut down or suspended", guest.root().display());
    assert!(log.iter().any(|(level, line)| *level == guestd_sdk::LogLevel::Warn && *line == expected), "{log:?}");
}

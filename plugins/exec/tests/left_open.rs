//! A daemon that keeps the pipes of the program that started it. One test only: it counts this process' descriptors.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::Path;

use common::{kit, sh, text, until};

#[test]
fn a_daemon_that_keeps_the_output_open_is_not_waited_for_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (go, done) = (directory.path().join("go"), directory.path().join("done"));
    let kit = kit();
    // It writes when nobody listens any more, and more than a pipe holds.
    let daemon = format!(
        "(until test -e {go}; do sleep 0.02; done; head -c 300000 /dev/zero && echo >{done}) & echo $!",
        go = go.display(),
        done = done.display()
    );
    // The watcher's own descriptor is there to stay.
    sh(&kit, "true");
    let before = common::descriptors();
    let result = sh(&kit, &daemon);
    let pid = text(&result, "out-data");
    assert!(Path::new("/proc").join(pid.trim()).exists());
    assert!(!done.exists());
    std::fs::write(go, "").unwrap();
    until("the daemon has written all", || done.exists());
    until("its pipes are closed", || common::descriptors() == before);
}

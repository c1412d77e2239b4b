//! Tests that cannot run say so, aloud.

use std::io::Write;

use crate::{Error, Vm, VmBuilder};

/// Prints a line past the test runner's capture, so that it is seen of passing tests too.
pub fn note(text: &str) {
    // Nothing sensible can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says that a test, or a part of it, does not run here. With `GUESTD_REQUIRE_VM=1` it fails instead.
///
/// # Panics
///
/// With `GUESTD_REQUIRE_VM=1` in the environment.
pub fn skip(reason: &str) {
    assert!(std::env::var("GUESTD_REQUIRE_VM").as_deref() != Ok("1"), "GUESTD_REQUIRE_VM=1, but: {reason}");
    note(&format!("SKIPPED: {reason}"));
}

/// Boots, or skips when this machine lacks something, or fails.
///
/// # Panics
///
/// If the machine should boot and does not.
#[must_use]
pub fn boot_or_skip(builder: VmBuilder) -> Option<Vm> {
    match builder.boot() {
        Ok(vm) => Some(vm),
        Err(Error::Unavailable(reason)) => {
            skip(&reason);
            None
        }
        #[expect(clippy::panic, reason = "this is where a test fails")]
        Err(error) => panic!("the virtual machine did not come up: {error}"),
    }
}

//! Tests that cannot run say so, aloud.

use guestd_sdk::testkit::skip;

use crate::{Error, Vm, VmBuilder};

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

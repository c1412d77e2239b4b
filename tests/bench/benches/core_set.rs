//! The boundary: a command of the set `core`, in process, through the sdk's test kit.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use divan::Bencher;
use guestd_sdk::testkit::TestKit;

fn main() {
    divan::main();
}

#[divan::bench]
fn boundary_call_of_a_ping(bencher: Bencher<'_, '_>) {
    let kit = TestKit::start(guestd_core::plugin_module()).unwrap();
    bencher.bench_local(|| kit.call_raw("guest-ping", "{}", 0).unwrap());
}

#[divan::bench]
fn boundary_call_of_info(bencher: Bencher<'_, '_>) {
    let kit = TestKit::start(guestd_core::plugin_module()).unwrap();
    bencher.bench_local(|| kit.call_raw("guest-info", "{}", 0).unwrap());
}

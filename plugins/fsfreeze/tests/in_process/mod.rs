//! The set in the sdk's test kit, with a double of the kernel: these tests can freeze nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod commands;
mod fake;
mod guests;
mod hooks;
mod lease;
mod stacking;
mod takeover;

pub use fake::{started, surroundings};

//! guestd: a protocol host for QEMU guest agent commands that live in plugins.
//!
//! The way of a request: [`channel`] reads bytes, [`wire`] makes requests of them, [`policy`] judges, [`dispatch`]
//! routes to a set of the [`registry`] and watches its deadline, [`wire`] frames the reply, [`channel`] writes it. What
//! plugins ask of the daemon is in [`services`], what all threads share in [`core`], what outlives the daemon in
//! [`state`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod answers;
pub mod channel;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod dispatch;
pub mod logging;
pub mod memory;
pub mod policy;
mod printable;
pub mod registry;
pub mod services;
pub mod state;
pub mod wire;
pub mod workers;

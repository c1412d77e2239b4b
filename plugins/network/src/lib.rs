#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! The command set `network`: the guest's interfaces, addresses and routes. It starts no program.
//!
//! * [`types`] is what comes out of the commands,
//! * `interfaces` and `routes` are the commands,
//! * `netlink` asks the kernel.

mod config;
mod interfaces;
mod netlink;
mod proc_file;
mod routes;
mod text;
pub mod types;

use std::sync::{Arc, Mutex, PoisonError};

use guestd_sdk::prelude::*;

use config::Exclude;
use interfaces::{Known, statistics};
use proc_file::ProcFile;
use routes::{ipv4, ipv6};

/// The set's state.
pub struct Network {
    exclude: Mutex<Arc<Exclude>>,
    /// What is known of the interfaces, while no call uses it.
    known: Mutex<Option<Known>>,
    statistics_table: ProcFile,
    ipv4_table: ProcFile,
    ipv6_table: ProcFile,
}

impl Network {
    fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        Ok(Self {
            exclude: Mutex::new(Arc::new(Exclude::read(daemon)?)),
            known: Mutex::new(None),
            statistics_table: ProcFile::new(statistics::TABLE),
            ipv4_table: ProcFile::new(ipv4::TABLE),
            ipv6_table: ProcFile::new(ipv6::TABLE),
        })
    }

    fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let exclude = Arc::new(Exclude::read(ctx)?);
        *ctx.state.exclude.lock().unwrap_or_else(PoisonError::into_inner) = exclude;
        Ok(())
    }

    fn exclude(&self) -> Arc<Exclude> {
        Arc::clone(&self.exclude.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Taken away, so that no call waits for another that hangs; a second one begins with nothing.
    fn take_known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep_known(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

// Neither is INSTANT: the kernel's lock of all interfaces may be held by a driver that hangs, and a table of routes may
// be long.
guestd_sdk::plugin! {
    name: "network",
    vendor: "guestd",
    summary: "The guest's network interfaces, addresses and routes",
    state: Network = Network::start,
    reload: Network::reload,
    commands: {
        "guest-network-get-interfaces" => interfaces::interfaces,
        "guest-network-get-route" => routes::routes,
    }
}

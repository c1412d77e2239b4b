#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! The command set `network`: the guest's interfaces, addresses and routes. It starts no program.
//!
//! * [`types`] is what comes out of the commands,
//! * `interfaces` and `routes` are the commands,
//! * `netlink` asks the kernel.

mod config;
mod interfaces;
mod netlink;
mod routes;
mod text;
pub mod types;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use guestd_sdk::prelude::*;

use config::Exclude;
use interfaces::default_route::Ipv4Table;
use netlink::Netlink;

/// The set's state.
pub struct Network {
    exclude: Mutex<Arc<Exclude>>,
    /// A socket that nobody uses now.
    idle: Mutex<Option<Netlink>>,
    ipv4_table: Ipv4Table,
}

impl Network {
    fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let exclude = Mutex::new(Arc::new(Exclude::read(daemon)?));
        Ok(Self { exclude, idle: Mutex::new(None), ipv4_table: Ipv4Table::default() })
    }

    fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let exclude = Arc::new(Exclude::read(ctx)?);
        *ctx.state.exclude.lock().unwrap_or_else(PoisonError::into_inner) = exclude;
        Ok(())
    }

    fn exclude(&self) -> Arc<Exclude> {
        Arc::clone(&self.exclude.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A socket to the kernel; one that failed in the middle of an answer is not given back by [`Network::keep`].
    fn netlink(&self) -> io::Result<Netlink> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        idle.map_or_else(Netlink::open, Ok)
    }

    fn keep(&self, netlink: Netlink) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(netlink);
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

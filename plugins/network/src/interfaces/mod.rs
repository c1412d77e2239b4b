//! `guest-network-get-interfaces`.
//!
//! * `links` asks the kernel for the interfaces, whenever they have changed, and `addresses` for their addresses,
//! * `statistics` reads their counters,
//! * `list` makes the answer of it all.

mod addresses;
mod links;
mod list;
pub(crate) mod statistics;

use std::io;

use guestd_sdk::prelude::*;

use crate::Network;
use crate::netlink::Netlink;
use crate::netlink::changes::Changes;
use crate::types::Interface;
use links::Link;

/// The interfaces, as the kernel said last.
pub(crate) struct Known {
    netlink: Netlink,
    /// From before the kernel was asked.
    changes: Changes,
    links: Vec<Link>,
}

/// `guest-network-get-interfaces`: the interfaces in the kernel's order, loopback first, and then the labels of addresses.
/// Interfaces that `exclude` names are left out.
pub fn interfaces(ctx: &Ctx<Network>, _: NoArgs) -> Result<Vec<Interface>, CommandError> {
    let statistics_table = &ctx.state.statistics_table;
    let failed = |error: io::Error| CommandError::os("failed to list network interfaces", &error);
    let mut known = match ctx.state.take_known().filter(|known| known.changes.is_quiet()) {
        Some(known) => known,
        None => Known::ask().map_err(failed)?,
    };
    let addresses = addresses::all(&mut known.netlink).map_err(failed)?;
    // Without /proc there are none.
    let statistics_text = statistics_table.read().unwrap_or_default();
    let statistics = statistics::by_name(&statistics_text);
    let list = list::interfaces(&known.links, &addresses, &statistics, &ctx.state.exclude());
    ctx.state.keep_known(known);
    Ok(list)
}

impl Known {
    fn ask() -> io::Result<Self> {
        let mut netlink = Netlink::open()?;
        let changes = Changes::from_now_on()?;
        let links = links::all(&mut netlink)?;
        Ok(Self { netlink, changes, links })
    }
}

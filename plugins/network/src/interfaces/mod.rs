//! `guest-network-get-interfaces`.
//!
//! * `links` and `addresses` ask the kernel for interfaces and addresses,
//! * `default_route` for the interfaces that lead out,
//! * `list` makes the answer of it all.

mod addresses;
pub(crate) mod default_route;
mod links;
mod list;

use std::io;

use guestd_sdk::prelude::*;

use crate::Network;
use crate::types::Interface;

/// `guest-network-get-interfaces`: the interfaces that lead to a default route first, then the physical ones, then the
/// others; otherwise in the kernel's order. Interfaces that `exclude` names are left out.
pub fn interfaces(ctx: &Ctx<Network>, _: NoArgs) -> Result<Vec<Interface>, CommandError> {
    let failed = |error: io::Error| CommandError::os("failed to list network interfaces", &error);
    let mut netlink = ctx.state.netlink().map_err(failed)?;
    let links = links::all(&mut netlink).map_err(failed)?;
    let addresses = addresses::all(&mut netlink).map_err(failed)?;
    let default_routes = default_route::interfaces(&mut netlink, &ctx.state.ipv4_table);
    ctx.state.keep(netlink);
    Ok(list::interfaces(links, addresses, &default_routes, &ctx.state.exclude()))
}

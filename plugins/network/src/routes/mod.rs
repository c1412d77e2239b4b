//! `guest-network-get-route`.

pub(crate) mod ipv4;
pub(crate) mod ipv6;

use std::io;

use guestd_sdk::prelude::*;

use crate::Network;
use crate::proc_file::ProcFile;
use crate::types::Route;

/// `guest-network-get-route`: the routes of IPv4's main table and those of all tables of IPv6, in the kernel's order. A
/// guest without IPv6 has none of those.
pub fn routes(ctx: &Ctx<Network>, _: NoArgs) -> Result<Vec<Route>, CommandError> {
    let Network { ipv4_table, ipv6_table, .. } = &ctx.state;
    let failed =
        |table: &ProcFile, error: &io::Error| CommandError::os(format_args!("open(\"{}\")", table.path()), error);
    let table = ipv4_table.read().map_err(|error| failed(ipv4_table, &error))?;
    let mut routes = ipv4::routes(&table);
    match ipv6_table.read() {
        Ok(table) => routes.extend(ipv6::routes(&table)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(ipv6_table, &error)),
    }
    Ok(routes)
}

/// The lines of a table.
fn lines(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|&byte| byte == b'\n')
}

//! `guest-network-get-route`.

pub(crate) mod ipv4;
mod ipv6;

use std::fs;
use std::io;

use guestd_sdk::prelude::*;

use crate::Network;
use crate::types::Route;

/// `guest-network-get-route`: the routes of IPv4's main table and those of all tables of IPv6, in the kernel's order. A
/// guest without IPv6 has none of those.
pub fn routes(_: &Ctx<Network>, _: NoArgs) -> Result<Vec<Route>, CommandError> {
    let failed = |path: &str, error: &io::Error| CommandError::os(format_args!("open(\"{path}\")"), error);
    let table = fs::read(ipv4::TABLE).map_err(|error| failed(ipv4::TABLE, &error))?;
    let mut routes = ipv4::routes(&table);
    match fs::read(ipv6::TABLE) {
        Ok(table) => routes.extend(ipv6::routes(&table)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(ipv6::TABLE, &error)),
    }
    Ok(routes)
}

/// The lines of a table; what is no text is passed over.
fn lines(table: &[u8]) -> impl Iterator<Item = &str> {
    table.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

//! The interfaces by which the guest reaches the rest of the world. What cannot be found out is passed over: it is
//! about the order of the answer only.
//!
//! A guest may have a million routes, so neither table is read as a whole.

use crate::netlink::Netlink;
use crate::netlink::message::{Attributes, Kind, Message, attribute, u32_at};
use crate::proc_file::ProcFile;
use crate::routes::ipv4;

/// An interface, by what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outward {
    /// Its name.
    Name(String),
    /// Its index.
    Index(u32),
}

/// The size of `struct rtmsg` in bytes.
const HEAD: usize = 12;

const AF_INET6: u8 = 10;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
/// `RTM_F_FIB_MATCH`: the route itself, not what is made of it for the destination.
const FIB_MATCH: u32 = 0x2000;
const RTN_UNICAST: u8 = 1;

/// The first of all global addresses, 2000::, which nobody has (RFC 4291): only a default route leads to it.
const SOMEWHERE: [u8; 16] = [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The interfaces of the default routes, those of IPv4 first and each by its metric.
pub(super) fn interfaces(kernel: &mut Netlink, ipv4_table: &ProcFile) -> Vec<Outward> {
    // The kernel sorts it by destination, the default routes first and the best of them before the others, so that the
    // first 4 KiB of 128 a line are enough.
    let head = ipv4_table.read_head().unwrap_or_default();
    let mut found: Vec<Outward> = ipv4::default_interfaces(&head).into_iter().map(Outward::Name).collect();
    let head = [&[AF_INET6, 128, 0, 0, 0, 0, 0, 0], FIB_MATCH.to_ne_bytes().as_slice()].concat();
    let request = [head, attribute(RTA_DST, &SOMEWHERE)].concat();
    let ipv6 = kernel.get(Kind::Route, &request, |message| Some(ipv6_interfaces(message)));
    found.extend(ipv6.ok().flatten().unwrap_or_default().into_iter().map(Outward::Index));
    found
}

/// The interfaces of the route that was found, if that is a default route.
fn ipv6_interfaces(message: &Message<'_>) -> Vec<u32> {
    let Some((head, attributes)) = message.parts::<HEAD>(Kind::Route) else { return Vec::new() };
    let [family, prefix, .., kind, _, _, _, _] = head;
    // 2000::/3, all global addresses, is what some call their default route.
    if family != AF_INET6 || prefix > 3 || kind != RTN_UNICAST {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (kind, value) in attributes {
        match kind {
            RTA_OIF => found.extend(u32_at(value, 0)),
            RTA_MULTIPATH => found.extend(next_hops(value)),
            _ => {}
        }
    }
    found
}

/// The interfaces of a list of `struct rtnexthop`, which is laid out as attributes are: a length and the rest.
fn next_hops(list: &[u8]) -> impl Iterator<Item = u32> {
    Attributes(list).filter_map(|(_, hop)| u32_at(hop, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prefix: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u32> {
        let head = [AF_INET6, prefix, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0];
        ipv6_interfaces(&Message::answer(Kind::Route, &[head.as_slice(), &attributes.concat()].concat()))
    }

    #[test]
    fn the_interfaces_of_a_default_route_are_found() {
        let hop =
            |interface: u32| attribute(0, &[&interface.to_ne_bytes(), attribute(5, &[0; 16]).as_slice()].concat());
        let one = attribute(RTA_OIF, &7_u32.to_ne_bytes());
        assert_eq!(read(0, RTN_UNICAST, std::slice::from_ref(&one)), [7]);
        assert_eq!(read(0, RTN_UNICAST, &[attribute(RTA_MULTIPATH, &[hop(3), hop(4)].concat())]), [3, 4]);
        assert!(read(64, RTN_UNICAST, std::slice::from_ref(&one)).is_empty());
        // Unreachable.
        assert!(read(0, 7, &[one]).is_empty());
        assert!(read(0, RTN_UNICAST, &[attribute(RTA_OIF, &[1; 3]), attribute(RTA_MULTIPATH, &[8, 0, 0])]).is_empty());
    }
}

//! The guest's interfaces: `RTM_GETLINK` of rtnetlink(7) and the kernel's `linux/if_link.h`.

use std::io;

use crate::netlink::Netlink;
use crate::netlink::message::{Attributes, Kind, Message, attribute, u32_at};
use crate::types::Statistics;

/// The size of `struct ifinfomsg` in bytes.
const HEAD: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_STATS64: u16 = 23;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PARENT_DEV_NAME: u16 = 56;

/// Leaves out the counters of IPv6, which cost more than all the rest.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const IFF_LOOPBACK: u32 = 8;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// The first six bytes.
    pub hardware_address: [u8; 6],
    pub statistics: Option<Statistics>,
    /// It stands for a device, and was not made by software of the guest.
    pub is_physical: bool,
}

/// All interfaces, in the kernel's order.
pub(super) fn all(kernel: &mut Netlink) -> io::Result<Vec<Link>> {
    let request = [[0; HEAD].as_slice(), &attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())].concat();
    kernel.dump(Kind::Link, &request, link)
}

fn link(message: &Message<'_>) -> Option<Link> {
    let (head, attributes) = message.parts::<HEAD>(Kind::Link)?;
    let (index, flags) = (u32_at(&head, 4)?, u32_at(&head, 8)?);
    let (mut name, mut hardware_address, mut statistics) = (None, [0; 6], None);
    let (mut was_made, mut has_device) = (false, false);
    for (kind, value) in attributes {
        match kind {
            IFLA_IFNAME => name = text(value),
            IFLA_ADDRESS => hardware_address.iter_mut().zip(value).for_each(|(to, from)| *to = *from),
            IFLA_STATS64 => statistics = statistics_of(value),
            // Every driver that makes interfaces by request has a kind: bridge, veth, vlan, tun, dummy and so on.
            IFLA_LINKINFO => was_made |= Attributes(value).any(|(kind, _)| kind == IFLA_INFO_KIND),
            IFLA_PARENT_DEV_NAME => has_device = true,
            _ => {}
        }
    }
    let is_physical = has_device || (!was_made && flags & IFF_LOOPBACK == 0);
    Some(Link { index, name: name?, hardware_address, statistics, is_physical })
}

/// A string attribute, which ends with a zero byte.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let text = value.split(|&byte| byte == 0).next().filter(|text| !text.is_empty())?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The counters of `struct rtnl_link_stats64`, as `/proc/net/dev` puts them together.
fn statistics_of(value: &[u8]) -> Option<Statistics> {
    let counter = |place: usize| Some(u64::from_ne_bytes(*value.get(8 * place..)?.first_chunk()?));
    Some(Statistics {
        rx_packets: counter(0)?,
        tx_packets: counter(1)?,
        rx_bytes: counter(2)?,
        tx_bytes: counter(3)?,
        rx_errs: counter(4)?,
        tx_errs: counter(5)?,
        // What the device had no buffer for is counted apart (`rx_missed_errors`).
        rx_dropped: counter(6)?.saturating_add(counter(15)?),
        tx_dropped: counter(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; HEAD];
        body[4..8].copy_from_slice(&5_u32.to_ne_bytes());
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        body.extend(attributes.concat());
        body
    }

    fn read(body: &[u8]) -> Option<Link> {
        link(&Message::answer(Kind::Link, body))
    }

    fn name() -> Vec<u8> {
        attribute(IFLA_IFNAME, b"eth0\0")
    }

    #[test]
    fn a_link_is_read() {
        let counters: Vec<u8> = (1..=24_u64).flat_map(u64::to_ne_bytes).collect();
        let address = attribute(IFLA_ADDRESS, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let found = read(&body(0, &[name(), address, attribute(IFLA_STATS64, &counters)])).unwrap();
        let expected = Link {
            index: 5,
            name: "eth0".to_owned(),
            hardware_address: [1, 2, 3, 4, 5, 6],
            statistics: Some(Statistics {
                rx_packets: 1,
                tx_packets: 2,
                rx_bytes: 3,
                tx_bytes: 4,
                rx_errs: 5,
                tx_errs: 6,
                rx_dropped: 7 + 16,
                tx_dropped: 8,
            }),
            is_physical: true,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_software_made_is_not_physical() {
        let made = || attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0"));
        let device = attribute(IFLA_PARENT_DEV_NAME, b"virtio0\0");
        for (flags, attributes, expected) in [
            (0, vec![name()], true),
            (0, vec![name(), made()], false),
            (0, vec![name(), attribute(IFLA_LINKINFO, b"")], true),
            (0, vec![name(), made(), device], true),
            (IFF_LOOPBACK, vec![name()], false),
        ] {
            assert_eq!(read(&body(flags, &attributes)).unwrap().is_physical, expected, "{attributes:?}");
        }
    }

    #[test]
    fn what_is_too_short_is_left_out() {
        let full = body(0, &[name(), attribute(IFLA_ADDRESS, &[1, 2, 3]), attribute(IFLA_STATS64, &[0; 127])]);
        let found = read(&full).unwrap();
        assert_eq!((found.hardware_address, found.statistics), ([1, 2, 3, 0, 0, 0], None));
        for end in 0..full.len() {
            assert_eq!(read(&full[..end]).is_some(), end >= HEAD + 9, "{end}");
        }
        assert_eq!(read(&body(0, &[attribute(IFLA_IFNAME, b"\0")])), None);
        assert_eq!(read(&body(0, &[attribute(IFLA_IFNAME, b"a\xFF")])).unwrap().name, "a\u{FFFD}");
    }
}

//! The guest's interfaces: `RTM_GETLINK` of rtnetlink(7) and the kernel's `linux/if_link.h`.

use std::io;

use crate::netlink::Netlink;
use crate::netlink::message::{Attributes, Kind, Message, attribute, u32_at};

/// The size of `struct ifinfomsg` in bytes.
const HEAD: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PARENT_DEV_NAME: u16 = 56;

/// Leaves out the counters of IPv6.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const IFF_LOOPBACK: u32 = 8;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// The first six bytes.
    pub hardware_address: [u8; 6],
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
    let (mut name, mut hardware_address) = (None, [0; 6]);
    let (mut was_made, mut has_device) = (false, false);
    for (kind, value) in attributes {
        match kind {
            IFLA_IFNAME => name = text(value),
            IFLA_ADDRESS => hardware_address.iter_mut().zip(value).for_each(|(to, from)| *to = *from),
            // Every driver that makes interfaces by request has a kind: bridge, veth, vlan, tun, dummy and so on.
            IFLA_LINKINFO => was_made |= Attributes(value).any(|(kind, _)| kind == IFLA_INFO_KIND),
            IFLA_PARENT_DEV_NAME => has_device = true,
            _ => {}
        }
    }
    let is_physical = has_device || (!was_made && flags & IFF_LOOPBACK == 0);
    Some(Link { index, name: name?, hardware_address, is_physical })
}

/// A string attribute, which ends with a zero byte.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let text = value.split(|&byte| byte == 0).next().filter(|text| !text.is_empty())?;
    Some(String::from_utf8_lossy(text).into_owned())
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
        let address = attribute(IFLA_ADDRESS, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let found = read(&body(0, &[name(), address])).unwrap();
        let expected =
            Link { index: 5, name: "eth0".to_owned(), hardware_address: [1, 2, 3, 4, 5, 6], is_physical: true };
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
        let full = body(0, &[name(), attribute(IFLA_ADDRESS, &[1, 2, 3])]);
        let found = read(&full).unwrap();
        assert_eq!(found.hardware_address, [1, 2, 3, 0, 0, 0]);
        for end in 0..full.len() {
            assert_eq!(read(&full[..end]).is_some(), end >= HEAD + 9, "{end}");
        }
        assert_eq!(read(&body(0, &[attribute(IFLA_IFNAME, b"\0")])), None);
        assert_eq!(read(&body(0, &[attribute(IFLA_IFNAME, b"a\xFF")])).unwrap().name, "a\u{FFFD}");
    }
}

//! The guest's interfaces: `RTM_GETLINK` of rtnetlink(7) and the kernel's `linux/if_link.h`.

use std::io;

use crate::netlink::Netlink;
use crate::netlink::message::{Kind, Message, attribute, u32_at};

/// The size of `struct ifinfomsg` in bytes.
const HEAD: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;

/// Leaves out the counters of IPv6.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: Vec<u8>,
    /// The first six bytes; zeros behind a shorter one.
    pub hardware_address: [u8; 6],
}

/// All interfaces, in the kernel's order.
pub(super) fn all(kernel: &mut Netlink) -> io::Result<Vec<Link>> {
    let request = [[0; HEAD].as_slice(), &attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())].concat();
    kernel.dump(Kind::Link, &request, link)
}

fn link(message: &Message<'_>) -> Option<Link> {
    let (head, attributes) = message.parts::<HEAD>(Kind::Link)?;
    let index = u32_at(&head, 4)?;
    let (mut found, mut hardware_address) = (None, [0; 6]);
    for (kind, value) in attributes {
        match kind {
            IFLA_IFNAME => found = name(value),
            IFLA_ADDRESS => hardware_address.iter_mut().zip(value).for_each(|(to, from)| *to = *from),
            _ => {}
        }
    }
    Some(Link { index, name: found?.to_vec(), hardware_address })
}

/// The bytes of a name or a label, which ends with a zero byte.
pub(super) fn name(value: &[u8]) -> Option<&[u8]> {
    value.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; HEAD];
        body[4..8].copy_from_slice(&5_u32.to_ne_bytes());
        body.extend(attributes.concat());
        body
    }

    fn read(body: &[u8]) -> Option<Link> {
        link(&Message::answer(Kind::Link, body))
    }

    fn eth0() -> Vec<u8> {
        attribute(IFLA_IFNAME, b"eth0\0")
    }

    #[test]
    fn a_link_is_read() {
        let address = attribute(IFLA_ADDRESS, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let found = read(&body(&[eth0(), address])).unwrap();
        assert_eq!(found, Link { index: 5, name: b"eth0".to_vec(), hardware_address: [1, 2, 3, 4, 5, 6] });
    }

    #[test]
    fn what_is_too_short_is_left_out() {
        let full = body(&[eth0(), attribute(IFLA_ADDRESS, &[1, 2, 3])]);
        let found = read(&full).unwrap();
        assert_eq!(found.hardware_address, [1, 2, 3, 0, 0, 0]);
        for end in 0..full.len() {
            assert_eq!(read(&full[..end]).is_some(), end >= HEAD + 9, "{end}");
        }
        assert_eq!(read(&body(&[attribute(IFLA_IFNAME, b"\0")])), None);
        assert_eq!(read(&body(&[attribute(IFLA_IFNAME, b"a\xFF")])).unwrap().name, b"a\xFF");
    }
}

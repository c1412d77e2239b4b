//! The guest's addresses: `RTM_GETADDR` of rtnetlink(7) and the kernel's `linux/if_addr.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::links::name;
use crate::netlink::Netlink;
use crate::netlink::message::{Kind, Message, u32_at};

/// The size of `struct ifaddrmsg` in bytes.
const HEAD: usize = 8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The interface's index.
    pub link: u32,
    pub ip: IpAddr,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
    /// IPv4: the interface's name, or what an administrator put in its place.
    pub label: Option<Vec<u8>>,
}

/// All addresses, those of IPv4 first, in the kernel's order.
pub(super) fn all(kernel: &mut Netlink) -> io::Result<Vec<Address>> {
    kernel.dump(Kind::Address, &[0; HEAD], address)
}

fn address(message: &Message<'_>) -> Option<Address> {
    let (head, attributes) = message.parts::<HEAD>(Kind::Address)?;
    let [family, prefix, ..] = head;
    let (mut address, mut local, mut label) = (None, None, None);
    for (kind, value) in attributes {
        match kind {
            IFA_ADDRESS => address = ip(family, value),
            IFA_LOCAL => local = ip(family, value),
            IFA_LABEL => label = name(value).map(<[u8]>::to_vec),
            _ => {}
        }
    }
    // Where the interface leads to one peer, `IFA_ADDRESS` is the peer's.
    Some(Address { link: u32_at(&head, 4)?, ip: local.or(address)?, prefix, label })
}

/// An address in the network's byte order; `None` for a family other than IP.
fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::attribute;

    fn body(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        [[family, 24, 0, 0].as_slice(), &3_u32.to_ne_bytes(), &attributes.concat()].concat()
    }

    fn read(body: &[u8]) -> Option<Address> {
        address(&Message::answer(Kind::Address, body))
    }

    #[test]
    fn the_own_address_goes_before_the_peers() {
        let (local, peer) = (attribute(IFA_LOCAL, &[10, 0, 0, 1]), attribute(IFA_ADDRESS, &[10, 0, 0, 2]));
        let label = attribute(IFA_LABEL, b"ppp0:1\0");
        let found = read(&body(AF_INET, &[peer, local, label])).unwrap();
        let ip = Ipv4Addr::new(10, 0, 0, 1).into();
        assert_eq!(found, Address { link: 3, ip, prefix: 24, label: Some(b"ppp0:1".to_vec()) });
        let v6 = read(&body(AF_INET6, &[attribute(IFA_ADDRESS, &[1; 16])])).unwrap();
        assert_eq!((v6.ip.to_string().as_str(), v6.label), ("101:101:101:101:101:101:101:101", None));
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        for (family, attributes) in [
            (AF_INET, vec![]),
            (AF_INET, vec![attribute(IFA_LOCAL, &[1; 3])]),
            (AF_INET, vec![attribute(IFA_LOCAL, &[1; 16])]),
            (AF_INET6, vec![attribute(IFA_ADDRESS, &[1; 4])]),
            (45, vec![attribute(IFA_LOCAL, &[1; 4])]),
        ] {
            assert_eq!(read(&body(family, &attributes)), None, "{family} {attributes:?}");
        }
        let full = body(AF_INET, &[attribute(IFA_LOCAL, &[1; 4])]);
        for end in 0..full.len() {
            assert_eq!(read(&full[..end]), None, "{end}");
        }
    }
}

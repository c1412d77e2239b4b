//! The answer, made of what the kernel said.

use std::collections::HashMap;
use std::net::IpAddr;

use super::addresses::Address;
use super::links::Link;
use crate::config::Exclude;
use crate::text::{ipv6, name};
use crate::types::{Interface, IpAddress, IpAddressType, Statistics};

/// The interfaces in the kernel's order, which is that of their indices: loopback has the first. An address whose label
/// is not the name of its interface is listed under its label, as if that were an interface, behind all interfaces.
///
/// Hosts count on this order of qemu-ga's: to many of them the second item is the first network card.
pub(super) fn interfaces(
    links: &[Link],
    addresses: &[Address],
    statistics: &HashMap<&[u8], Statistics>,
    exclude: &Exclude,
) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::with_capacity(links.len());
    let mut by_index = HashMap::with_capacity(links.len());
    let mut by_name = HashMap::with_capacity(links.len());
    for link in links.iter().filter(|link| !exclude.has(&name(&link.name))) {
        by_index.insert(link.index, (interfaces.len(), link));
        by_name.insert(link.name.as_slice(), interfaces.len());
        interfaces.push(interface(&link.name, link));
    }
    for Address { link, ip, prefix, label } in addresses {
        let Some(&(at, link)) = by_index.get(link) else { continue };
        let own = label.as_deref().filter(|&label| label != link.name);
        if own.is_some_and(|label| exclude.has(&name(label))) {
            continue;
        }
        let at = own.map_or(at, |label| *by_name.entry(label).or_insert(interfaces.len()));
        if at == interfaces.len() {
            interfaces.extend(own.map(|label| interface(label, link)));
        }
        if let Some(item) = interfaces.get_mut(at) {
            if item.ip_addresses.is_empty() {
                item.statistics = statistics.get(own.unwrap_or(&link.name)).copied();
            }
            item.ip_addresses.push(ip_address(*ip, *prefix));
        }
    }
    interfaces
}

/// An item without addresses: the link itself, or a label of one of its addresses.
fn interface(called: &[u8], link: &Link) -> Interface {
    Interface {
        name: name(called),
        hardware_address: hardware_address(&link.hardware_address),
        ip_addresses: Vec::new(),
        statistics: None,
    }
}

fn ip_address(ip: IpAddr, prefix: u8) -> IpAddress {
    match ip {
        IpAddr::V4(ip) => IpAddress { ip_address_type: IpAddressType::Ipv4, ip_address: ip.to_string(), prefix },
        IpAddr::V6(ip) => IpAddress { ip_address_type: IpAddressType::Ipv6, ip_address: ipv6(ip), prefix },
    }
}

/// `52:54:00:12:34:56`
fn hardware_address(bytes: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &[u8]) -> Link {
        Link { index, name: name.to_vec(), hardware_address: [0, 1, 2, 0xAB, 0, index as u8] }
    }

    /// The answer, with an interface's index as the number of bytes that it received.
    fn list(links: &[Link], addresses: &[Address], exclude: &Exclude) -> Vec<Interface> {
        let rx_bytes = |link: &Link| Statistics { rx_bytes: link.index.into(), ..Statistics::default() };
        let statistics = links.iter().map(|link| (link.name.as_slice(), rx_bytes(link))).collect();
        interfaces(links, addresses, &statistics, exclude)
    }

    fn address(link: u32, last: u8, label: Option<&str>) -> Address {
        Address {
            link,
            ip: IpAddr::from([10, 0, 0, last]),
            prefix: 24,
            label: label.map(|label| label.as_bytes().to_vec()),
        }
    }

    fn names(found: &[Interface]) -> Vec<&str> {
        found.iter().map(|interface| interface.name.as_str()).collect()
    }

    fn links() -> Vec<Link> {
        vec![link(1, b"lo"), link(2, b"docker0"), link(3, b"eth0"), link(4, b"eth1"), link(5, b"br0")]
    }

    #[test]
    fn the_order_is_the_kernels() {
        assert_eq!(names(&list(&links(), &[], &Exclude::default())), ["lo", "docker0", "eth0", "eth1", "br0"]);
    }

    #[test]
    fn statistics_are_shown_with_addresses_only() {
        let found = list(&links(), &[address(3, 1, Some("eth0")), address(3, 2, None)], &Exclude::default());
        let [_, _, eth0, eth1, ..] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((eth0.ip_addresses.len(), eth0.statistics.unwrap().rx_bytes), (2, 3));
        assert_eq!(
            (eth0.hardware_address.as_str(), eth0.ip_addresses[1].ip_address.as_str()),
            ("00:01:02:ab:00:03", "10.0.0.2")
        );
        assert_eq!((eth1.ip_addresses.len(), eth1.statistics), (0, None));
    }

    #[test]
    fn labels_are_listed_as_interfaces_behind_all_of_them() {
        let addresses = vec![
            address(3, 1, Some("eth0")),
            address(3, 2, Some("eth0:1")),
            address(3, 3, Some("eth0:1")),
            // Nothing keeps a label from being another interface's name.
            address(3, 4, Some("eth1")),
            address(99, 5, Some("gone")),
        ];
        let found = list(&links(), &addresses, &Exclude::default());
        assert_eq!(names(&found), ["lo", "docker0", "eth0", "eth1", "br0", "eth0:1"]);
        let (eth1, label) = (&found[3], &found[5]);
        assert_eq!((label.ip_addresses.len(), label.statistics), (2, None));
        assert_eq!(label.hardware_address, "00:01:02:ab:00:03");
        assert_eq!((eth1.ip_addresses.len(), eth1.statistics.unwrap().rx_bytes), (1, 4));
    }

    #[test]
    fn names_that_look_the_same_are_told_apart_by_their_bytes() {
        let links = vec![link(7, b"a\xFE"), link(8, b"a\xFF")];
        let label = |label: &[u8]| Address { label: Some(label.to_vec()), ..address(8, 1, None) };
        let found = list(&links, &[label(b"a\xFF"), label(b"a\xFD")], &Exclude::default());
        assert_eq!(names(&found), ["a\u{FFFD}"; 3]);
        let counted: Vec<_> = found.iter().map(|item| item.statistics.map(|numbers| numbers.rx_bytes)).collect();
        assert_eq!(counted, [None, Some(8), None]);
        assert_eq!(found[2].ip_addresses.len(), 1);
        assert!(list(&links, &[], &Exclude::of(&["a?"])).is_empty());
    }

    #[test]
    fn what_is_excluded_is_gone_with_its_addresses() {
        let exclude = Exclude::of(&["docker*", "eth0", "*:9"]);
        let addresses = vec![
            address(3, 1, Some("eth0")),
            address(3, 2, Some("eth0:1")),
            address(4, 3, Some("eth1:9")),
            address(4, 4, Some("eth1:1")),
        ];
        let found = list(&links(), &addresses, &exclude);
        assert_eq!(names(&found), ["lo", "eth1", "br0", "eth1:1"]);
        assert!(found[1].ip_addresses.is_empty());
    }
}

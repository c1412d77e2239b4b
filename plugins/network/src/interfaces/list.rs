//! The answer, made of what the kernel said.

use std::collections::HashMap;
use std::net::IpAddr;

use super::addresses::Address;
use super::default_route::Outward;
use super::links::Link;
use crate::config::Exclude;
use crate::text::ipv6;
use crate::types::{Interface, IpAddress, IpAddressType, Statistics};

/// An item to be and its place in the order.
struct Item {
    rank: usize,
    interface: Interface,
}

/// The interfaces in their order. An address whose label is not the name of its interface is listed under its label, as
/// if that were an interface, behind those of the same rank.
pub(super) fn interfaces(
    links: &[Link],
    addresses: &[Address],
    statistics: &HashMap<&str, Statistics>,
    default_routes: &[Outward],
    exclude: &Exclude,
) -> Vec<Interface> {
    let mut items: Vec<Item> = Vec::with_capacity(links.len());
    let mut by_index = HashMap::with_capacity(links.len());
    let mut by_name = HashMap::with_capacity(links.len());
    for link in links.iter().filter(|link| !exclude.has(&link.name)) {
        by_index.insert(link.index, items.len());
        by_name.insert(link.name.as_str(), items.len());
        items.push(Item::new(rank(link, default_routes), &link.name, hardware_address(&link.hardware_address)));
    }
    for Address { link, ip, prefix, label } in addresses {
        let Some(of) = by_index.get(link).and_then(|&at| items.get(at)) else { continue };
        let at = match label.as_deref().filter(|&label| label != of.interface.name) {
            None => by_index.get(link).copied(),
            Some(label) if exclude.has(label) => None,
            Some(label) => {
                let at = *by_name.entry(label).or_insert(items.len());
                if at == items.len() {
                    items.push(Item::new(of.rank, label, of.interface.hardware_address.clone()));
                }
                Some(at)
            }
        };
        if let Some(Item { interface, .. }) = at.and_then(|at| items.get_mut(at)) {
            if interface.ip_addresses.is_empty() {
                interface.statistics = statistics.get(interface.name.as_str()).copied();
            }
            interface.ip_addresses.push(ip_address(*ip, *prefix));
        }
    }
    items.sort_by_key(|item| item.rank);
    items.into_iter().map(|item| item.interface).collect()
}

impl Item {
    fn new(rank: usize, name: &str, hardware_address: String) -> Self {
        let name = name.to_owned();
        Self { rank, interface: Interface { name, hardware_address, ip_addresses: Vec::new(), statistics: None } }
    }
}

/// Default routes first and in their order, then devices, then the rest.
fn rank(link: &Link, default_routes: &[Outward]) -> usize {
    let leads_out = |outward: &Outward| match outward {
        Outward::Name(name) => *name == link.name,
        Outward::Index(index) => *index == link.index,
    };
    default_routes.iter().position(leads_out).unwrap_or(default_routes.len() + usize::from(!link.is_physical))
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

    fn link(index: u32, name: &str, is_physical: bool) -> Link {
        Link { index, name: name.to_owned(), hardware_address: [0, 1, 2, 0xAB, 0, index as u8], is_physical }
    }

    /// The answer, with an interface's index as the number of bytes that it received.
    fn list(links: &[Link], addresses: &[Address], default_routes: &[Outward], exclude: &Exclude) -> Vec<Interface> {
        let rx_bytes = |link: &Link| Statistics { rx_bytes: link.index.into(), ..Statistics::default() };
        let statistics = links.iter().map(|link| (link.name.as_str(), rx_bytes(link))).collect();
        interfaces(links, addresses, &statistics, default_routes, exclude)
    }

    fn address(link: u32, last: u8, label: Option<&str>) -> Address {
        Address { link, ip: IpAddr::from([10, 0, 0, last]), prefix: 24, label: label.map(str::to_owned) }
    }

    fn names(found: &[Interface]) -> Vec<&str> {
        found.iter().map(|interface| interface.name.as_str()).collect()
    }

    fn links() -> Vec<Link> {
        vec![
            link(1, "lo", false),
            link(2, "docker0", false),
            link(3, "eth0", true),
            link(4, "eth1", true),
            link(5, "br0", false),
        ]
    }

    #[test]
    fn interfaces_that_lead_out_come_first_and_then_devices() {
        let none = Exclude::default();
        assert_eq!(names(&list(&links(), &[], &[], &none)), ["eth0", "eth1", "lo", "docker0", "br0"]);
        let routes = [Outward::Name("br0".to_owned()), Outward::Index(4), Outward::Index(5), Outward::Index(99)];
        let found = list(&links(), &[], &routes, &none);
        assert_eq!(names(&found), ["br0", "eth1", "eth0", "lo", "docker0"]);
    }

    #[test]
    fn statistics_are_shown_with_addresses_only() {
        let found = list(&links(), &[address(3, 1, Some("eth0")), address(3, 2, None)], &[], &Exclude::default());
        let [eth0, eth1, ..] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((eth0.ip_addresses.len(), eth0.statistics.unwrap().rx_bytes), (2, 3));
        assert_eq!(
            (eth0.hardware_address.as_str(), eth0.ip_addresses[1].ip_address.as_str()),
            ("00:01:02:ab:00:03", "10.0.0.2")
        );
        assert_eq!((eth1.ip_addresses.len(), eth1.statistics), (0, None));
    }

    #[test]
    fn a_label_is_listed_as_an_interface() {
        let addresses = vec![
            address(3, 1, Some("eth0")),
            address(3, 2, Some("eth0:1")),
            address(3, 3, Some("eth0:1")),
            // Nothing keeps a label from being another interface's name.
            address(3, 4, Some("eth1")),
            address(99, 5, Some("gone")),
        ];
        let found = list(&links(), &addresses, &[], &Exclude::default());
        assert_eq!(names(&found), ["eth0", "eth1", "eth0:1", "lo", "docker0", "br0"]);
        let [_, eth1, label, ..] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((label.ip_addresses.len(), label.statistics), (2, None));
        assert_eq!(label.hardware_address, "00:01:02:ab:00:03");
        assert_eq!((eth1.ip_addresses.len(), eth1.statistics.unwrap().rx_bytes), (1, 4));
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
        let found = list(&links(), &addresses, &[], &exclude);
        assert_eq!(names(&found), ["eth1", "eth1:1", "lo", "br0"]);
        assert!(found[0].ip_addresses.is_empty());
    }
}

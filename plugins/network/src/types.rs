//! What comes out of the commands of this set; none of them takes arguments. Names and optional members are those of
//! QEMU's schema.

use serde::Serialize;

/// An item of the answer of `guest-network-get-interfaces`, QEMU's `GuestNetworkInterface`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// The interface's name, such as `eth0`, with U+FFFD for what is not UTF-8; or the label of an address, such as
    /// `eth0:1`, which has an item of its own.
    pub name: String,
    /// The first six bytes of the hardware address, such as `52:54:00:12:34:56`. A shorter one is padded with zeros; where
    /// there is none, all are zero.
    pub hardware_address: String,
    /// Its addresses, in the kernel's order. Left out where it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddress>,
    /// Its counters. Left out for an interface without an address and for an address with a label of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

/// QEMU's `GuestIpAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct IpAddress {
    /// The kind of `ip-address`.
    pub ip_address_type: IpAddressType,
    /// The address as text, as `192.0.2.1` or `fe80::1`; without a scope.
    pub ip_address: String,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
}

/// QEMU's `GuestIpAddressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IpAddressType {
    /// IP version 4.
    Ipv4,
    /// IP version 6.
    Ipv6,
}

/// QEMU's `GuestNetworkInterfaceStat`: the counters of `/proc/net/dev`, since the interface was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bad packets received.
    pub rx_errs: u64,
    /// Packets received that were dropped, by the kernel or for want of buffers in the device.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errs: u64,
    /// Packets to be sent that were dropped.
    pub tx_dropped: u64,
}

/// An item of the answer of `guest-network-get-route`, QEMU's `GuestNetworkRoute`. Which of the optional members are
/// there depends on the version alone.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Route {
    /// The interface that the route leads to, as `eth0`; `*` for an IPv4 route that leads nowhere.
    pub iface: String,
    /// The destination's address, as `192.0.2.0` or `fd00::`.
    pub destination: String,
    /// The route's priority: of two to the same destination the one with the lower number is taken.
    pub metric: i64,
    /// IPv4: the gateway's address; `0.0.0.0` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// IPv4: the destination's mask, as `255.255.255.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// IPv4: the initial round-trip time in milliseconds; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irtt: Option<i64>,
    /// The flags of the kernel's `linux/route.h` and `linux/ipv6_route.h`: 1 up, 2 gateway, 4 host, 0x200 reject.
    pub flags: u64,
    /// The number of users; always 0 for IPv4.
    pub refcnt: i64,
    /// The number of lookups; always 0 for IPv4.
    #[serde(rename = "use")]
    pub uses: i64,
    /// IPv4: the TCP window in bytes; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
    /// IPv4: the path's MTU less 40, in bytes, as the kernel shows it; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i64>,
    /// IPv6: the length of the destination's prefix in bits, as a decimal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desprefixlen: Option<String>,
    /// IPv6: the source's address; `::` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// IPv6: the length of the source's prefix in bits, as a decimal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srcprefixlen: Option<String>,
    /// IPv6: the next hop's address; `::` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nexthop: Option<String>,
    /// The version of IP, 4 or 6.
    pub version: u8,
}

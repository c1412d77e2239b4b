//! Addresses as text.

use std::net::Ipv6Addr;

/// An address as inet_ntop(3) writes it, which shows the last 32 bits of `::192.0.2.1` as IPv4's.
pub(crate) fn ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_in_c() {
        for text in
            ["::", "::1", "::ff", "::192.0.2.1", "::ffff:192.0.2.1", "fe80::1", "2001:db8:0:1:1:1:1:1", "1::2:0:0:3"]
        {
            assert_eq!(ipv6(text.parse().unwrap()), text);
        }
    }
}

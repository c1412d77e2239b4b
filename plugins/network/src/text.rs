//! Names and addresses as text.

use std::net::Ipv6Addr;

/// An interface's name as a client sees it. The kernel takes any bytes but blanks, `/` and `:`; those that are not UTF-8
/// are shown as U+FFFD, and are not what interfaces are told apart by.
pub(crate) fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of a line of procfs.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A hexadecimal number of a line of procfs.
pub(crate) fn hexadecimal(word: &[u8]) -> Option<u128> {
    u128::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()
}

/// A decimal number of a line of procfs.
pub(crate) fn number<N: std::str::FromStr>(word: &[u8]) -> Option<N> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

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

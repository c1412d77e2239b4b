//! `/proc/net/ipv6_route`: proc_pid_net(5) and `rt6_info_route` of the kernel's IPv6.

use std::net::Ipv6Addr;

use super::lines;
use crate::text::{self, hexadecimal, name, words};
use crate::types::Route;

/// All tables of IPv6.
pub(crate) const TABLE: &str = "/proc/net/ipv6_route";

/// The routes of the table's text. Lines that are not as expected are passed over.
pub(super) fn routes(table: &[u8]) -> Vec<Route> {
    lines(table).filter_map(route).collect()
}

/// `fd00...00 40 00...00 00 00...00 00000100 00000001 00000000 00000001 eth0`: the destination and the length of its
/// prefix, the source and that of its, the next hop, the metric, `refcnt`, `use`, flags, all in hexadecimal, and the
/// interface.
fn route(line: &[u8]) -> Option<Route> {
    let mut words = words(line);
    let (destination, destination_prefix) = (address(words.next()?)?, number(words.next()?)?);
    let (source, source_prefix) = (address(words.next()?)?, number(words.next()?)?);
    let nexthop = address(words.next()?)?;
    let (metric, refcnt) = (number(words.next()?)?, number(words.next()?)?);
    let (uses, flags) = (number(words.next()?)?, number(words.next()?)?);
    Some(Route {
        iface: name(words.next()?),
        destination,
        metric: metric.into(),
        flags: flags.into(),
        refcnt: refcnt.into(),
        uses: uses.into(),
        desprefixlen: Some(destination_prefix.to_string()),
        source: Some(source),
        srcprefixlen: Some(source_prefix.to_string()),
        nexthop: Some(nexthop),
        version: 6,
        ..Route::default()
    })
}

fn number(word: &[u8]) -> Option<u32> {
    u32::try_from(hexadecimal(word)?).ok()
}

fn address(word: &[u8]) -> Option<String> {
    if word.len() != 32 {
        return None;
    }
    Some(text::ipv6(Ipv6Addr::from(hexadecimal(word)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "\
        fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000010 00000003     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 80200200       lo\n";

    #[test]
    fn a_recorded_table_is_read() {
        let found = routes(RECORDED.as_bytes());
        let [first, second, third] = found.as_slice() else { panic!("{found:?}") };
        let expected = Route {
            iface: "eth0".to_owned(),
            destination: "fd00::".to_owned(),
            metric: 256,
            flags: 1,
            refcnt: 1,
            desprefixlen: Some("64".to_owned()),
            source: Some("::".to_owned()),
            srcprefixlen: Some("0".to_owned()),
            nexthop: Some("::".to_owned()),
            version: 6,
            ..Route::default()
        };
        assert_eq!(*first, expected);
        assert_eq!((second.nexthop.as_deref(), second.metric, second.uses), (Some("fd00::1"), 1024, 16));
        assert_eq!((third.metric, third.flags), (0xFFFF_FFFF, 0x8020_0200));
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        let line = RECORDED.lines().next().unwrap().as_bytes();
        let line = [line.strip_suffix(b"eth0").unwrap(), b"a\xFF"].concat();
        assert_eq!(routes(&line)[0].iface, "a\u{FFFD}");
    }

    #[test]
    fn lines_that_are_cut_off_or_nonsense_are_passed_over() {
        let line = RECORDED.lines().next().unwrap();
        for end in 0..line.len() - 3 {
            assert!(routes(&line.as_bytes()[..end]).is_empty(), "{end}");
        }
        assert_eq!(routes(line.as_bytes()).len(), 1);
        for (from, to) in
            [("fd00", "fd0"), ("fd00", "fd000"), ("fd00", "xd00"), (" 40 ", " 1FFFFFFFF "), (" 40 ", " -1 ")]
        {
            assert!(routes(line.replacen(from, to, 1).as_bytes()).is_empty(), "{to}");
        }
    }
}

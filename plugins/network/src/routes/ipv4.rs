//! `/proc/net/route`: proc_pid_net(5).

use std::net::Ipv4Addr;

use super::lines;
use crate::text::{hexadecimal, name, number, words};
use crate::types::Route;

/// IPv4's main table.
pub(crate) const TABLE: &str = "/proc/net/route";

/// The routes of the table's text. Lines that are not as expected are passed over, the headline among them.
pub(super) fn routes(table: &[u8]) -> Vec<Route> {
    lines(table).filter_map(route).collect()
}

/// `eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0`: the interface, the destination, the gateway, flags (all three in
/// hexadecimal), `RefCnt`, `Use`, `Metric`, the mask (hexadecimal), `MTU`, `Window` and `IRTT`.
fn route(line: &[u8]) -> Option<Route> {
    let mut words = words(line);
    let iface = name(words.next()?);
    let (destination, gateway) = (address(words.next()?)?, address(words.next()?)?);
    let flags = u64::try_from(hexadecimal(words.next()?)?).ok()?;
    let (refcnt, uses, metric) = (number(words.next()?)?, number(words.next()?)?, number(words.next()?)?);
    let mask = address(words.next()?)?;
    let mut number = || number(words.next()?);
    Some(Route {
        iface,
        destination,
        metric,
        gateway: Some(gateway),
        mask: Some(mask),
        mtu: Some(number()?),
        window: Some(number()?),
        irtt: Some(number()?),
        flags,
        refcnt,
        uses,
        version: 4,
        ..Route::default()
    })
}

/// An address that the kernel shows as a number of the machine's byte order, though it lies in memory in the network's.
fn address(word: &[u8]) -> Option<String> {
    if word.len() != 8 {
        return None;
    }
    Some(Ipv4Addr::from(u32::try_from(hexadecimal(word)?).ok()?.to_ne_bytes()).to_string())
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const RECORDED: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT    \n\
        v1\t00000000\tFE00090A\t0003\t0\t0\t20\t00000000\t0\t0\t0      \n\
        d0\t00000000\tFE00010A\t0003\t0\t0\t50\t00000000\t0\t0\t0      \n\
        r0\t00000000\t00000000\t0201\t0\t0\t60\t00000000\t0\t0\t0      \n\
        h0\t00000000\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0      \n\
        *\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0        \n\
        x0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0       \n\
        d0\t0000580A\t0700010A\t0003\t0\t0\t-1\t0000FFFF\t1360\t1000\t40   \n";

    #[test]
    fn a_recorded_table_is_read() {
        let routes = routes(RECORDED.as_bytes());
        let interfaces: Vec<_> = routes.iter().map(|route| route.iface.as_str()).collect();
        assert_eq!(interfaces, ["v1", "d0", "r0", "h0", "*", "x0", "d0"]);
        let expected = Route {
            iface: "d0".to_owned(),
            destination: "10.88.0.0".to_owned(),
            metric: -1,
            gateway: Some("10.1.0.7".to_owned()),
            mask: Some("255.255.0.0".to_owned()),
            irtt: Some(40),
            flags: 3,
            window: Some(1000),
            mtu: Some(1360),
            version: 4,
            ..Route::default()
        };
        assert_eq!(routes[6], expected);
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        let found = routes(b"a\xFF\t0000580A\t0700010A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n");
        assert_eq!(found[0].iface, "a\u{FFFD}");
    }

    #[test]
    fn lines_that_are_cut_off_or_nonsense_are_passed_over() {
        let line = "d0\t0000580A\t0700010A\t0003\t0\t0\t0\t0000FFFF\t0\t1000\t40";
        for end in 0..line.len() - 1 {
            assert!(routes(&line.as_bytes()[..end]).is_empty(), "{end}");
        }
        assert_eq!(routes(line.as_bytes()).len(), 1);
        for bad in ["G000580A", "0000580A0", "-1", ""] {
            assert!(routes(line.replacen("0000580A", bad, 1).as_bytes()).is_empty(), "{bad}");
        }
        let text = [b"\xFF\xFE\n".as_slice(), line.as_bytes(), b"\n\0\n"].concat();
        assert_eq!(routes(&text).len(), 1);
    }
}

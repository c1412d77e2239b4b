//! The counters of interfaces: `/proc/net/dev` of proc_pid_net(5).

use std::collections::HashMap;

use crate::text::{number, words};
use crate::types::Statistics;

/// All interfaces' counters.
pub(crate) const TABLE: &str = "/proc/net/dev";

/// The counters in the table's text by interface. Lines that are not as expected are passed over, the two headlines
/// among them.
pub(super) fn by_name(table: &[u8]) -> HashMap<&[u8], Statistics> {
    table.split(|&byte| byte == b'\n').filter_map(counters).collect()
}

/// `  eth0: 304007233   10336    0    0    0     0          0         0   708473    6956    0    0 ...`: bytes, packets,
/// errs, drop and four more received, and the same sent.
fn counters(line: &[u8]) -> Option<(&[u8], Statistics)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, numbers) = line.split_at_checked(colon)?;
    let mut words = words(numbers.get(1..)?);
    let mut number = || number(words.next()?);
    let (rx_bytes, rx_packets, rx_errs, rx_dropped) = (number()?, number()?, number()?, number()?);
    let _fifo_frame_compressed_multicast = [number()?, number()?, number()?, number()?];
    let (tx_bytes, tx_packets, tx_errs, tx_dropped) = (number()?, number()?, number()?, number()?);
    let statistics =
        Statistics { rx_bytes, rx_packets, rx_errs, rx_dropped, tx_bytes, tx_packets, tx_errs, tx_dropped };
    Some((name.trim_ascii(), statistics))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str =
        "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
";

    #[test]
    fn a_recorded_table_is_read() {
        let found = by_name(RECORDED.as_bytes());
        let eth0 = Statistics {
            rx_bytes: 1,
            rx_packets: 2,
            rx_errs: 3,
            rx_dropped: 4,
            tx_bytes: 9,
            tx_packets: 10,
            tx_errs: 11,
            tx_dropped: 12,
        };
        assert_eq!((found.len(), found[b"lo".as_slice()].rx_bytes, found[b"eth0".as_slice()]), (2, 3193, eth0));
    }

    #[test]
    fn lines_that_are_cut_off_or_nonsense_are_passed_over() {
        let line = "eth0: 1 2 3 4 5 6 7 8 9 10 11 1";
        for end in 0..line.len() {
            assert!(by_name(&line.as_bytes()[..end]).is_empty(), "{end}");
        }
        assert_eq!(by_name(line.as_bytes()).len(), 1);
        for bad in ["-1", "18446744073709551616", "x", ":"] {
            assert!(by_name(line.replacen('8', bad, 1).as_bytes()).is_empty(), "{bad}");
        }
        let text = [b"\xFF: 1\n".as_slice(), line.as_bytes()].concat();
        assert_eq!(by_name(&text).len(), 1);
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        let text =
            b"  a\xFF: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  a\xFE: 9 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let found = by_name(text);
        assert_eq!((found[b"a\xFF".as_slice()].rx_bytes, found[b"a\xFE".as_slice()].rx_bytes), (1, 9));
    }
}

//! In which zone the hardware clock runs: adjtime_config(5).

use crate::guest::Guest;

const ADJTIME: &str = "/etc/adjtime";

/// The file has three short lines.
const LIMIT: usize = 4096;

/// Whether the hardware clock shows the guest's local time: the third line of `/etc/adjtime` is `LOCAL`. Without the
/// file it shows UTC.
pub(super) fn rtc_in_local_time(guest: &Guest) -> bool {
    guest.read(ADJTIME, LIMIT).is_ok_and(|text| says_local(&text))
}

fn says_local(adjtime: &[u8]) -> bool {
    adjtime.split(|&byte| byte == b'\n').nth(2).is_some_and(|line| line.trim_ascii() == b"LOCAL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_line_decides() {
        assert!(says_local(b"0.0 0 0.0\n0\nLOCAL\n"));
        assert!(says_local(b"0.0 0 0.0\n0\nLOCAL"));
        for text in ["0.0 0 0.0\n0\nUTC\n", "LOCAL\n", "0.0 0 0.0\nLOCAL\n", "", "\n\nLOCALE\n"] {
            assert!(!says_local(text.as_bytes()), "{text}");
        }
    }
}

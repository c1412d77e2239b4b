//! The records of utmp(5).
//!
//! Their layout is the C library's `struct utmpx`. Times are 32 bits wide on most architectures, 64 bit ones included
//! (`__WORDSIZE_TIME64_COMPAT32` of glibc's `bits/wordsize.h`), and 64 bits on the others.

use std::ops::Range;

use super::Login;

/// `ut_type` of a user's login, `USER_PROCESS`.
const USER_PROCESS: i16 = 7;

const TYPE: Range<usize> = 0..2;
const USER: Range<usize> = 44..76;

#[cfg(not(all(
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "s390x", target_arch = "loongarch64")
)))]
mod layout {
    use std::ops::Range;

    pub(super) type Time = i32;
    pub(super) const SIZE: usize = 384;
    pub(super) const SECONDS: Range<usize> = 340..344;
    pub(super) const MICROSECONDS: Range<usize> = 344..348;
}

#[cfg(all(
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "s390x", target_arch = "loongarch64")
))]
mod layout {
    use std::ops::Range;

    pub(super) type Time = i64;
    pub(super) const SIZE: usize = 400;
    pub(super) const SECONDS: Range<usize> = 344..352;
    pub(super) const MICROSECONDS: Range<usize> = 352..360;
}

use layout::Time;

/// The size of a record in bytes.
pub(super) const RECORD_SIZE: usize = layout::SIZE;

/// The logins among the records, in their order. What is left of a record that is cut off at the end is ignored.
pub(super) fn logins(records: &[u8]) -> Vec<Login> {
    records.chunks_exact(RECORD_SIZE).filter_map(login).collect()
}

fn login(record: &[u8]) -> Option<Login> {
    if i16::from_ne_bytes(record.get(TYPE)?.try_into().ok()?) != USER_PROCESS {
        return None;
    }
    // The name fills its place or ends with a zero byte.
    let name = record.get(USER)?.split(|&byte| byte == 0).next()?;
    let time = |place: Range<usize>| Some(Time::from_ne_bytes(record.get(place)?.try_into().ok()?) as f64);
    let seconds = time(layout::SECONDS)? + time(layout::MICROSECONDS)? / 1e6;
    Some(Login { user: String::from_utf8_lossy(name).into_owned(), time: seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, user: &[u8], seconds: Time, microseconds: Time) -> Vec<u8> {
        let mut record = vec![0xAA; RECORD_SIZE];
        record[TYPE].copy_from_slice(&kind.to_ne_bytes());
        record[USER].fill(0);
        record[USER][..user.len()].copy_from_slice(user);
        record[layout::SECONDS].copy_from_slice(&seconds.to_ne_bytes());
        record[layout::MICROSECONDS].copy_from_slice(&microseconds.to_ne_bytes());
        record
    }

    fn login(user: &str, time: f64) -> Login {
        Login { user: user.to_owned(), time }
    }

    #[test]
    fn only_logins_of_users_count() {
        let records: Vec<u8> = (-1..12).flat_map(|kind| record(kind, b"user", Time::from(kind), 0)).collect();
        assert_eq!(logins(&records), [login("user", 7.0)]);
    }

    #[test]
    fn odd_names_and_times_are_taken_as_they_are() {
        let records = [
            record(7, &[b'a'; 32], 1_700_000_000, 750_000),
            record(7, b"", -5, 0),
            record(7, b"a\xE9b", 10, 5_000_000),
            record(7, b"n", Time::MAX, -1),
        ]
        .concat();
        let expected = [
            login(&"a".repeat(32), 1_700_000_000.75),
            login("", -5.0),
            login("a\u{FFFD}b", 15.0),
            login("n", Time::MAX as f64 - 1e-6),
        ];
        assert_eq!(logins(&records), expected);
    }

    #[test]
    fn a_record_that_is_cut_off_is_left_out() {
        let records = [record(7, b"a", 1, 0), record(7, b"b", 2, 0)].concat();
        for end in 0..records.len() {
            assert_eq!(logins(&records[..end]).len(), end / RECORD_SIZE, "{end}");
        }
        assert_eq!(logins(&records).len(), 2);
    }
}

//! `guest-get-timezone`, and the local time that some hardware clocks keep.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use guestd_sdk::prelude::*;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneOffsetInfo};

use crate::System;
use crate::guest::{Guest, read_file};
use crate::kept_file::KeptFile;
use crate::types::Timezone;

/// The guest's zone where the environment names none.
const LOCAL_TIME: &str = "/etc/localtime";

/// Where the zone database is, as the C library looks for it; the second is NixOS'.
const DATABASES: [&str; 2] = ["/usr/share/zoneinfo", "/etc/zoneinfo"];

/// No zone's file comes near to this size, in bytes.
const ZONE_LIMIT: u64 = 256 * 1024;

/// `guest-get-timezone`: the zone that the agent's own `TZ` names, else that of `/etc/localtime`. One that cannot be
/// read is UTC, as in the C library.
pub fn timezone(ctx: &Ctx<System>, _: NoArgs) -> Result<Timezone, CommandError> {
    let now = ctx.state.clock.now().tv_sec;
    let zone = ctx.state.zone.get();
    let info = offset_info(&zone, now);
    Ok(Timezone { zone: info.abbreviation().to_owned(), offset: info.offset().seconds() })
}

/// The guest's zone.
pub(crate) enum Zone {
    /// What the environment says; that does not change.
    Named(Arc<TimeZone>),
    /// What the guest's file says.
    Local(KeptFile<TimeZone>),
}

impl Zone {
    /// Reads the zone. May wait for a disk.
    pub(crate) fn of(guest: &Guest) -> Self {
        match guest.tz() {
            Some(name) => Self::Named(Arc::new(named_zone(name).unwrap_or(TimeZone::UTC))),
            None => Self::Local(KeptFile::new(vec![guest.path(LOCAL_TIME).into_owned()], ZONE_LIMIT, |data| {
                TimeZone::tzif("", data).unwrap_or(TimeZone::UTC)
            })),
        }
    }

    /// The zone as it is now. Never waits.
    pub(crate) fn get(&self) -> Arc<TimeZone> {
        match self {
            Self::Named(zone) => Arc::clone(zone),
            Self::Local(file) => file.get(),
        }
    }
}

/// The zone that a value of `TZ` names by the rules of tzset(3): a file of the zone database, or else a rule (POSIX.1,
/// "Environment Variables"), which must not begin with a colon.
fn named_zone(name: &str) -> Option<TimeZone> {
    let (file, may_be_rule) = name.strip_prefix(':').map_or((name, true), |file| (file, false));
    match zone_file(file) {
        Some(data) => TimeZone::tzif("", &data).ok(),
        None if may_be_rule => TimeZone::posix(name).ok(),
        None => None,
    }
}

/// The content of a file of the zone database.
fn zone_file(name: &str) -> Option<Vec<u8>> {
    let directories = match env::var_os("TZDIR") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => DATABASES.map(PathBuf::from).into(),
    };
    // An absolute path stays what it is.
    directories.iter().find_map(|directory| read_file(&directory.join(name), ZONE_LIMIT as usize).ok())
}

/// What the clocks of a zone show at a moment, in seconds since 1970: how far from UTC they are, and the zone's name then.
pub(crate) fn offset_info(zone: &TimeZone, at: i64) -> TimeZoneOffsetInfo<'_> {
    let at = at.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    zone.to_offset_info(Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    const WINTER: i64 = 1_768_000_000;
    const SUMMER: i64 = 1_784_000_000;

    fn shown(zone: &TimeZone, time: i64) -> String {
        let info = offset_info(zone, time);
        let seconds = info.offset().seconds();
        let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{sign}{hours:02}:{minutes:02}:{seconds:02} {}", info.abbreviation())
    }

    fn at(tz: &str, time: i64) -> String {
        shown(&named_zone(tz).unwrap(), time)
    }

    /// What date(1) shows in a zone.
    fn date(tz: &str, times: &[i64]) -> Vec<String> {
        let mut date = Command::new("date");
        date.args(["-f", "-", "+%::z %Z"]).env("TZ", tz).env("LC_ALL", "C");
        let mut date = date.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines: String = times.iter().map(|time| format!("@{time}\n")).collect();
        date.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = date.wait_with_output().unwrap();
        // What is unknown, "-00", is shown as west of Greenwich.
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.replace("-00:00:00", "+00:00:00")).collect()
    }

    /// The zone files below a directory.
    fn zone_files(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                zone_files(&path, found);
            } else if fs::read(&path).is_ok_and(|data| data.starts_with(b"TZif")) {
                found.push(path);
            }
        }
    }

    fn tokyo() -> Option<Vec<u8>> {
        let data = zone_file("Asia/Tokyo");
        if data.is_none() {
            guestd_sdk::testkit::skip("no zone database (tzdata) here");
        }
        data
    }

    /// Version 1 of a zone file of a later one: its first part, which ends where the second's header begins.
    fn first_version(data: &[u8]) -> Vec<u8> {
        let second = data[4..].windows(4).position(|bytes| bytes == b"TZif").unwrap() + 4;
        let mut first = data[..second].to_vec();
        first[4] = 0;
        first
    }

    #[test]
    fn rules_of_posix_are_understood() {
        assert_eq!(at("ABC5", WINTER), "-05:00:00 ABC");
        assert_eq!(at("<+0330>-3:30", WINTER), "+03:30:00 +0330");
        assert_eq!(at("CET-1CEST,M3.5.0,M10.5.0/3", WINTER), "+01:00:00 CET");
        assert_eq!(at("CET-1CEST,M3.5.0,M10.5.0/3", SUMMER), "+02:00:00 CEST");
    }

    /// POSIX.1-2024 and RFC 9636, 3.3.1: from -167 to 167, as glibc and GLib have it.
    #[test]
    fn a_rule_may_have_hours_of_other_days() {
        // Around the change to summer time of 2026, on 26 March.
        let times: Vec<i64> = (0..480).map(|hours| 1_773_600_000 + hours * 3600).collect();
        for start in ["26", "-1", "50", "-167", "167", "24:59:59"] {
            let tz = format!("IST-2IDT,M3.4.4/{start},M10.5.0");
            let found: Vec<_> = times.iter().map(|&time| at(&tz, time)).collect();
            assert_eq!(found, date(&tz, &times), "{tz}");
            assert!(
                found.iter().any(|shown| shown.ends_with("IDT")) && found.iter().any(|shown| shown.ends_with("IST"))
            );
        }
    }

    #[test]
    fn what_names_no_zone_is_none() {
        for name in [
            "",
            "No/Such_Zone",
            ":",
            ":No/Such_Zone",
            ":ABC5",
            "/etc/passwd",
            "/",
            "\u{fffd}",
            "A",
            "AB3",
            "ABC",
            "ABC25",
            "ABC999",
            "IST-2IDT,M3.4.4/168,M10.5.0",
            " ABC5",
            "ABC5 ",
        ] {
            assert_eq!(named_zone(name), None, "{name}");
        }
    }

    #[test]
    fn every_zone_of_this_machine_is_what_date_says() {
        let mut files = Vec::new();
        zone_files(Path::new(DATABASES[0]), &mut files);
        if files.is_empty() {
            guestd_sdk::testkit::skip("no zone database (tzdata) here");
            return;
        }
        // In 1906, 1938, 1970, 1982, 1999, the winter and the summer of 2026, 2037, 2038, 2053, 2100.
        let times = [
            -2_000_000_000,
            -1_000_000_000,
            0,
            400_000_000,
            930_000_000,
            WINTER,
            SUMMER,
            2_120_000_000,
            2_160_000_000,
            2_620_000_000,
            4_110_000_000,
        ];
        let mut seen = BTreeSet::new();
        for file in files {
            let data = fs::read(&file).unwrap();
            if !seen.insert(data.clone()) {
                continue;
            }
            let tz = format!(":{}", file.display());
            let zone = named_zone(&tz).unwrap_or_else(|| panic!("{tz} is not understood"));
            let found: Vec<_> = times.iter().map(|&time| shown(&zone, time)).collect();
            assert_eq!(found, date(&tz, &times), "{tz}");
        }
    }

    #[test]
    fn a_file_without_a_footer_goes_on_with_its_last_type() {
        let Some(data) = tokyo() else { return };
        let footer = data[..data.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
        let empty_footer = [&data[..footer], b"\n\n"].concat();
        for data in [first_version(&data), empty_footer] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("zone");
            fs::write(&path, data).unwrap();
            let tz = format!(":{}", path.display());
            for time in [WINTER, SUMMER, 4_110_000_000] {
                assert_eq!(at(&tz, time), "+09:00:00 JST");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_zone_is_utc() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        let guest = Guest::rehearsal(directory.path().to_owned());
        let mut files: Vec<Vec<u8>> = vec![Vec::new(), b"TZif2".to_vec(), vec![0xFF; 5000]];
        // A header that promises more than there is.
        files.push([b"TZif2".as_slice(), &[0; 15], &[0x7F; 24]].concat());
        for file in files {
            fs::write(directory.path().join("etc/localtime"), &file).unwrap();
            assert_eq!(*Zone::of(&guest).get(), TimeZone::UTC, "{file:?}");
        }
    }

    #[test]
    fn no_damage_to_a_file_is_more_than_an_error() {
        let Some(data) = tokyo() else { return };
        let damaged = |data: &[u8]| {
            if let Ok(zone) = TimeZone::tzif("", data) {
                for time in [i64::MIN, -2_000_000_000, WINTER, i64::MAX] {
                    shown(&zone, time);
                }
            }
        };
        for data in [first_version(&data), data] {
            for at in 0..data.len() {
                damaged(&data[..at]);
                for bits in [0x01, 0x40, 0x80, 0xFF] {
                    let mut other = data.clone();
                    other[at] ^= bits;
                    damaged(&other);
                }
            }
        }
    }
}

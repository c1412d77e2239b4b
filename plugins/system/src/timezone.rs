//! `guest-get-timezone`, and the local time that some hardware clocks keep.

use std::path::Path;
use std::sync::Arc;

use guestd_sdk::prelude::*;
use tz::timezone::TimeZoneSettings;
use tz::{LocalTimeType, TimeZone};

use crate::System;
use crate::guest::{Guest, read_file};
use crate::kept_file::KeptFile;
use crate::types::Timezone;

/// The guest's zone where the environment names none.
const LOCAL_TIME: &str = "/etc/localtime";

/// No zone's file comes near to this size, in bytes.
const ZONE_LIMIT: u64 = 256 * 1024;

/// `guest-get-timezone`: the zone that the agent's own `TZ` names, else that of `/etc/localtime`. One that cannot be
/// read is UTC, as in the C library.
pub fn timezone(ctx: &Ctx<System>, _: NoArgs) -> Result<Timezone, CommandError> {
    let now = ctx.state.clock.now().tv_sec;
    let kind = local_time_type(&ctx.state.zone.get(), now);
    // Only the library's own UTC has no name.
    let name = match kind.time_zone_designation() {
        "" => "UTC",
        name => name,
    };
    Ok(Timezone { zone: name.to_owned(), offset: kind.ut_offset() })
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
            Some(name) => Self::Named(Arc::new(named_zone(name).unwrap_or_else(TimeZone::utc))),
            None => Self::Local(KeptFile::new(vec![guest.path(LOCAL_TIME).into_owned()], ZONE_LIMIT, |data| {
                TimeZone::from_tz_data(data).unwrap_or_else(|_| TimeZone::utc())
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

/// The zone that a value of `TZ` names by the rules of tzset(3): a file of the zone database, or a rule.
fn named_zone(name: &str) -> Option<TimeZone> {
    let read = |path: &str| Ok(read_file(Path::new(path), ZONE_LIMIT as usize)?);
    TimeZoneSettings::new(TimeZoneSettings::DEFAULT_DIRECTORIES, read).parse_posix_tz(name).ok()
}

/// What the clocks of a zone show at a moment, in seconds since 1970.
pub(crate) fn local_time_type(zone: &TimeZone, at: i64) -> LocalTimeType {
    zone.find_local_time_type(at).copied().unwrap_or_else(|_| LocalTimeType::utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINTER: i64 = 1_768_000_000;
    const SUMMER: i64 = 1_784_000_000;

    fn at(tz: &str, time: i64) -> (String, i32) {
        let kind = local_time_type(&named_zone(tz).unwrap(), time);
        (kind.time_zone_designation().to_owned(), kind.ut_offset())
    }

    #[test]
    fn rules_of_posix_are_understood() {
        assert_eq!(at("ABC5", WINTER), ("ABC".to_owned(), -18_000));
        assert_eq!(at("CET-1CEST,M3.5.0,M10.5.0/3", WINTER), ("CET".to_owned(), 3600));
        assert_eq!(at("CET-1CEST,M3.5.0,M10.5.0/3", SUMMER), ("CEST".to_owned(), 7200));
    }

    #[test]
    fn what_names_no_zone_is_none() {
        for name in ["", "No/Such_Zone", ":", ":No/Such_Zone", "/etc/passwd", "/", "\u{fffd}", "A", "ABC999"] {
            assert_eq!(named_zone(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_zone_is_utc() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let guest = Guest::rehearsal(directory.path().to_owned());
        let mut files: Vec<Vec<u8>> = vec![Vec::new(), b"TZif2".to_vec(), vec![0xFF; 5000]];
        // A header that promises more than there is.
        files.push([b"TZif2".as_slice(), &[0; 15], &[0x7F; 24]].concat());
        for file in files {
            std::fs::write(directory.path().join("etc/localtime"), &file).unwrap();
            assert_eq!(*Zone::of(&guest).get(), TimeZone::utc(), "{file:?}");
        }
    }
}

//! What goes into the commands of this set and what comes out. Names and optional members are those of QEMU's schema.

use serde::{Deserialize, Serialize, Serializer};

/// The answer of `guest-get-osinfo`, QEMU's `GuestOSInfo`.
///
/// What the guest does not say is left out; os-release(5)'s defaults are not put in its place.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct OsInfo {
    /// The kernel's release, as `6.1.0-28-amd64`: `release` of uname(2).
    pub kernel_release: String,
    /// The kernel's version, as `#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1`: `version` of uname(2).
    pub kernel_version: String,
    /// The architecture, as `x86_64`: `machine` of uname(2).
    pub machine: String,
    /// `ID` of os-release(5), as `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `NAME` of os-release(5), as `Debian GNU/Linux`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `PRETTY_NAME` of os-release(5), as `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretty_name: Option<String>,
    /// `VERSION` of os-release(5), as `12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `VERSION_ID` of os-release(5), as `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// `VARIANT` of os-release(5), as `Server Edition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `VARIANT_ID` of os-release(5), as `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<String>,
}

/// The answer of `guest-get-host-name`, QEMU's `GuestHostName`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct HostName {
    /// The guest's name, as gethostname(2) gives it: with a domain only where the administrator put one in.
    pub host_name: String,
}

/// The answer of `guest-get-timezone`, QEMU's `GuestTimezone`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timezone {
    /// The zone's abbreviation at this moment, as `CEST`. For people only.
    pub zone: String,
    /// The offset to UTC at this moment in seconds, daylight saving time included: positive east of Greenwich.
    pub offset: i32,
}

/// The arguments of `guest-set-time`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetTimeArgs {
    /// The time to set, in nanoseconds since 1970-01-01 00:00:00 UTC; before the year 2070. Without it the time is
    /// read from the hardware clock.
    pub time: Option<i64>,
}

/// The answer of `guest-get-load`, QEMU's `GuestLoadAverage`. The values have two decimals, as in `/proc/loadavg`.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadAverage {
    /// Processes that run or want to, or wait for a disk, on average over one minute. Not divided by the number of CPUs.
    pub load1m: Number,
    /// The same over five minutes.
    pub load5m: Number,
    /// The same over fifteen minutes.
    pub load15m: Number,
}

/// An item of the answer of `guest-get-users`, QEMU's `GuestUser`: somebody who is logged in.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// The user's name.
    pub user: String,
    /// When the user logged in, in seconds since 1970-01-01 00:00:00 UTC with a fraction; the earliest time of a user
    /// who is logged in several times.
    pub login_time: Number,
}

/// The answer of `__org.guestd_get-memory`: the guest's memory as its kernel sees it.
#[derive(Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// `MemTotal` of proc_meminfo(5) in bytes: the memory that the kernel manages, less than what the guest was given.
    pub total: u64,
    /// `MemAvailable` in bytes: the kernel's estimate of what new programs can have without swapping. Left out by
    /// kernels before 3.14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// `MemFree` in bytes: what nobody uses at all.
    pub free: u64,
    /// `Buffers` in bytes: caches of block devices.
    pub buffers: u64,
    /// `Cached` in bytes: caches of files, those on tmpfs and shared memory included.
    pub cached: u64,
    /// `SwapTotal` in bytes.
    pub swap_total: u64,
    /// `SwapFree` in bytes.
    pub swap_free: u64,
    /// How much work waits for memory. Left out where the kernel does not measure it (kernels before 4.20, `psi=0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Pressure stall information for memory: `/proc/pressure/memory`, as the kernel's `accounting/psi.rst` defines it.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// Time in which at least one task waited for memory.
    pub some: Stall,
    /// Time in which all tasks that had something to do waited for memory.
    pub full: Stall,
}

/// A line of pressure stall information.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Stall {
    /// Share of the last 10 seconds in percent, 0 to 100.
    pub avg10: Number,
    /// Share of the last 60 seconds in percent.
    pub avg60: Number,
    /// Share of the last 300 seconds in percent.
    pub avg300: Number,
    /// The time altogether since the guest's start in microseconds.
    pub total: u64,
}

/// QEMU's `number`: written without a fraction where it has none, as qemu-ga does.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Up to 2^53 every whole f64 is an i64 of the same value.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = self.0.fract() == 0.0 && self.0.abs() <= EXACT;
        if whole { serializer.serialize_i64(self.0 as i64) } else { serializer.serialize_f64(self.0) }
    }
}

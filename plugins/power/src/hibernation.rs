//! Whether the kernel has a place for the image of the guest's memory: swap that outlives the power, and room in it.
//!
//! It writes the image into one swap area: the one on the device of `/sys/power/resume`, or where that is unset into
//! the first of `/proc/swaps`, whatever that is (its documents `power/swsusp.rst` and `ABI/testing/sysfs-power`). In
//! zram the image would be lost with the memory that it is an image of.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use guestd_guest::octal::unescape;

use crate::machine::{Holder, Machine, Number};

/// The swap areas, in the kernel's order (proc_swaps(5)).
const SWAPS: &str = "/proc/swaps";
/// The device that the image is written to; 0:0: unset.
const RESUME: &str = "/sys/power/resume";
/// How large the kernel tries to keep the image, in bytes.
const IMAGE_SIZE: &str = "/sys/power/image_size";
const MEMINFO: &str = "/proc/meminfo";
/// What has to be free in swap besides the image, in bytes: the kernel's `PAGES_FOR_IO`.
const BESIDE_IMAGE: u64 = 4 << 20;

/// A line of `/proc/swaps`.
struct Area {
    path: PathBuf,
    /// In bytes.
    free: u64,
}

/// Makes sure that an image of the guest's memory would be written to where it is found again. The error is the
/// reason why it would not, a clause.
pub(crate) fn has_place(machine: &Machine) -> Result<(), String> {
    let area = image_area(machine)?;
    let holder = holder(machine, &area.path);
    let holder = holder.ok_or_else(|| format!("it is not to be told what {} lies on", area.path.display()))?;
    if is_in_memory(machine, holder, &mut HashSet::new()) {
        return Err(format!("{} is kept in memory", area.path.display()));
    }
    let needed = most_of_image(machine).saturating_add(BESIDE_IMAGE);
    if area.free <= needed {
        let (path, free) = (area.path.display(), area.free);
        return Err(format!("{path} has {free} bytes left, and {needed} may be needed"));
    }
    Ok(())
}

/// The swap area that the kernel would take.
fn image_area(machine: &Machine) -> Result<Area, String> {
    let mut areas = areas(&fs::read(machine.path(SWAPS)).unwrap_or_default()).into_iter();
    let resume = text(machine, RESUME).and_then(|text| number(&text)).filter(|number| *number != (0, 0));
    let Some(resume) = resume else { return areas.next().ok_or_else(|| "there is no swap".to_owned()) };
    // The file systems of some files, as btrfs, have a number that is no device's: the kernel knows better.
    let is_there = |holder: Holder| holder.device == resume || (holder.device.0 == 0 && !holder.in_memory);
    let area = areas.find(|area| holder(machine, &area.path).is_some_and(is_there));
    area.ok_or_else(|| format!("there is no swap on the device of {RESUME}, {}:{}", resume.0, resume.1))
}

/// The most that the image can take, in bytes: the memory that is used, and what the kernel tries to keep it below.
/// Where it cannot be told the kernel still refuses what it finds too large.
fn most_of_image(machine: &Machine) -> u64 {
    let limit = text(machine, IMAGE_SIZE).and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    let memory = text(machine, MEMINFO).unwrap_or_default();
    let kibibytes =
        |key: &str| memory.lines().find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()?.parse().ok());
    let used =
        kibibytes("MemTotal:").zip(kibibytes("MemFree:")).map(|(total, free): (u64, u64)| total.saturating_sub(free));
    used.map_or(0, |used| used.saturating_mul(1024)).min(limit)
}

/// The lines behind the heading. What is no area is left out.
fn areas(table: &[u8]) -> Vec<Area> {
    table.split(|byte| *byte == b'\n').skip(1).filter_map(area).collect()
}

/// `/dev/vda2    partition  1048572  0  -2`: sizes in KiB.
fn area(line: &[u8]) -> Option<Area> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let path = PathBuf::from(OsString::from_vec(unescape(words.next()?).into_owned()));
    let _type = words.next()?;
    let mut kibibytes = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (size, used) = (kibibytes()?, kibibytes()?);
    Some(Area { path, free: size.saturating_sub(used).saturating_mul(1024) })
}

/// What a path lies on; of a device node that is not there what sysfs says of its name.
fn holder(machine: &Machine, path: &Path) -> Option<Holder> {
    let by_name = || {
        let name = path.strip_prefix("/dev").ok()?.to_str()?.replace('/', "!");
        let device = number(&text(machine, format!("/sys/class/block/{name}/dev"))?)?;
        Some(Holder { device, in_memory: false })
    };
    machine.kernel().holder(&machine.path(path)).ok().or_else(by_name)
}

/// Whether any of the devices that something is stored on in the end is memory, or a file in memory.
fn is_in_memory(machine: &Machine, holder: Holder, seen: &mut HashSet<Number>) -> bool {
    if holder.in_memory {
        return true;
    }
    let (major, minor) = holder.device;
    if major == 0 || !seen.insert(holder.device) {
        return false;
    }
    let Ok(mut directory) = fs::canonicalize(machine.path(format!("/sys/dev/block/{major}:{minor}"))) else {
        return false;
    };
    // sysfs's entry of a partition is a directory in that of its disk.
    if directory.join("partition").exists() {
        directory.pop();
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_numbered(&name, "zram") || is_numbered(&name, "ram") {
        return true;
    }
    if let Ok(mut file) = fs::read(directory.join("loop/backing_file")) {
        // A line break ends the file; a name that has one of its own keeps it.
        file.pop();
        let file = PathBuf::from(OsString::from_vec(file));
        // What cannot be looked at may be anywhere.
        return self::holder(machine, &file).is_none_or(|holder| is_in_memory(machine, holder, seen));
    }
    let members = fs::read_dir(directory.join("slaves")).into_iter().flatten().flatten();
    let mut devices = members.filter_map(|member| number(&fs::read_to_string(member.path().join("dev")).ok()?));
    devices.any(|device| is_in_memory(machine, Holder { device, in_memory: false }, seen))
}

/// Whether a device's name is `kind` and a number.
fn is_numbered(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `254:1`, the form of sysfs's `dev` files.
pub(crate) fn number(text: &str) -> Option<Number> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn text(machine: &Machine, path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(machine.path(path)).ok()
}

//! `guest-get-vcpus` and `guest-set-vcpus`: `/sys/devices/system/cpu` (the kernel's `core-api/cpu_hotplug.rst`).

use std::fs;
use std::io;

use guestd_sdk::prelude::*;

use crate::attribute::{self, AttributeError};
use crate::hardware::Hardware;
use crate::machine::Machine;
use crate::types::{LogicalProcessor, SetVcpusArgs};

/// A directory `cpuN` below it for each processor that is there, with a file `online` where it can be switched.
pub(crate) const CPUS: &str = "/sys/devices/system/cpu";
/// Of a processor whether it is online; of all of them the mask of those that are.
const ONLINE: &str = "online";
/// The mask of those that are there.
const PRESENT: &str = "present";
/// Many more than any kernel's (`NR_CPUS`).
const MOST: u32 = 1 << 16;

/// `guest-get-vcpus`: all processors that the guest has, in the order of their numbers.
pub fn get_vcpus(ctx: &Ctx<Hardware>, _: NoArgs) -> Result<Vec<LogicalProcessor>, CommandError> {
    list(&ctx.state.machine)
}

/// `guest-set-vcpus`: switches processors on and off, one after the other, up to the first that fails. The answer is
/// how many are as they should be; that the very first failed is an error.
pub fn set_vcpus(ctx: &Ctx<Hardware>, args: SetVcpusArgs) -> Result<usize, CommandError> {
    for (done, processor) in args.vcpus.iter().enumerate() {
        match set_online(&ctx.state.machine, processor.logical_id, processor.online) {
            Ok(true) => {
                let state = if processor.online { "online" } else { "offline" };
                ctx.info(format_args!("processor {} is {state}", processor.logical_id));
            }
            Ok(false) => {}
            Err(error) if done == 0 => return Err(error),
            Err(error) => {
                ctx.warn(format_args!("guest-set-vcpus ends after {done} processors: {}", error.desc()));
                return Ok(done);
            }
        }
    }
    Ok(args.vcpus.len())
}

/// The numbers of the processors that are there, in order.
pub(crate) fn numbers(machine: &Machine) -> io::Result<Vec<u64>> {
    numbered(machine, CPUS, "cpu")
}

/// The numbers N of all entries `prefixN` of a directory, in order.
pub(crate) fn numbered(machine: &Machine, directory: &str, prefix: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(machine.path(directory))? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| number_of(name, prefix)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// N of `prefixN`, where that is how the kernel writes it.
pub(crate) fn number_of(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

fn list(machine: &Machine) -> Result<Vec<LogicalProcessor>, CommandError> {
    let directory = attribute::open_directory(&machine.path(CPUS))
        .map_err(|error| CommandError::os(format_args!("failed to list entries: {CPUS}"), &error))?;
    let mask = |name: &str| {
        let value = attribute::get(&directory, name).map_err(|error| failure(name, &error))?;
        let numbers = mask(&value);
        numbers.ok_or_else(|| CommandError::new(format!("sysfs file \"{name}\" holds no list of processors")))
    };
    // The two masks are read without waiting for a processor that is being switched, as its own file is not.
    let (present, online) = (mask(PRESENT)?, mask(ONLINE)?);
    let processor = |number: u32| LogicalProcessor {
        logical_id: number.into(),
        online: online.binary_search(&number).is_ok(),
        // The one that the kernel cannot do without has no such file.
        can_offline: Some(attribute::exists(&directory, &format!("cpu{number}/{ONLINE}"))),
    };
    Ok(present.into_iter().map(processor).collect())
}

/// A mask in the kernel's list form, as `0-3,8`, in order; empty is a mask too. `None` if it is none.
fn mask(value: &[u8]) -> Option<Vec<u32>> {
    let text = std::str::from_utf8(value).ok()?;
    let mut numbers = Vec::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST || numbers.last().is_some_and(|before| *before >= first) {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Switches one processor, and says whether there was something to do.
pub(crate) fn set_online(machine: &Machine, logical_id: i64, online: bool) -> Result<bool, CommandError> {
    let path = format!("{CPUS}/cpu{logical_id}/");
    let directory = attribute::open_directory(&machine.path(&path))
        .map_err(|error| CommandError::os(format_args!("open(\"{path}\")"), &error))?;
    match attribute::change(directory, ONLINE, if online { "1" } else { "0" }, |value| is_online(value) == online) {
        Ok(changed) => Ok(changed),
        Err(error) if error.is_absent() && online => Ok(false),
        Err(error) if error.is_absent() => {
            Err(CommandError::new(format!("logical processor #{logical_id} can't be offlined")))
        }
        Err(error) => Err(failure(&format!("cpu{logical_id}//{ONLINE}"), &error)),
    }
}

fn is_online(value: &[u8]) -> bool {
    value.first() != Some(&b'0')
}

/// qemu-ga's words; the doubled slash in a processor's file is its too.
fn failure(name: &str, error: &AttributeError) -> CommandError {
    let (call, text) = error.parts();
    CommandError::new(format!("{call}(\"{CPUS}/{name}\"): {text}"))
}

#[cfg(test)]
mod tests {
    use super::{mask, number_of};

    #[test]
    fn masks_are_lists_of_ranges() {
        assert_eq!(mask(b"0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(mask(b"7"), Some(vec![7]));
        assert_eq!(mask(b""), Some(vec![]));
        for text in ["x", "0-", "-1", "3-1", "1,1", "2,1", "0-65536", "0-4294967295", "0 1", "0-3:1/2", "\u{e9}"] {
            assert_eq!(mask(text.as_bytes()), None, "{text}");
        }
        assert_eq!(mask(b"\xff"), None);
    }

    #[test]
    fn only_the_kernels_own_spelling_of_a_number_counts() {
        assert_eq!(number_of("cpu0", "cpu"), Some(0));
        assert_eq!(number_of("cpu4096", "cpu"), Some(4096));
        for name in ["cpu", "cpu01", "cpu+1", "cpu-1", "cpu1x", "cpufreq", "xcpu1", "cpu99999999999999999999"] {
            assert_eq!(number_of(name, "cpu"), None, "{name}");
        }
    }
}

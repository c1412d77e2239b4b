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
pub(crate) const ONLINE: &str = "online";

/// `guest-get-vcpus`: all processors that the guest has, in the order of their numbers.
///
/// The masks are read without waiting for a processor that is being switched, as its own file is not.
pub fn get_vcpus(ctx: &Ctx<Hardware>, _: NoArgs) -> Result<Vec<LogicalProcessor>, CommandError> {
    ctx.state.masks.list(&ctx.state.machine)
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
pub(crate) fn failure(name: &str, error: &AttributeError) -> CommandError {
    let (call, text) = error.parts();
    CommandError::new(format!("{call}(\"{CPUS}/{name}\"): {text}"))
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn only_the_kernels_own_spelling_of_a_number_counts() {
        assert_eq!(number_of("cpu0", "cpu"), Some(0));
        assert_eq!(number_of("cpu4096", "cpu"), Some(4096));
        for name in ["cpu", "cpu01", "cpu+1", "cpu-1", "cpu1x", "cpufreq", "xcpu1", "cpu99999999999999999999"] {
            assert_eq!(number_of(name, "cpu"), None, "{name}");
        }
    }
}

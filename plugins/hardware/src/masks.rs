//! Which processors are there and which are online: the masks in `/sys/devices/system/cpu` (the kernel's
//! `admin-guide/cputopology.rst`).

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use guestd_sdk::CommandError;

use crate::attribute;
use crate::machine::Machine;
use crate::types::LogicalProcessor;
use crate::vcpus::{CPUS, ONLINE, failure};

/// The mask of those that are there.
const PRESENT: &str = "present";
/// Many more than any kernel's (`NR_CPUS`).
const MOST: u32 = 1 << 16;

/// What `guest-get-vcpus` keeps from one request to the next.
///
/// The masks' files stay open, since opening a file of sysfs takes longer than reading it; what is read is the
/// kernel's of that moment. Whether a processor can be switched is settled when it is added, so it is looked up once
/// for as long as the same ones are there.
#[derive(Default)]
pub(crate) struct Masks(Mutex<Option<Kept>>);

struct Kept {
    present: OwnedFd,
    online: OwnedFd,
    /// The mask of those that are there.
    there: Vec<u8>,
    /// Their numbers, and whether each can be switched.
    processors: Vec<(u32, bool)>,
}

impl Masks {
    /// All processors that are there, in the order of their numbers.
    pub fn list(&self, machine: &Machine) -> Result<Vec<LogicalProcessor>, CommandError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match &mut *kept {
            Some(kept) => kept,
            empty => empty.insert(Kept::open(machine)?),
        };
        let there = attribute::read_again(&kept.present).map_err(|error| failure(PRESENT, &error))?;
        if there != kept.there {
            kept.processors = switchable(machine, &there)?;
            kept.there = there;
        }
        let online = attribute::read_again(&kept.online).map_err(|error| failure(ONLINE, &error))?;
        let online = mask(&online).ok_or_else(|| no_mask(ONLINE))?;
        let processor = |(number, can_offline): &(u32, bool)| LogicalProcessor {
            logical_id: (*number).into(),
            online: online.binary_search(number).is_ok(),
            can_offline: Some(*can_offline),
        };
        Ok(kept.processors.iter().map(processor).collect())
    }
}

impl Kept {
    fn open(machine: &Machine) -> Result<Self, CommandError> {
        let directory = cpus(machine)?;
        let open = |name| attribute::open(&directory, name).map_err(|error| failure(name, &error));
        Ok(Self { present: open(PRESENT)?, online: open(ONLINE)?, there: Vec::new(), processors: Vec::new() })
    }
}

fn cpus(machine: &Machine) -> Result<OwnedFd, CommandError> {
    attribute::open_directory(&machine.path(CPUS))
        .map_err(|error| CommandError::os(format_args!("failed to list entries: {CPUS}"), &error))
}

/// The processors of a mask, and whether each can be switched: the one that the kernel cannot do without has no file
/// for it.
fn switchable(machine: &Machine, there: &[u8]) -> Result<Vec<(u32, bool)>, CommandError> {
    let directory = cpus(machine)?;
    let numbers = mask(there).ok_or_else(|| no_mask(PRESENT))?;
    let can = |number: u32| (number, attribute::exists(&directory, &format!("cpu{number}/{ONLINE}")));
    Ok(numbers.into_iter().map(can).collect())
}

fn no_mask(name: &str) -> CommandError {
    CommandError::new(format!("sysfs file \"{name}\" holds no list of processors"))
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

#[cfg(test)]
mod tests {
    use super::mask;

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
}

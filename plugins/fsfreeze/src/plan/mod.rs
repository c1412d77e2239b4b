//! Which file systems a freeze takes, in which order, and by which open descriptors; and why it takes no others.

pub mod mountinfo;
mod names;
mod order;
mod stacking;
mod superblock;
mod treatment;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use guestd_sdk::CommandError;

use crate::config::{Config, OnError, Rule};
use crate::kernel::Kernel;
use crate::kernel::limited::Limited;
use mountinfo::{DeviceId, Mount};
use names::Names;
use superblock::superblocks;
pub use superblock::{Blocked, Superblock};
use treatment::{Treatment, treatment};
use tree::Tree;

/// A file system that takes part, opened.
pub struct Target {
    /// Its mounts are known by this one.
    pub mount: Mount,
    /// What to freeze and thaw it by.
    pub mounted: OwnedFd,
    /// Whether it is written back and no more, as its type knows no freezing.
    pub only_sync: bool,
    /// Whether it is, or may be, written through another that takes part: once that is frozen, nothing can be written back.
    pub lies_on_another: bool,
}

/// A mount that does not take part.
pub struct Left {
    /// The mount.
    pub mount: Mount,
    /// Why, for people.
    pub reason: String,
    /// Whether somebody should look at it.
    pub suspect: bool,
}

/// A freeze, planned.
#[derive(Default)]
pub struct Plan {
    /// What to freeze, in this order.
    pub targets: Vec<Target>,
    /// All other mounts, in the order of the table.
    pub left: Vec<Left>,
    /// What the request names and is no mount point.
    pub unknown: Vec<String>,
}

/// Makes the plan. `names`, where given, are the mount points to freeze: any mount point of a file system selects it.
///
/// Fails with qemu-ga's words where a file system cannot be opened and the configuration does not say to skip it.
pub fn make(kernel: &Limited, config: &Config, names: Option<&[String]>) -> Result<Plan, CommandError> {
    let mounts = read(kernel.kernel())?;
    let tree = Tree::new(&mounts);
    let names = names.map(Names::new);
    let unknown = names.as_ref().map_or_else(Vec::new, |names| names.unknown(&mounts));
    let mut plan = Plan { unknown, ..Plan::default() };
    let mut wanted = Vec::new();
    for superblock in superblocks(&mounts) {
        match chosen(&superblock, config, names.as_ref()) {
            Ok(treatment) => wanted.push((treatment, superblock)),
            Err(reason) => plan.leave(superblock, reason, false),
        }
    }
    wanted.reverse();
    for (superblock, treatment, lies_on_another) in sort(wanted, &mounts, kernel) {
        match superblock.open(kernel, &tree) {
            Ok(mounted) => {
                let only_sync = treatment == Treatment::Sync;
                plan.targets.extend(superblock.known_by().cloned().map(|mount| Target {
                    mount,
                    mounted,
                    only_sync,
                    lies_on_another,
                }));
                plan.leave_aliases(superblock);
            }
            Err(Blocked::Unreachable(reason)) => plan.leave(superblock, reason, true),
            Err(Blocked::Failed(reason)) if config.on_error == OnError::Fail => {
                let point = superblock.known_by().map(|mount| mount.point.clone()).unwrap_or_default();
                return Err(crate::freeze::with_remedy(
                    &format!("failed to open {}: {reason}", point.display()),
                    &point,
                ));
            }
            Err(Blocked::Failed(reason)) => plan.leave(superblock, format!("failed to open: {reason}"), true),
        }
    }
    Ok(plan)
}

/// All file systems that could be frozen, opened, in the order in which they would be, for a thaw that knows of no plan; of
/// each that cannot be opened the reason is told.
pub fn freezable(kernel: &Limited, mut told: impl FnMut(&Mount, &str)) -> Result<Vec<(Mount, OwnedFd)>, CommandError> {
    let mounts = read(kernel.kernel())?;
    let tree = Tree::new(&mounts);
    let mut found: Vec<_> =
        superblocks(&mounts).into_iter().map(|superblock| (treatment_of(&superblock), superblock)).collect();
    found.retain(|(treatment, _)| *treatment == Treatment::Freeze);
    found.reverse();
    let mut opened = Vec::with_capacity(found.len());
    for (superblock, ..) in sort(found, &mounts, kernel) {
        let Some(mount) = superblock.known_by() else { continue };
        match superblock.open(kernel, &tree) {
            Ok(mounted) => opened.push((mount.clone(), mounted)),
            Err(Blocked::Unreachable(reason) | Blocked::Failed(reason)) => told(mount, &reason),
        }
    }
    Ok(opened)
}

/// Opens a superblock by any mount that leads to it, the one at `point` first. `None`: it is mounted nowhere that
/// this process can see.
pub fn reopen(kernel: &Limited, device: DeviceId, point: &Path) -> Result<Option<OwnedFd>, String> {
    let mounts = read(kernel.kernel()).map_err(|error| error.desc().to_owned())?;
    let tree = Tree::new(&mounts);
    let Some(mut superblock) = superblocks(&mounts).into_iter().find(|superblock| superblock.device() == Some(device))
    else {
        return Ok(None);
    };
    superblock.prefer(point);
    match superblock.open(kernel, &tree) {
        Ok(mounted) => Ok(Some(mounted)),
        Err(Blocked::Unreachable(_)) => Ok(None),
        Err(Blocked::Failed(reason)) => Err(reason),
    }
}

fn read(kernel: &dyn Kernel) -> Result<Vec<Mount>, CommandError> {
    let context = |error: io::Error| CommandError::os("failed to read /proc/self/mountinfo", &error);
    Ok(mountinfo::parse(&kernel.mountinfo().map_err(context)?))
}

fn treatment_of(superblock: &Superblock) -> Treatment {
    superblock.known_by().map_or(Treatment::Leave("not mounted"), treatment)
}

/// Whether a file system takes part, and how; else why not.
fn chosen(superblock: &Superblock, config: &Config, names: Option<&Names>) -> Result<Treatment, String> {
    let treatment = treatment_of(superblock);
    if let Treatment::Leave(reason) = treatment {
        return Err(reason.to_owned());
    }
    if names.is_some_and(|names| !superblock.mounts().iter().any(|mount| names.contain(&mount.point))) {
        return Err("not named by the request".to_owned());
    }
    let points = superblock.mounts().iter().map(|mount| mount.point.as_path());
    match config.rule_against(points) {
        None => Ok(treatment),
        Some(Rule::NotIncluded) => Err("matches no pattern of `include`".to_owned()),
        Some(Rule::Excluded(pattern)) => Err(format!("excluded by the pattern {pattern:?}")),
    }
}

/// Puts file systems into their order, and says of each whether it lies on another of them. What is only written back comes
/// first: through which devices is not known of all of it.
fn sort(
    wanted: Vec<(Treatment, Superblock)>,
    mounts: &[Mount],
    kernel: &Limited,
) -> Vec<(Superblock, Treatment, bool)> {
    let devices: Vec<DeviceId> = wanted.iter().filter_map(|(_, superblock)| superblock.device()).collect();
    let ordered = order::order(&devices, &stacking::stacking(mounts, &kernel.in_one_turn()));
    let places: BTreeMap<DeviceId, (usize, bool)> =
        ordered.into_iter().enumerate().map(|(at, (device, on_another))| (device, (at, on_another))).collect();
    let place = |superblock: &Superblock| superblock.device().and_then(|device| places.get(&device)).copied();
    let mut sorted: Vec<_> = wanted
        .into_iter()
        .map(|(treatment, superblock)| {
            let (at, on_another) = place(&superblock).unwrap_or_default();
            ((treatment != Treatment::Sync, at), (superblock, treatment, on_another))
        })
        .collect();
    sorted.sort_by_key(|(place, _)| *place);
    sorted.into_iter().map(|(_, found)| found).collect()
}

impl Plan {
    fn leave(&mut self, superblock: Superblock, reason: String, suspect: bool) {
        self.left.extend(superblock.known_by().cloned().map(|mount| Left { mount, reason, suspect }));
        self.leave_aliases(superblock);
    }

    fn leave_aliases(&mut self, superblock: Superblock) {
        let Some(first) = superblock.known_by() else { return };
        let reason = format!("the same file system as {}", first.point.display());
        let others = superblock.mounts().iter().skip(1).cloned();
        self.left.extend(others.map(|mount| Left { mount, reason: reason.clone(), suspect: false }));
    }
}

//! Which file systems a freeze takes, in which order, and by which open descriptors; and why it takes no others.

pub mod mountinfo;
mod order;
mod stacking;
mod treatment;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use guestd_sdk::CommandError;
use rustix::io::Errno;

use crate::config::{Config, OnError, Rule};
use crate::kernel::{Kernel, OpenError};
use mountinfo::{DeviceId, Mount};
use treatment::{Treatment, treatment};

/// A file system that takes part, opened.
pub struct Target {
    /// Its first mount, by whose mount point it is known.
    pub mount: Mount,
    /// What to freeze and thaw it by.
    pub mounted: OwnedFd,
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
    /// What to write back beforehand.
    pub synced: Vec<Target>,
    /// All other mounts, in the order of the table.
    pub left: Vec<Left>,
}

/// A file system with all its mounts.
pub struct Superblock {
    mounts: Vec<Mount>,
}

impl Superblock {
    /// The mount by whose mount point it is known.
    pub fn first(&self) -> Option<&Mount> {
        self.mounts.first()
    }

    /// Opens it by the first of its mounts that can be opened; the error is the first that is not
    /// [`OpenError::Unreachable`].
    pub fn open(&self, kernel: &dyn Kernel) -> Result<OwnedFd, OpenError> {
        open(kernel, &self.mounts)
    }
}

/// Makes the plan. `names`, where given, are the mount points to freeze; they must equal those of the table to the
/// byte, and of a file system that is mounted more than once only the first counts, as for qemu-ga.
///
/// Fails with qemu-ga's words where a file system cannot be opened and the configuration does not say to skip it.
pub fn make(kernel: &dyn Kernel, config: &Config, names: Option<&[&str]>) -> Result<Plan, CommandError> {
    let mounts = read(kernel)?;
    let mut plan = Plan::default();
    let mut wanted = Vec::new();
    for superblock in superblocks(&mounts) {
        match chosen(&superblock, config, names) {
            Ok(treatment) => wanted.push((treatment, superblock)),
            Err(reason) => plan.leave(superblock, reason, false),
        }
    }
    wanted.reverse();
    sort(&mut wanted, &mounts, kernel);
    for (treatment, superblock) in wanted {
        match (superblock.open(kernel), treatment) {
            (Ok(mounted), _) => {
                let target = plan.take(superblock, mounted);
                if treatment == Treatment::Sync { &mut plan.synced } else { &mut plan.targets }.extend(target);
            }
            (Err(OpenError::Unreachable), _) => {
                plan.leave(superblock, "mounted over, and reachable nowhere else".to_owned(), true);
            }
            (Err(OpenError::Refused(errno)), Treatment::Freeze) if config.on_error == OnError::Fail => {
                let point = superblock.first().map(|mount| mount.point.display().to_string());
                return Err(CommandError::os(format!("failed to open {}", point.unwrap_or_default()), &errno.into()));
            }
            (Err(OpenError::Refused(errno)), _) => {
                let reason = CommandError::os("failed to open", &errno.into()).desc().to_owned();
                plan.leave(superblock, reason, true);
            }
        }
    }
    Ok(plan)
}

/// All file systems that could be frozen, in the order in which they would be, for a thaw that knows of no plan.
pub fn freezable(kernel: &dyn Kernel) -> Result<Vec<Superblock>, CommandError> {
    let mounts = read(kernel)?;
    let mut found: Vec<_> =
        superblocks(&mounts).into_iter().map(|superblock| (treatment_of(&superblock), superblock)).collect();
    found.retain(|(treatment, _)| *treatment == Treatment::Freeze);
    found.reverse();
    sort(&mut found, &mounts, kernel);
    Ok(found.into_iter().map(|(_, superblock)| superblock).collect())
}

/// Opens a superblock by any mount that leads to it, the one at `point` first. `None`: it is mounted nowhere that
/// this process can see.
pub fn reopen(kernel: &dyn Kernel, device: DeviceId, point: &Path) -> Result<Option<OwnedFd>, Errno> {
    let text = kernel.mountinfo().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut mounts = mountinfo::parse(&text);
    mounts.retain(|mount| mount.device == device);
    mounts.sort_by_key(|mount| mount.point != point);
    match open(kernel, &mounts) {
        Ok(mounted) => Ok(Some(mounted)),
        Err(OpenError::Unreachable) => Ok(None),
        Err(OpenError::Refused(errno)) => Err(errno),
    }
}

fn read(kernel: &dyn Kernel) -> Result<Vec<Mount>, CommandError> {
    let context = |error: io::Error| CommandError::os("failed to read /proc/self/mountinfo", &error);
    Ok(mountinfo::parse(&kernel.mountinfo().map_err(context)?))
}

/// Groups mounts by superblock, in the order of their first mounts.
fn superblocks(mounts: &[Mount]) -> Vec<Superblock> {
    let mut places = BTreeMap::new();
    let mut found: Vec<Superblock> = Vec::new();
    for mount in mounts {
        let place = *places.entry(mount.device).or_insert(found.len());
        match found.get_mut(place) {
            Some(superblock) => superblock.mounts.push(mount.clone()),
            None => found.push(Superblock { mounts: vec![mount.clone()] }),
        }
    }
    found
}

fn treatment_of(superblock: &Superblock) -> Treatment {
    superblock.first().map_or(Treatment::Leave("not mounted"), treatment)
}

/// Whether a file system takes part, and how; else why not.
fn chosen(superblock: &Superblock, config: &Config, names: Option<&[&str]>) -> Result<Treatment, String> {
    let treatment = treatment_of(superblock);
    if let Treatment::Leave(reason) = treatment {
        return Err(reason.to_owned());
    }
    let Some(first) = superblock.first() else { return Err("not mounted".to_owned()) };
    if let Some(names) = names
        && !names.iter().any(|name| name.as_bytes() == first.point.as_os_str().as_bytes())
    {
        return Err("not named by the request".to_owned());
    }
    match config.rule_against(&first.point) {
        None => Ok(treatment),
        Some(Rule::NotIncluded) => Err("matches no pattern of `include`".to_owned()),
        Some(Rule::Excluded(pattern)) => Err(format!("excluded by the pattern {pattern:?}")),
    }
}

fn sort(wanted: &mut [(Treatment, Superblock)], mounts: &[Mount], kernel: &dyn Kernel) {
    let device = |superblock: &Superblock| superblock.first().map(|mount| mount.device);
    let devices: Vec<DeviceId> = wanted.iter().filter_map(|(_, superblock)| device(superblock)).collect();
    let ordered = order::order(&devices, &stacking::stacking(mounts, kernel));
    let places: BTreeMap<DeviceId, usize> = ordered.into_iter().enumerate().map(|(at, device)| (device, at)).collect();
    wanted.sort_by_key(|(_, superblock)| device(superblock).and_then(|device| places.get(&device).copied()));
}

fn open(kernel: &dyn Kernel, mounts: &[Mount]) -> Result<OwnedFd, OpenError> {
    let mut error = OpenError::Unreachable;
    for mount in mounts {
        match kernel.open(mount) {
            Ok(mounted) => return Ok(mounted),
            Err(other) if error == OpenError::Unreachable => error = other,
            Err(_) => {}
        }
    }
    Err(error)
}

impl Plan {
    fn take(&mut self, superblock: Superblock, mounted: OwnedFd) -> Option<Target> {
        let mut mounts = superblock.mounts.into_iter();
        let mount = mounts.next()?;
        self.leave_aliases(&mount.point, mounts);
        Some(Target { mount, mounted })
    }

    fn leave(&mut self, superblock: Superblock, reason: String, suspect: bool) {
        let mut mounts = superblock.mounts.into_iter();
        if let Some(mount) = mounts.next() {
            self.leave_aliases(&mount.point, mounts);
            self.left.push(Left { mount, reason, suspect });
        }
    }

    fn leave_aliases(&mut self, first: &Path, others: impl Iterator<Item = Mount>) {
        let reason = format!("the same file system as {}", first.display());
        self.left.extend(others.map(|mount| Left { mount, reason: reason.clone(), suspect: false }));
    }
}

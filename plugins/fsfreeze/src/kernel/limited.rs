//! The kernel, asked with a limit: what is asked before a freeze can lead to a server that is dead.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestd_sdk::helpers::{Helpers, NoAnswer};
use rustix::io::Errno;

use super::{Kernel, OpenError};
use crate::plan::mountinfo::{DeviceId, Mount};

/// What is asked for; what has not answered is not asked again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A mount, by its number, is opened, or an overlay's layers are looked up.
    Mount(u32),
    /// A file system is written back.
    Sync(DeviceId),
    /// A device node, a loop device, or a path.
    Path(PathBuf),
    /// The hooks are listed.
    Hooks,
}

/// The kernel with a time until which it is asked.
#[derive(Clone)]
pub struct Limited {
    kernel: Arc<dyn Kernel>,
    helpers: Arc<Helpers<Asked>>,
    /// How long one answer may take.
    patience: Duration,
    /// When everything has to be over; `None`: there is no such time.
    until: Option<Instant>,
}

impl Limited {
    /// `patience`: how long one answer may take; `until`: when everything has to be over.
    pub fn new(
        kernel: Arc<dyn Kernel>,
        helpers: Arc<Helpers<Asked>>,
        patience: Duration,
        until: Option<Instant>,
    ) -> Self {
        Self { kernel, helpers, patience, until }
    }

    /// The same, where all further answers together may take as long as one.
    pub fn in_one_turn(&self) -> Self {
        let end = Instant::now() + self.patience;
        Self { until: Some(self.until.map_or(end, |until| until.min(end))), ..self.clone() }
    }

    /// The kernel, for what cannot hang.
    pub fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// See [`Kernel::open`].
    pub fn open(&self, mount: &Mount) -> Result<Result<OwnedFd, OpenError>, NoAnswer> {
        let mount = mount.clone();
        self.ask(Asked::Mount(mount.id), move |kernel| kernel.open(&mount))
    }

    /// See [`Kernel::loop_holder`]; what does not answer says nothing.
    pub fn loop_holder(&self, name: &OsStr) -> Option<DeviceId> {
        let name: OsString = name.to_owned();
        self.ask(Asked::Path(PathBuf::from(&name)), move |kernel| kernel.loop_holder(&name)).ok()?
    }

    /// See [`Kernel::block_device`]; what does not answer says nothing.
    pub fn block_device(&self, node: &Path) -> Option<DeviceId> {
        let node = node.to_owned();
        self.ask(Asked::Path(node.clone()), move |kernel| kernel.block_device(&node)).ok()?
    }

    /// See [`Kernel::sync`]. It may take until the end, for there may be much to write.
    pub fn sync(&self, device: DeviceId, mounted: &Arc<OwnedFd>) -> Result<Result<(), Errno>, NoAnswer> {
        let mounted = Arc::clone(mounted);
        let kernel = Arc::clone(&self.kernel);
        self.helpers.run(Asked::Sync(device), self.left(Duration::MAX), move || kernel.sync(mounted.as_fd()))
    }

    /// Anything else that can hang.
    pub fn ask<T: Send + 'static>(
        &self,
        asked: Asked,
        call: impl FnOnce(&dyn Kernel) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let kernel = Arc::clone(&self.kernel);
        self.helpers.run(asked, self.left(self.patience), move || call(&*kernel))
    }

    fn left(&self, most: Duration) -> Duration {
        let now = Instant::now();
        self.until.map_or(most, |until| until.saturating_duration_since(now).min(most))
    }
}

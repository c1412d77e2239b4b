//! What the set's commands share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guestd_sdk::helpers::Helpers;
use guestd_sdk::prelude::*;

use crate::config::Config;
use crate::filesystems::Filesystems;
use crate::kernel::{Kernel, Linux};
use crate::machine::Machine;
use crate::serial::Serials;
use crate::space::Gauge;

/// The set's state.
pub struct Storage {
    pub(crate) machine: Machine,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) filesystems: Filesystems,
    pub(crate) gauge: Gauge,
    pub(crate) serials: Serials,
    /// Opens file systems for trimming; mounts by their numbers.
    pub(crate) openers: Helpers<u32>,
    /// Held while file systems are trimmed.
    pub(crate) trimming: Mutex<()>,
    /// A directory in memory that outlives the daemon; empty: there is none.
    pub(crate) run_dir: PathBuf,
    statfs_wait_ms: AtomicU32,
}

impl Storage {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let config: Config = daemon.config()?;
        let machine = Machine::of(daemon, config.rehearsal.as_deref())?;
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        Ok(Self {
            machine,
            gauge: Gauge::new(Arc::clone(&kernel)),
            kernel,
            serials: Serials::default(),
            filesystems: Filesystems::default(),
            openers: Helpers::default(),
            trimming: Mutex::new(()),
            run_dir: daemon.facts().run_dir,
            statfs_wait_ms: AtomicU32::new(config.statfs_wait_ms),
        })
    }

    /// Takes up the options as they are now. Where the guest's root is stays as it was.
    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let config: Config = ctx.config()?;
        ctx.state.statfs_wait_ms.store(config.statfs_wait_ms, Ordering::Relaxed);
        Ok(())
    }

    /// How long one file system may take to say how full it is.
    pub(crate) fn statfs_wait(&self) -> Duration {
        Duration::from_millis(self.statfs_wait_ms.load(Ordering::Relaxed).into())
    }
}

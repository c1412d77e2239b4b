//! What the set's commands share.

use std::sync::{Mutex, PoisonError};

use guestd_sdk::prelude::*;

use crate::auto_online::AutoOnline;
use crate::config::{Config, Kind};
use crate::machine::Machine;
use crate::masks::Masks;

/// The set's state.
pub struct Hardware {
    pub(crate) machine: Machine,
    pub(crate) masks: Masks,
    watch: Mutex<Option<AutoOnline>>,
}

impl Hardware {
    /// Starts watching for added hardware at once where the configuration asks for it.
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        let config: Config = daemon.config()?;
        let machine = Machine::of(daemon, config.rehearsal.as_deref())?;
        let watch = watch(daemon, &machine, &config)?;
        Ok(Self { machine, masks: Masks::default(), watch: Mutex::new(watch) })
    }

    /// Takes up `auto-online` as it is now. Where the guest's root is stays as it was.
    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let config: Config = ctx.config()?;
        let mut current = ctx.state.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().map(AutoOnline::kinds).unwrap_or_default() != kinds(&config) {
            // What is added between the two is left alone, as is all that is there at the start.
            *current = None;
            *current = watch(ctx, &ctx.state.machine, &config)?;
        }
        Ok(())
    }

    /// Ends the watching.
    pub(crate) fn stop(ctx: &Ctx<Self>) {
        *ctx.state.watch.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn kinds(config: &Config) -> Vec<Kind> {
    let mut kinds = config.auto_online.clone();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn watch(daemon: &Daemon, machine: &Machine, config: &Config) -> Result<Option<AutoOnline>, CommandError> {
    let kinds = kinds(config);
    if kinds.is_empty() {
        return Ok(None);
    }
    AutoOnline::start(daemon, machine, kinds).map(Some)
}

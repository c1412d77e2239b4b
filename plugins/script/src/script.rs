//! The state of the set, and the way from a request to its command.

use std::sync::{Arc, PoisonError, RwLock};

use guestd_program::Stop;
use guestd_sdk::prelude::*;
use guestd_sdk::{LogLevel, args};
use serde_json::{Map, Value};

use crate::command::CommandSpec;
use crate::run::{ready, run};
use crate::table::table;

/// The state of the set.
pub struct Script {
    /// The commands of the configuration in force.
    table: RwLock<Arc<Vec<CommandSpec>>>,
    stop: Stop,
}

impl Script {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        Ok(Self { table: RwLock::new(Arc::new(read(daemon)?)), stop: Stop::new()? })
    }

    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let table = Arc::new(read(ctx)?);
        *ctx.state.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    pub(crate) fn stop(ctx: &Ctx<Self>) {
        ctx.state.stop.fire();
    }

    /// Carries out a request for a command of the configuration.
    pub(crate) fn call(ctx: &Ctx<Self>, name: &str, request: Request) -> Result<Reply, CommandError> {
        let table = ctx.state.table();
        let not_found =
            || CommandError::with_class("CommandNotFound", format!("The command {name} has not been found"));
        let command = table.iter().find(|command| command.name == name).ok_or_else(not_found)?;
        let given: Map<String, Value> = args::parse(args::text_of(&request)?)?;
        run(ctx, command, &given, request.deadline_ms, &ctx.state.stop)
    }

    fn table(&self) -> Arc<Vec<CommandSpec>> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(daemon: &Daemon) -> Result<Vec<CommandSpec>, CommandError> {
    let table =
        table(&daemon.config::<Value>()?).map_err(|error| CommandError::new(format!("configuration: {error}")))?;
    for command in &table {
        // It may be installed later.
        if let Err(error) = ready(command) {
            daemon.log(LogLevel::Warn, format_args!("{} would fail now: {}", command.name, error.desc()));
        }
    }
    Ok(table)
}

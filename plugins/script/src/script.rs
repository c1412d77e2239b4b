//! The state of the set, and its commands.

use std::sync::{Arc, PoisonError, RwLock};

use guestd_sdk::prelude::*;
use guestd_sdk::{LogLevel, args};
use serde_json::{Map, Value};

use crate::command::CommandSpec;
use crate::process::Stop;
use crate::run::{ready, run};
use crate::table::table;

/// The state of the set.
pub struct Script {
    /// The commands of the configuration in force.
    table: RwLock<Arc<Vec<CommandSpec>>>,
    stop: Stop,
}

/// The arguments of `__org.guestd_script`.
#[derive(Deserialize)]
struct ScriptArgs {
    /// The name of a command of the configuration.
    command: String,
    /// What it is given.
    arguments: Option<Map<String, Value>>,
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

/// `__org.guestd_script`: carries out a command of the configuration.
pub(crate) fn script(ctx: &Ctx<Script>, request: Request) -> Result<Reply, CommandError> {
    let args: ScriptArgs = args::parse(args::text_of(&request)?)?;
    let table = ctx.state.table();
    let command = find(&table, usize::MAX, &args.command)?;
    run(ctx, command, &args.arguments.unwrap_or_default(), request.deadline_ms, &ctx.state.stop)
}

/// Carries out a request for a command of the configuration under its own name; `index` is its place in the [`table`]. Where the configuration
/// was read again since the request was routed, the name in the request is what counts.
pub fn call(ctx: &Ctx<Script>, index: usize, request: Request) -> Result<Reply, CommandError> {
    let table = ctx.state.table();
    let command = find(&table, index, &name_in(&request)?)?;
    let given: Map<String, Value> = args::parse(args::text_of(&request)?)?;
    run(ctx, command, &given, request.deadline_ms, &ctx.state.stop)
}

/// The command of that name, which is looked for at `index` first.
fn find<'t>(table: &'t [CommandSpec], index: usize, name: &str) -> Result<&'t CommandSpec, CommandError> {
    let at_index = table.get(index).filter(|command| command.name == name);
    at_index
        .or_else(|| table.iter().find(|command| command.name == name))
        .ok_or_else(|| CommandError::with_class("CommandNotFound", format!("The command {name} has not been found")))
}

/// The name of the command that a request asks for.
fn name_in(request: &Request) -> Result<String, CommandError> {
    let members = args::members(&request.buf).unwrap_or_default();
    let execute = members.iter().find(|member| member.key == "execute");
    let name = execute.and_then(|member| serde_json::from_slice(member.value).ok());
    name.ok_or_else(|| CommandError::new("the request names no command"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestd_sdk::abi::RVec;
    use serde_json::json;

    #[test]
    fn a_request_is_for_the_command_that_it_names() {
        let config = json!({"commands": {
            "__com.example_a": {"program": "/a"}, "__com.example_b": {"program": "/b"},
        }});
        let table = table(&config).unwrap();
        for (index, name, program) in [
            (0, r"__com.example_a", "/a"),
            (1, r"__com.example_b", "/b"),
            (0, r"__com.example_\u0062", "/b"),
            (7, r"__com.example_a", "/a"),
        ] {
            let text = format!(r#" {{"id": {{"execute": "x"}}, "execute": "{name}"}}"#);
            let request = Request { buf: RVec::from(text.into_bytes()), args_at: 0, args_len: 0, deadline_ms: 0 };
            let found = find(&table, index, &name_in(&request).unwrap()).unwrap();
            assert_eq!(found.program.to_str(), Some(program));
        }
        let error = find(&table, 0, "__com.example_c").unwrap_err();
        assert_eq!(error.class(), "CommandNotFound");
        assert_eq!(error.desc(), "The command __com.example_c has not been found");
        let request = Request { buf: RVec::from(b"{}".to_vec()), args_at: 0, args_len: 0, deadline_ms: 0 };
        assert!(name_in(&request).is_err());
    }
}

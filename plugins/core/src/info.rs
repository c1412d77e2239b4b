//! `guest-info`: the agent's version and its commands.

use std::sync::{Mutex, PoisonError};

use guestd_sdk::prelude::*;
use guestd_sdk::{answer, args};

/// The state of the set: the answer of `guest-info`, which is asked for all the time and seldom changes.
pub struct Info {
    version: String,
    /// The answer's text and the generation of the command list that it was made of.
    answer: Mutex<Option<(u64, Vec<u8>)>>,
}

/// QEMU's `GuestAgentInfo`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentInfo {
    /// The agent's version: `reported-version` of the configuration, or guestd's own.
    version: String,
    /// All commands, in no particular order.
    supported_commands: Vec<AgentCommand>,
}

/// QEMU's `GuestAgentCommandInfo`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
struct AgentCommand {
    /// Whether it would be carried out now.
    enabled: bool,
    /// Its name.
    name: String,
    /// Whether a success is answered.
    success_response: bool,
}

impl Info {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        Ok(Self { version: daemon.facts().reported_version, answer: Mutex::new(None) })
    }

    fn text(&self, daemon: &Daemon) -> Result<Vec<u8>, CommandError> {
        let generation = daemon.commands_generation();
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, text)) = &*answer
            && *made_of == generation
        {
            return Ok(text.clone());
        }
        let commands = daemon.commands().into_iter().map(|command| AgentCommand {
            enabled: command.enabled,
            name: command.name,
            success_response: command.success_response,
        });
        let info = AgentInfo { version: self.version.clone(), supported_commands: commands.collect() };
        let text = answer::to_json(&info)?;
        *answer = Some((generation, text.clone()));
        Ok(text)
    }
}

/// `guest-info`: every command with whether it is `enabled` now and whether a success is answered.
pub fn info(ctx: &Ctx<Info>, request: Request) -> Result<Reply, CommandError> {
    args::parse::<NoArgs>(args::text_of(&request)?)?;
    Ok(answer::reply_of(ctx.state.text(ctx)?))
}

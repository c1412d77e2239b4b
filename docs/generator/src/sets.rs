//! The sets with all that is known of them.

use anyhow::{Context, bail, ensure};
use guestd_sdk::abi::manifest::{Manifest, ManifestCommand};
use guestd_sdk::root;
use guestd_sdk::schema::{self, Schemas, SetSchemas};

use serde_json::Value;

use crate::notes::{self, CommandNotes, Notes};
use crate::protocol::QEMU;

/// A set.
pub struct Set {
    /// Its manifest.
    pub manifest: Manifest,
    /// What its `reference.toml` says.
    pub notes: Notes,
    /// Its commands, in the order of the manifest.
    pub commands: Vec<Command>,
}

/// A command.
pub struct Command {
    /// Its line in the manifest.
    pub manifest: ManifestCommand,
    /// Its arguments and its answer.
    pub schemas: Schemas,
    /// What the `reference.toml` says.
    pub notes: CommandNotes,
    /// Since when it is there: `QEMU 1.1` or `guestd 0.1`.
    pub since: String,
}

/// All sets, in the order of their names. Fails where the parts do not fit together, and says what to do.
pub fn all() -> anyhow::Result<Vec<Set>> {
    let mut sets = root::sets().map(|set| one(set.manifest)).collect::<anyhow::Result<Vec<_>>>()?;
    sets.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    Ok(sets)
}

fn one(manifest: &str) -> anyhow::Result<Set> {
    let manifest = Manifest::parse(manifest)?;
    let mut notes = notes::read(&manifest.name)?;
    let schemas = schema::sets().find(|set| set.set == manifest.name);
    let commands = manifest.commands.iter().map(|command| {
        let schemas = schemas_of(schemas, &command.name).with_context(|| {
            format!(
                "{} of the set {} has no schema: derive schemars::JsonSchema for its types under the feature `schema`, \
                 and name them if it is raw",
                command.name, manifest.name
            )
        })?;
        for (part, schema) in [("the arguments", &schemas.arguments), ("the answer", &schemas.answer)] {
            if let Some(member) = undescribed(schema.as_value()) {
                bail!("{member}, in {part} of {}, has no description: give the field a doc comment", command.name);
            }
        }
        let notes = notes
            .commands
            .remove(&command.name)
            .with_context(|| format!("{} is not in plugins/{}/reference.toml", command.name, manifest.name))?;
        Ok(Command { manifest: command.clone(), schemas, since: since(&command.name, &notes)?, notes })
    });
    let commands = commands.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some((name, _)) = notes.commands.first_key_value() {
        bail!("plugins/{}/reference.toml describes {name}, which the set does not have", manifest.name);
    }
    Ok(Set { manifest, notes, commands })
}

fn schemas_of(set: Option<&SetSchemas>, command: &str) -> Option<Schemas> {
    let command = set?.commands.iter().find(|entry| entry.name == command)?;
    (command.make)()
}

/// A member of an object anywhere in a schema that nothing is said about.
fn undescribed(schema: &Value) -> Option<String> {
    match schema {
        Value::Object(object) => {
            let members = object.get("properties").and_then(Value::as_object).into_iter().flatten();
            let is_described = |member: &Value| ["description", "const"].iter().any(|key| member.get(key).is_some());
            let mut own = members.filter(|(_, member)| !is_described(member)).map(|(name, _)| name.clone());
            own.next().or_else(|| object.values().find_map(undescribed))
        }
        Value::Array(items) => items.iter().find_map(undescribed),
        _ => None,
    }
}

fn since(command: &str, notes: &CommandNotes) -> anyhow::Result<String> {
    match (QEMU.commands.get(command), &notes.since) {
        (Some(qemu), None) => Ok(format!("QEMU {}", qemu.since)),
        (None, Some(since)) => Ok(format!("guestd {since}")),
        (theirs, _) => {
            ensure!(theirs.is_none(), "{command} is QEMU's: its reference.toml must not say since when it is there");
            bail!("{command} is guestd's own: its reference.toml must say since when it is there")
        }
    }
}

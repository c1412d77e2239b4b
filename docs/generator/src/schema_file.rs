//! A command's schema as a file.

use anyhow::ensure;
use guestd_sdk::abi::command_flags::NO_SUCCESS_RESPONSE;
use guestd_sdk::schema::Schemas;
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::sets::Command;
use crate::tree::SCHEMAS;

/// Where it is, seen from the pages.
pub fn path(command: &Command) -> String {
    format!("{SCHEMAS}/{}.json", command.manifest.name)
}

/// An object with two members: `arguments`, and `return` where a success is answered, as they stand in a request and in
/// its answer. Fails where two types have one name.
pub fn text(command: &Command) -> anyhow::Result<String> {
    let Schemas { arguments, answer } = &command.schemas;
    let mut definitions = Map::new();
    let mut members = Map::new();
    for (member, schema) in [("arguments", arguments), ("return", answer)] {
        let Some(schema) = without_definitions(schema, &mut definitions)? else { continue };
        members.insert(member.to_owned(), schema);
    }
    let is_silent = command.manifest.flags & NO_SUCCESS_RESPONSE != 0;
    let required = members.keys().filter(|member| match member.as_str() {
        "arguments" => arguments.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty()),
        _ => !is_silent,
    });
    let required: Vec<&String> = required.collect();
    let mut file = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": command.manifest.name,
        "description": command.notes.summary,
        "type": "object",
        "required": required,
        "properties": members,
    });
    if let (Some(file), false) = (file.as_object_mut(), definitions.is_empty()) {
        file.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Ok(format!("{file:#}\n"))
}

/// Moves a schema's definitions to those of the file; `None` for a schema that nothing satisfies.
fn without_definitions(schema: &Schema, definitions: &mut Map<String, Value>) -> anyhow::Result<Option<Value>> {
    let mut schema = schema.as_value().clone();
    let Some(object) = schema.as_object_mut() else { return Ok(None) };
    if let Some(Value::Object(own)) = object.remove("$defs") {
        for (name, definition) in own {
            ensure!(definitions.get(&name).is_none_or(|known| *known == definition), "two types are called {name}");
            definitions.insert(name, definition);
        }
    }
    Ok(Some(schema))
}

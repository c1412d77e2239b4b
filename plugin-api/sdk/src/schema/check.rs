//! Compares calls in the test kit with the schemas (feature `schema-check`), so that every test of a command is one of its
//! schema too.

use std::collections::HashMap;
use std::sync::LazyLock;

use guestd_abi::{Reply, reply_flags};
use jsonschema::Validator;
use schemars::Schema;
use serde_json::Value;

use super::Schemas;
use crate::CommandError;

struct Validators {
    arguments: Validator,
    answer: Validator,
}

static COMMANDS: LazyLock<HashMap<&'static str, Result<Validators, String>>> = LazyLock::new(|| {
    let commands = super::sets().flat_map(|set| set.commands);
    commands.filter_map(|command| Some((command.name, validators(&(command.make)()?)))).collect()
});

fn validators(schemas: &Schemas) -> Result<Validators, String> {
    let validator =
        |schema: &Schema| jsonschema::draft202012::new(schema.as_value()).map_err(|error| error.to_string());
    Ok(Validators { arguments: validator(&schemas.arguments)?, answer: validator(&schemas.answer)? })
}

/// Returns the result of a call unless it contradicts the command's schema: an answer that is not as the schema says,
/// arguments that the schema does not know and the command takes, or the other way round. A command without a schema is
/// not compared, nor is a request that is handed back.
pub fn exchange(command: &str, arguments: &str, result: Result<Reply, CommandError>) -> Result<Reply, CommandError> {
    if result.as_ref().is_ok_and(|reply| reply.flags & reply_flags::HANDED_BACK != 0) {
        return result;
    }
    let differ = |what: String| Err(CommandError::new(format!("{command} and its schema differ: {what}")));
    let validators = match COMMANDS.get(command) {
        None => return result,
        Some(Err(error)) => return differ(error.clone()),
        Some(Ok(validators)) => validators,
    };
    let takes = serde_json::from_str::<Value>(arguments)
        .ok()
        .map(|arguments| validators.arguments.validate(&arguments).map_err(|error| error.to_string()));
    match (&result, takes) {
        (Ok(_), Some(Err(error))) => differ(format!("it takes {arguments}: {error}")),
        (Err(error), Some(Ok(()))) if is_about_arguments(error.desc()) && !has_fractions(arguments) => {
            differ(format!("it does not take {arguments}: {}", error.desc()))
        }
        (Ok(reply), _) if reply.flags & reply_flags::SILENT == 0 => match serde_json::from_slice(&reply.body) {
            Ok(answer) => match validators.answer.validate(&answer) {
                Ok(()) => result,
                Err(error) => differ(format!("it answers {answer}: {error}")),
            },
            Err(error) => differ(format!("its answer is not JSON: {error}")),
        },
        _ => result,
    }
}

/// Whether an error is one of [`crate::args`], which the schema must foresee.
fn is_about_arguments(desc: &str) -> bool {
    const ENDS: [&str; 3] = ["' is missing", "' is unexpected", "' expects uint64"];
    desc.starts_with("Invalid parameter type for ")
        || desc.starts_with("Parameter '")
            && (desc.contains("' does not accept value '") || ENDS.iter().any(|end| desc.ends_with(end)))
}

/// To JSON Schema 1.0 is an integer, to QEMU it is none.
fn has_fractions(arguments: &str) -> bool {
    arguments.contains(".0")
}

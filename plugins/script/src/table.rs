//! The table of commands that a configuration defines.

use serde_json::Value;

use crate::command::CommandSpec;
use crate::config::Config;

/// The commands of a configuration: the section `[plugins.script]` as JSON, sorted by their names. The error is one line
/// that names the command at fault.
pub(crate) fn table(config: &Value) -> Result<Vec<CommandSpec>, String> {
    let config: Config = serde_json::from_value(config.clone()).map_err(|error| error.to_string())?;
    let commands = config.commands.into_iter();
    commands
        .map(|(name, config)| CommandSpec::read(&name, config).map_err(|error| format!("commands.{name:?}: {error}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_sorted_and_their_programs_end_before_the_daemon_gives_up() {
        let commands = json!({"commands": {
            "__com.example_b": {"program": "/b", "timeout": 598},
            "__com.example_a": {"program": "/a"},
        }});
        let table = table(&commands).unwrap();
        let found: Vec<_> = table.iter().map(|command| command.name.as_str()).collect();
        assert_eq!(found, ["__com.example_a", "__com.example_b"]);
        let limits = [0, 100_000, 12_000, 4_000, 400].map(|deadline| table[0].limit(deadline).as_millis());
        assert_eq!(limits, [10_000, 10_000, 10_000, 3_000, 300]);
    }

    #[test]
    fn no_commands_are_an_empty_table() {
        assert!(table(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_command() {
        let words = "a command of your own is called __com.example_name";
        for (name, config, expected) in [
            ("guest-ping", json!({"program": "/a"}), words),
            ("backup", json!({"program": "/a"}), words),
            ("__org.guestd_x", json!({"program": "/a"}), words),
            ("__example_x", json!({"program": "/a"}), words),
            ("__com.example_", json!({"program": "/a"}), words),
            ("__com.example_a b", json!({"program": "/a"}), words),
            ("__com.example_x", json!({}), "missing field `program`"),
            ("__com.example_x", json!({"program": "a"}), "`program` must be an absolute path"),
            ("__com.example_x", json!({"program": "/a", "directory": "x"}), "`directory` must be"),
            ("__com.example_x", json!({"program": "/a", "timeout": 0}), "`timeout` must be between 1 and 598 seconds"),
            ("__com.example_x", json!({"program": "/a", "timeout": 599}), "`timeout` must be"),
            ("__com.example_x", json!({"program": "/a", "shell": true}), "unknown field `shell`"),
            ("__com.example_x", json!({"program": "/a", "pass": "json"}), "unknown variant `json`"),
            ("__com.example_x", json!({"program": "/a\0"}), "`program` has a NUL"),
            ("__com.example_x", json!({"program": "/a", "args": ["\0"]}), "`args` have a NUL"),
            ("__com.example_x", json!({"program": "/a", "environment": {"A=B": ""}}), "`environment`: "),
            ("__com.example_x", json!({"program": "/a", "environment": {"": ""}}), "`environment`: "),
            ("__com.example_x", json!({"program": "/a", "environment": {"A": "\0"}}), "`environment`: "),
            ("__com.example_x", json!({"program": "/a", "args": ["{x}"], "pass": "parameters"}), "no argument \"x\""),
            ("__com.example_x", json!({"program": "/a", "arguments": {"x": {}}}), "argument \"x\": missing field"),
        ] {
            let error = table(&json!({"commands": {name: config}})).unwrap_err();
            assert!(error.starts_with(&format!("commands.{name:?}: ")) && error.contains(expected), "{error}");
        }
        let error = table(&json!({"command": {}})).unwrap_err();
        assert!(error.contains("unknown field `command`"), "{error}");
    }
}

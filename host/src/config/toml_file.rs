//! `guestd.toml` and the files of `guestd.d`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ConfigError, MIN_MEMORY_LIMIT, Method};

/// One file, as it was written. The same keys may be in several files.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TomlFile {
    pub channel: Vec<Channel>,
    pub plugins: Plugins,
    pub commands: Commands,
    pub log: Log,
    pub protocol: Protocol,
    pub daemon: Daemon,
}

/// `[[channel]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub method: Method,
    pub path: Option<String>,
    #[serde(default)]
    pub users: Vec<User>,
    #[serde(default)]
    pub cids: Vec<u32>,
}

/// A user of the guest.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected the name or the number of a user")]
pub enum User {
    Name(String),
    Number(u32),
}

/// `[plugins]`, with a section for each set among its keys.
#[derive(Debug, Default)]
pub struct Plugins {
    pub directories: Vec<PathBuf>,
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub overrides: Vec<String>,
    pub max_faults: Option<u32>,
    pub sections: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

/// `[commands]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    pub allow: Vec<String>,
    pub block: Vec<String>,
    pub deadline: BTreeMap<String, u32>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: Option<Level>,
    pub target: Option<String>,
}

/// `[protocol]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Protocol {
    pub compat: Option<Compat>,
    pub reported_version: Option<String>,
    #[serde(deserialize_with = "memory_limit")]
    pub memory_limit: Option<u32>,
    pub message_timeout: Option<u32>,
}

/// A number of MiB that is enough for one message of any size.
fn memory_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let size = u32::deserialize(deserializer)?;
    if size < MIN_MEMORY_LIMIT {
        return Err(serde::de::Error::custom(format_args!("memory-limit is at least {MIN_MEMORY_LIMIT} (MiB)")));
    }
    Ok(Some(size))
}

/// `[daemon]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Daemon {
    pub state_dir: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
}

/// A log level by its name.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A protocol whose answers can be asked for.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum Compat {
    /// The protocol that the project was created from.
    #[serde(rename = "0.15")]
    V0_15,
}

/// Reads the text of the file called `name`. The error is one line: the file, the line, what is wrong, a suggestion.
pub fn parse(name: &str, text: &str) -> Result<TomlFile, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', " ");
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let place = line.map(|line| format!(":{line}")).unwrap_or_default();
        ConfigError(format!("{name}{place}: {message}{}", suggestion_for(&message)))
    })
}

/// A suggestion for a key that serde does not know: its message names the key and those that there are.
fn suggestion_for(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((wrong, known)) if message.starts_with("unknown ") => {
            super::load::suggestion(wrong, known.iter().copied())
        }
        _ => String::new(),
    }
}

impl<'de> Deserialize<'de> for Plugins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Plugins;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plugins, A::Error> {
                let mut plugins = Plugins::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "directories" => plugins.directories = map.next_value()?,
                        "enable" => plugins.enable = map.next_value()?,
                        "disable" => plugins.disable = map.next_value()?,
                        "override" => plugins.overrides = map.next_value()?,
                        "max-faults" => plugins.max_faults = Some(map.next_value()?),
                        _ => {
                            let Section(section) = map.next_value()?;
                            plugins.sections.insert(key, section);
                        }
                    }
                }
                Ok(plugins)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A set's section. Anything but a table is a misspelt key of `[plugins]`.
struct Section(serde_json::Map<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a set's table, or one of the keys directories, enable, disable, override, max-faults")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Section, A::Error> {
                let mut section = serde_json::Map::new();
                while let Some((key, value)) = map.next_entry()? {
                    section.insert(key, value);
                }
                Ok(Section(section))
            }
        }
        deserializer.deserialize_any(Table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_read() {
        let text = r#"
            [[channel]]
            method = "virtio-serial"
            [[channel]]
            method = "unix-listen"
            path = "/run/guestd/admin.sock"
            users = ["root", 0]
            [plugins]
            directories = ["/opt/example"]
            disable = ["power"]
            override = ["example"]
            max-faults = 3
            [plugins.fsfreeze]
            lease = 60
            exclude = ["/mnt/*"]
            [commands]
            block = ["guest-exec"]
            deadline = { guest-file-read = 5 }
            [log]
            level = "debug"
            target = "syslog"
            [protocol]
            compat = "0.15"
            reported-version = "10.2.2"
            memory-limit = 512
            message-timeout = 0
            [daemon]
            state-dir = "/run/x"
        "#;
        let file = parse("x.toml", text).unwrap();
        assert_eq!(file.channel.len(), 2);
        assert_eq!(file.plugins.sections["fsfreeze"]["lease"], 60);
        assert_eq!(file.plugins.overrides, ["example"]);
        assert_eq!(file.plugins.max_faults, Some(3));
        assert_eq!(file.commands.deadline["guest-file-read"], 5);
        assert!(matches!(file.protocol.compat, Some(Compat::V0_15)));
        assert_eq!((file.protocol.memory_limit, file.protocol.message_timeout), (Some(512), Some(0)));
        assert_eq!(file.daemon.state_dir.as_deref(), Some("/run/x".as_ref()));
    }

    #[test]
    fn errors_name_line_and_suggestion() {
        for (text, expected) in [
            ("[comands]\n", "x.toml:1: unknown field `comands`, expected one of"),
            ("[comands]\n", "did you mean \"commands\"?"),
            ("[commands]\nalow = []\n", "x.toml:2: unknown field `alow`"),
            ("[commands]\nalow = []\n", "did you mean \"allow\"?"),
            ("\n[plugins]\nenabel = []\n", "x.toml:3: invalid type: sequence, expected a set's table"),
            ("[[channel]]\nmethod = \"virtio\"\n", "x.toml:2: unknown variant `virtio`"),
            ("[[channel]]\nmethod = \"virtio-serail\"\n", "did you mean \"virtio-serial\"?"),
            ("[log]\nlevel = 3\n", "x.toml:2: "),
            ("[protocol]\nmemory-limit = 79\n", "x.toml:2: memory-limit is at least 80 (MiB)"),
            ("[protocol]\nmessage-timeout = -1\n", "x.toml:2: "),
            ("x = \n", "x.toml:1: "),
        ] {
            let error = parse("x.toml", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}

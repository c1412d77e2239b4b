//! The set's section of the configuration, `[plugins.network]`.

use glob::Pattern;
use guestd_sdk::prelude::*;

/// `[plugins.network]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    /// Globs of the interfaces that are left out.
    exclude: Vec<String>,
}

/// The interfaces that are left out.
#[derive(Debug, Default)]
pub(crate) struct Exclude(Vec<Pattern>);

impl Exclude {
    /// Reads the section. Fails on an unknown key and on what is no glob.
    pub(crate) fn read(daemon: &Daemon) -> Result<Self, CommandError> {
        let section: Section = daemon.config()?;
        let pattern = |text: &String| {
            Pattern::new(text)
                .map_err(|error| CommandError::new(format!("configuration: exclude {text:?}: {}", error.msg)))
        };
        Ok(Self(section.exclude.iter().map(pattern).collect::<Result<_, _>>()?))
    }

    /// These globs.
    #[cfg(test)]
    pub(crate) fn of(patterns: &[&str]) -> Self {
        Self(patterns.iter().map(|text| Pattern::new(text).unwrap()).collect())
    }

    /// Whether an interface of this name is left out.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

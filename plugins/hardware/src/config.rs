//! The set's section of the configuration, `[plugins.hardware]`.

use std::path::PathBuf;

use guestd_sdk::prelude::*;

/// `[plugins.hardware]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// What goes online by itself when it is added to the running guest; nothing by default.
    pub auto_online: Vec<Kind>,
    /// For tests: a directory that is taken for the guest's root; see [`crate::machine`].
    pub rehearsal: Option<PathBuf>,
}

/// Hardware that can be added to a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Processors.
    Cpu,
    /// Memory blocks.
    Memory,
}

//! The set's section of the configuration, `[plugins.storage]`.

use std::path::PathBuf;

use guestd_sdk::prelude::*;

/// `[plugins.storage]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// How long one file system may take to say how full it is, in milliseconds.
    pub statfs_wait_ms: u32,
    /// For tests: a directory that is taken for the guest's root; see [`crate::machine`].
    pub rehearsal: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { statfs_wait_ms: 1000, rehearsal: None }
    }
}

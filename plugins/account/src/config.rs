//! The set's section of the configuration, `[plugins.account]`.

use std::path::PathBuf;

use guestd_sdk::prelude::*;

/// `[plugins.account]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// A directory to act on instead of the guest; see [`crate::rehearsal`].
    pub rehearsal: Option<PathBuf>,
}

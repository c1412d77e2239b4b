//! The set's section of the configuration, `[plugins.system]`.

use std::path::PathBuf;

use guestd_sdk::prelude::*;

/// `[plugins.system]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// A directory to act on instead of the guest; see [`crate::time::rehearsal`].
    pub rehearsal: Option<PathBuf>,
}

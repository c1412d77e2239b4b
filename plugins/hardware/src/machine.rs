//! Where the kernel's files are: the guest's own, or in tests those below a directory.
//!
//! With `rehearsal = "/some/directory"` in `[plugins.hardware]` the set reads and writes `/some/directory/sys` and
//! `/some/directory/proc` instead of the guest's. Without it the set does not start under the sdk's test kit, so that
//! no test takes a processor or memory from the machine it runs on.

use std::path::{Path, PathBuf};

use guestd_sdk::prelude::*;

/// The version of the daemon that the sdk's test kit plays, which no real one has.
const TEST_KIT_VERSION: &str = "0.0.0";

/// The directory that holds `/proc` and `/sys`.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The guest itself, or what stands in for it. Fails in a test that names nothing to stand in for it.
    pub fn of(daemon: &Daemon, rehearsal: Option<&Path>) -> Result<Self, CommandError> {
        let version = daemon.facts().version;
        match rehearsal {
            Some(root) => Ok(Self { root: root.to_owned() }),
            None if version.is_empty() || version == TEST_KIT_VERSION => {
                Err(CommandError::new("a test must set rehearsal to a directory that stands in for the guest"))
            }
            None => Ok(Self { root: PathBuf::from("/") }),
        }
    }

    /// What stands in for the guest in a test.
    #[cfg(test)]
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where the guest's file `path`, an absolute path, really is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

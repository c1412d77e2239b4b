//! The command reference: `docs/commands`, made of what the command sets say of themselves.
//!
//! * `linked` names the stock sets, which are linked into this crate with their schemas,
//! * `notes` is what no type says: a set's `reference.toml`,
//! * `protocol` are the facts about qemu-ga's commands,
//! * [`sets`] puts these together and complains about what does not fit,
//! * `page`, `index` and `schema_file` are the files, `types` puts a schema into words,
//! * [`tree`] compares them with what is on the disk, and writes them.

mod index;
mod linked;
mod notes;
mod page;
pub mod protocol;
mod schema_file;
pub mod sets;
pub mod tree;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of the reference: their paths below `docs/commands`, and their texts.
///
/// Fails where a set and its `reference.toml` do not fit, or a command has no schema.
pub fn files() -> anyhow::Result<BTreeMap<String, String>> {
    let sets = sets::all()?;
    let mut files = BTreeMap::from([("README.md".to_owned(), index::text(&sets))]);
    for set in &sets {
        files.insert(format!("{}.md", set.manifest.name), page::text(set)?);
        for command in &set.commands {
            files.insert(schema_file::path(command), schema_file::text(command)?);
        }
    }
    Ok(files)
}

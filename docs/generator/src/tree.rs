//! The folder of the reference: what is in it, and what should be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

/// The folder below that of the pages which holds the schemas.
pub const SCHEMAS: &str = "schema";

/// Says of each file that is not as it should be what is wrong with it: `NAME is missing`, `NAME is not up to date`,
/// `NAME should not be there`.
pub fn differences(folder: &Path, files: &BTreeMap<String, String>) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, text) in files {
        match fs::read_to_string(folder.join(name)) {
            Ok(present) if present == *text => {}
            Ok(_) => found.push(format!("{name} is not up to date")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => found.push(format!("{name} is missing")),
            Err(error) => return Err(error),
        }
    }
    let surplus = present(folder)?.into_iter().filter(|name| !files.contains_key(name));
    found.extend(surplus.map(|name| format!("{name} should not be there")));
    Ok(found)
}

/// Makes the folder hold these files and no others.
pub fn write(folder: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join(SCHEMAS)).with_context(|| format!("{} cannot be made", folder.display()))?;
    for name in present(folder)? {
        if !files.contains_key(&name) {
            fs::remove_file(folder.join(&name)).with_context(|| format!("{name} cannot be removed"))?;
        }
    }
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("{name} cannot be written"))?;
    }
    Ok(())
}

/// The names of the files that are there.
fn present(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (path, prefix) in [(folder.to_owned(), ""), (folder.join(SCHEMAS), "schema/")] {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(format!("{prefix}{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    Ok(names)
}

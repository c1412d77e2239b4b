//! Programs of this machine in the guest, with the libraries that they load.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::{Error, host};

/// Adds programs where this machine has them, with their modes: su(1) is set-user-ID here and there.
pub(crate) fn add(archive: &mut Archive, names: &[String]) -> Result<(), Error> {
    let found = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    for file in &found {
        let data = std::fs::metadata(file).map_err(Error::io(format!("looking at {}", file.display())))?;
        archive.file(&file.display().to_string(), data.permissions().mode() & 0o7777, &host::read(file)?);
    }
    add_libraries(archive, &found)
}

/// Adds what programs, plugins and modules load, by `ldd`.
pub(crate) fn add_libraries(archive: &mut Archive, files: &[PathBuf]) -> Result<(), Error> {
    let mut libraries = BTreeSet::new();
    for file in files {
        libraries.extend(host::shared_libraries(file)?);
    }
    for library in libraries {
        archive.file(&library.display().to_string(), 0o755, &host::read(&library)?);
    }
    Ok(())
}

/// The place of a program by its name or path. Links on the way to it are resolved: here `/bin` may be a link to
/// `/usr/bin`, in the guest it is not. The program's own name stays, by which it may act.
fn find(name: &str) -> Result<PathBuf, Error> {
    let file = host::program(name)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let directory = directory.canonicalize().map_err(Error::io(format!("looking at {}", directory.display())))?;
    Ok(directory.join(file.file_name().unwrap_or_default()))
}

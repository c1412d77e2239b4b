//! Looks for plugins in directories that nobody but the administrator can write to.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use guestd_abi::VERSION;
use guestd_abi::manifest::Manifest;
use guestd_sdk::errno_text;

use super::elf;

/// A library that says it is a plugin.
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// Its identity: device and inode.
    pub file: (u64, u64),
    /// What it says of itself.
    pub manifest: Manifest,
}

/// A file or directory that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it lies.
    pub path: PathBuf,
    /// A clause about it: `is not an ELF file`.
    pub reason: String,
}

/// Reads the manifests of the libraries (`*.so`) in `directories`, in their order and there in the order of their names. A
/// directory that does not exist has none.
pub fn scan(directories: &[PathBuf]) -> (Vec<Found>, Vec<Refusal>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for directory in directories {
        let libraries = match libraries_in(directory) {
            Ok(libraries) => libraries,
            Err(reason) => {
                refused.push(Refusal { path: directory.clone(), reason });
                continue;
            }
        };
        for path in libraries {
            match look_at(&path) {
                Ok(library) if seen.insert(library.file) => found.push(library),
                Ok(_) => refused.push(Refusal { path, reason: "is the same file as one before it".to_owned() }),
                Err(reason) => refused.push(Refusal { path, reason }),
            }
        }
    }
    (found, refused)
}

fn libraries_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let metadata = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| format!("cannot be read: {}", errno_text(&error)))?,
    };
    if !metadata.is_dir() {
        return Err("is no directory".to_owned());
    }
    check_owner(&metadata)?;
    let mut libraries = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| format!("cannot be read: {}", errno_text(&error)))? {
        let path = entry.map_err(|error| format!("cannot be read: {}", errno_text(&error)))?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            libraries.push(path);
        }
    }
    libraries.sort();
    Ok(libraries)
}

fn look_at(path: &Path) -> Result<Found, String> {
    let (file, metadata) = open_trusted(path)?;
    let manifest = elf::read_manifest(file, metadata.len())?;
    if manifest.abi.0 != VERSION.0 {
        let ((major, minor), (our_major, our_minor)) = (manifest.abi, VERSION);
        return Err(format!("is built for boundary {major}.{minor}, and this daemon has {our_major}.{our_minor}"));
    }
    Ok(Found { path: path.to_owned(), file: identity(&metadata), manifest })
}

/// Opens a regular file that only root or the running user can change.
pub fn open_trusted(path: &Path) -> Result<(File, Metadata), String> {
    // A symbolic link could lead out of the directory; a fifo would block the open.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ELOOP) => "is a symbolic link".to_owned(),
            _ => format!("cannot be opened: {}", errno_text(&error)),
        })?;
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {}", errno_text(&error)))?;
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    check_owner(&metadata)?;
    Ok((file, metadata))
}

/// What tells two files apart.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn check_owner(metadata: &Metadata) -> Result<(), String> {
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(format!("is owned by user {owner}, who could change it"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("can be written by others (mode {:04o})", metadata.mode() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_no_trustworthy_library_is_refused_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = |name: &str, bytes: &[u8], mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("a-text.so", b"not a library, but long enough to have a header if it were one, you know", 0o644);
        file("b-empty.so", b"", 0o644);
        file("c-cut.so", &own[..own.len() / 2], 0o644);
        file("d-header-cut.so", &own[..40], 0o644);
        file("e-writable.so", &own, 0o666);
        file("f-no-manifest.so", &own, 0o644);
        let mut other = own.clone();
        other[18] = 0xF7;
        file("g-machine.so", &other, 0o644);
        other[4] = 1;
        file("h-class.so", &other, 0o644);
        symlink(dir.path().join("f-no-manifest.so"), dir.path().join("i-link.so")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("j-fifo.so"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::create_dir(dir.path().join("k-directory.so")).unwrap();
        file("ignored.txt", b"", 0o666);
        let (found, refused) = scan(&[dir.path().to_owned(), dir.path().join("missing")]);
        assert!(found.is_empty());
        let reasons: Vec<_> = refused.iter().map(|refusal| refusal.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "is not an ELF file",
                "is not an ELF file",
                "is cut off",
                "is cut off",
                "can be written by others (mode 0666)",
                "is no guestd plugin (it has no manifest)",
                "is built for another machine than x86_64",
                "is built for another word size",
                "is a symbolic link",
                "is no regular file",
                "is no regular file",
            ]
        );
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(dir.path().join("a.so"), b"x").unwrap();
        let (_, refused) = scan(&[dir.path().to_owned()]);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].reason, "can be written by others (mode 0777)");
    }
}

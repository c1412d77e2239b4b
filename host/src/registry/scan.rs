//! Looks for plugins in directories that nobody but the administrator can write to.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guestd_abi::VERSION;
use guestd_abi::manifest::Manifest;
use guestd_guest::trust::{Directory, Trust};

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
        let path = directory;
        let opened = match Trust::of_agent().directory(path) {
            Err(error) if error.is_absent() => continue,
            opened => opened.and_then(|directory| Ok((directory.names()?, directory))),
        };
        let (names, directory) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                refused.push(Refusal { path: path.clone(), reason: error.about(path) });
                continue;
            }
        };
        let libraries = names.iter().map(|name| (name, path.join(name)));
        for (name, path) in libraries.filter(|(_, path)| path.extension().is_some_and(|it| it == "so")) {
            match look_at(&directory, name, &path) {
                Ok(library) if seen.insert(library.file) => found.push(library),
                Ok(_) => refused.push(Refusal { path, reason: "is the same file as one before it".to_owned() }),
                Err(reason) => refused.push(Refusal { path, reason }),
            }
        }
    }
    (found, refused)
}

fn look_at(directory: &Directory, name: &OsStr, path: &Path) -> Result<Found, String> {
    let file = directory.open(name).map_err(|error| error.about(path))?;
    let metadata = file.metadata().map_err(|_| "cannot be read".to_owned())?;
    let manifest = elf::read_manifest(file, metadata.len())?;
    if manifest.abi.0 != VERSION.0 {
        let ((major, minor), (our_major, our_minor)) = (manifest.abi, VERSION);
        return Err(format!("is built for boundary {major}.{minor}, and this daemon has {our_major}.{our_minor}"));
    }
    Ok(Found { path: path.to_owned(), file: identity(&metadata), manifest })
}

/// What tells two files apart.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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

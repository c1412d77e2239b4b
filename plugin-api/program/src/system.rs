//! The guest's own programs: where they are, and the environment they get.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where programs are looked for, and the `PATH` they get. Nothing that a user could write to; the last is NixOS'.
pub const DIRECTORIES: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"];

/// The first file in these directories that has this name and can be executed by somebody.
#[inline]
pub fn find(directories: impl IntoIterator<Item = impl AsRef<Path>>, name: &str) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    directories.into_iter().map(|directory| directory.as_ref().join(name)).find(is_program)
}

/// A command for a program with the `PATH` of [`DIRECTORIES`], `LC_ALL=C` (what it says can be recognized) and no other
/// variable, in the directory `/`.
#[inline]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", DIRECTORIES.join(":")).env("LC_ALL", "C").current_dir("/");
    command
}

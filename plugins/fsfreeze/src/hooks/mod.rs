//! The programs that are run before a freeze and after a thaw: qemu-ga's one hook, and a directory of scripts.

mod run;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guestd_sdk::{CommandError, Daemon, LogLevel};

use crate::config::Config;

pub use run::{Abort, Ended, Half, run};

/// A program with two halves: `PATH freeze` and `PATH thaw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program.
    pub path: PathBuf,
    /// Whether it is a script of the hooks directory, not qemu-ga's hook.
    pub script: bool,
}

impl Hook {
    /// The error of a command for which a half of this hook failed: for qemu-ga's hook in qemu-ga's words.
    pub fn failure(&self, end: &Ended) -> String {
        let what = end.failure(&self.path);
        if self.script {
            format!("fsfreeze hook {}: {what}", self.path.display())
        } else {
            format!("child process has failed to execute fsfreeze hook: {what}")
        }
    }
}

/// The hooks of a configuration, in the order of their freeze halves: qemu-ga's hook, then the scripts by name. And a line
/// for each file of the directory that is passed over, with the reason.
///
/// Fails where the directory, or a script in it, could have been written by somebody else than its owner, root or the
/// agent's own user: it would be run with all that the agent may do.
pub fn list(config: &Config) -> Result<(Vec<Hook>, Vec<String>), CommandError> {
    let mut hooks: Vec<Hook> = config.hook.iter().map(|path| Hook { path: path.clone(), script: false }).collect();
    let mut passed_over = Vec::new();
    if let Some(directory) = &config.hooks_dir {
        let scripts = scripts(directory, &mut passed_over);
        let context = |error| CommandError::os(format!("failed to read {}", directory.display()), &error);
        hooks.extend(scripts.map_err(context)?.into_iter().map(|path| Hook { path, script: true }));
    }
    Ok((hooks, passed_over))
}

fn scripts(directory: &Path, passed_over: &mut Vec<String>) -> io::Result<Vec<PathBuf>> {
    let stat = match fs::metadata(directory) {
        // A package may name its directory and leave it to others to make.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            passed_over.push(format!("the directory of hooks {} is missing: none is run", directory.display()));
            return Ok(Vec::new());
        }
        stat => stat?,
    };
    check_owner(directory, &stat)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let mut pass_over = |why: &str| passed_over.push(format!("{} is not run: {why}", path.display()));
        if !is_script_name(name.as_bytes()) {
            pass_over("its name has something else than letters, digits, _ and -");
            continue;
        }
        let stat = match fs::metadata(&path) {
            // A link into a package that was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                pass_over("it leads nowhere");
                continue;
            }
            stat => stat?,
        };
        if !stat.is_file() {
            pass_over("it is not a file");
        } else if stat.mode() & 0o111 == 0 {
            pass_over("it is not executable");
        } else {
            check_owner(&path, &stat)?;
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The rule of run-parts(8), as Debian's own directory of hooks has it: what editors and package managers leave beside a
/// script has a dot or a tilde in its name.
fn is_script_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn check_owner(path: &Path, stat: &fs::Metadata) -> io::Result<()> {
    let own = [0, rustix::process::geteuid().as_raw()].contains(&stat.uid());
    if own && stat.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} can be written by others than root", path.display())))
}

/// At most this many lines of a hook's output are logged.
const LINES: usize = 50;

/// Logs what a hook said, and that it failed. While file systems are frozen the daemon keeps the lines in memory.
pub fn log(daemon: &Daemon, hook: &Hook, ended: &Ended, failure: Option<&str>) {
    let level = if failure.is_some() { LogLevel::Warn } else { LogLevel::Info };
    let text = String::from_utf8_lossy(&ended.output);
    let mut lines = text.lines().filter(|line| !line.is_empty());
    for line in lines.by_ref().take(LINES) {
        daemon.log(level, format_args!("{}: {line}", hook.path.display()));
    }
    let more = lines.count();
    if more > 0 {
        daemon.log(level, format_args!("{}: {more} more lines are left out", hook.path.display()));
    }
    if failure.is_some() {
        daemon.log(level, format_args!("fsfreeze hook {} failed: {}", hook.path.display(), ended.how()));
    }
}

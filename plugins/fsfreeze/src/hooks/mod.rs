//! The programs that are run before a freeze and after a thaw: qemu-ga's one hook, and a directory of scripts.

mod run;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use guestd_guest::trust::Trust;
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
        match end.killed_by_another() {
            _ if self.script => format!("fsfreeze hook {}: {what}", self.path.display()),
            Some([]) => "child process has terminated abnormally".to_owned(),
            Some(_) => format!("child process has terminated abnormally: {what}"),
            None => format!("child process has failed to execute fsfreeze hook: {what}"),
        }
    }
}

/// The hooks of a configuration, in the order of their freeze halves: qemu-ga's hook, then the scripts by name. And a line
/// for each file of the directory that is passed over, with the reason.
///
/// Fails where somebody else than root and the agent's own user could have written one, or put one into the directory: it would be
/// run with all that the agent may do.
pub fn list(config: &Config) -> Result<(Vec<Hook>, Vec<String>), CommandError> {
    let (mut hooks, mut passed_over) = (Vec::new(), Vec::new());
    if let Some(path) = &config.hook {
        check(path)?;
        hooks.push(Hook { path: path.clone(), script: false });
    }
    if let Some(directory) = &config.hooks_dir {
        let scripts = scripts(directory, &mut passed_over)?;
        hooks.extend(scripts.into_iter().map(|path| Hook { path, script: true }));
    }
    Ok((hooks, passed_over))
}

fn scripts(directory: &Path, passed_over: &mut Vec<String>) -> Result<Vec<PathBuf>, CommandError> {
    let context = || format!("failed to read {}", directory.display());
    let names = match Trust::of_agent().directory(directory) {
        // A package may name its directory and leave it to others to make.
        Err(error) if error.is_absent() => {
            passed_over.push(format!("the directory of hooks {} is missing: none is run", directory.display()));
            return Ok(Vec::new());
        }
        opened => opened.and_then(|opened| opened.names()),
    };
    let names = names.map_err(|error| match error.errno() {
        Some(errno) => CommandError::os(context(), &errno.into()),
        None => CommandError::new(format!("{}: {error}", context())),
    })?;
    let mut found = Vec::new();
    for name in names {
        let path = directory.join(&name);
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
            stat => stat.map_err(|error| CommandError::os(context(), &error))?,
        };
        if !stat.is_file() {
            pass_over("it is not a file");
        } else if stat.permissions().mode() & 0o111 == 0 {
            pass_over("it is not executable");
        } else {
            check(&path)?;
            found.push(path);
        }
    }
    Ok(found)
}

/// The rule of run-parts(8), as Debian's own directory of hooks has it: what editors and package managers leave beside a
/// script has a dot or a tilde in its name.
fn is_script_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn check(path: &Path) -> Result<(), CommandError> {
    run::check(path).map_err(|error| CommandError::new(format!("fsfreeze hook {}: {error}", path.display())))
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

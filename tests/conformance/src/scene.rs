//! What the programs of a case have in common: directory, names and environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cases::Case;
use crate::matcher::fill;
use crate::process::{self, Exit};
use crate::sandbox::MARK;

/// Longest run of a shell line.
const SHELL_PATIENCE: Duration = Duration::from_secs(20);
/// Variables that would make an agent or a case depend on who runs it.
const FOREIGN: [&str; 5] = ["QGA_CONF", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"];

/// The surroundings of one case.
pub struct Scene {
    base: String,
    names: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

impl Scene {
    /// The scene of a case in its directory.
    pub fn new(case: &Case, base: &Path) -> Result<Scene> {
        let base = base.to_str().context("the directory's name is no UTF-8")?.to_owned();
        let names = BTreeMap::from([
            ("dir".to_owned(), base.clone()),
            ("sock".to_owned(), format!("{base}/ga.sock")),
            ("state".to_owned(), format!("{base}/state")),
        ]);
        let mut env: BTreeMap<String, String> =
            case.env.iter().map(|(key, value)| (key.clone(), fill(value, &names))).collect();
        env.entry("LC_ALL".to_owned()).or_insert("C".to_owned());
        env.insert(MARK.to_owned(), base.clone());
        Ok(Scene { base, names, env })
    }

    /// The case's directory.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The path behind one of the names, such as `sock`.
    pub fn path(&self, name: &str) -> Result<&str> {
        self.names.get(name).map(String::as_str).with_context(|| format!("no name {name}"))
    }

    /// Add a name, or change its meaning.
    pub fn bind(&mut self, name: &str, value: &str) {
        self.names.insert(name.to_owned(), value.to_owned());
    }

    /// Replace the names in a text.
    pub fn fill(&self, text: &str) -> String {
        fill(text, &self.names)
    }

    /// A command with the case's directory and environment.  The environment marks
    /// the processes that are killed when the case is over.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.envs(&self.env).current_dir(&self.base);
        command
    }

    /// Run a shell line; what is wrong if it did not exit 0.
    pub fn shell(&self, line: &str, what: &str) -> Result<Option<String>> {
        let mut command = self.command("sh");
        command.args(["-c", &self.fill(line)]);
        let done = process::run(command, Vec::new(), SHELL_PATIENCE).with_context(|| format!("{what} `{line}`"))?;
        if done.exit == Exit::Status(0) {
            return Ok(None);
        }
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok(Some(format!("{what} `{line}`: exit {}: {}", done.exit, tail(&said, 200))))
    }
}

/// The last `limit` characters of a text.
pub fn tail(text: &str, limit: usize) -> &str {
    match text.char_indices().rev().nth(limit.saturating_sub(1)) {
        Some((start, _)) => text.get(start..).unwrap_or_default(),
        None => text,
    }
}

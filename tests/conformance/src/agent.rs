//! The agent under test: its command line and its process.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Exit, kill_group, wait_until};
use crate::scene::{Scene, tail};

/// An agent's command line with the names `{sock}`, `{state}`, `{dir}` and `{extra}`.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    binary: Vec<String>,
    options: Vec<String>,
}

impl FromStr for Template {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Template> {
        let mut words = shlex::split(text).context("unbalanced quotes")?;
        if !words.iter().any(|word| word == "{extra}") {
            words.push("{extra}".to_owned());
        }
        let first = words.iter().position(|word| word.starts_with(['-', '{']));
        let options = words.split_off(first.unwrap_or(words.len()));
        let program = words.first_mut().context("no command before the first option")?;
        if program.contains('/') {
            // It is started in another directory.
            let full = std::path::absolute(&*program).context("path of the command")?;
            *program = full.to_str().context("path of the command")?.to_owned();
        }
        Ok(Template { source: text.to_owned(), binary: words, options })
    }
}

impl Template {
    /// The command line as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The command: what precedes the first option.
    pub fn binary(&self) -> &[String] {
        &self.binary
    }

    /// All words, with the case's own in the place of `{extra}`.
    fn words<'a>(&'a self, extra: &'a [String]) -> impl Iterator<Item = &'a String> {
        let options = self.options.iter().flat_map(
            move |word| {
                if word == "{extra}" { extra } else { std::slice::from_ref(word) }
            },
        );
        self.binary.iter().chain(options)
    }
}

/// A running agent, which leads a process group of its own.
pub struct Agent {
    child: Child,
    status: Option<ExitStatus>,
}

impl Agent {
    /// Start an agent in the scene of a case; what it says goes to `.log` there.
    pub fn start(template: &Template, extra: &[String], scene: &Scene) -> Result<Agent> {
        let mut words = template.words(extra).map(|word| scene.fill(word));
        let program = words.next().context("no command")?;
        let log = format!("{}/.log", scene.base());
        let log = OpenOptions::new().create(true).append(true).open(log).context("agent's log")?;
        let mut command = scene.command(&program);
        command.args(words).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().context("agent's log")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Agent { child, status: None })
    }

    /// Send the agent a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.wait(Duration::ZERO)? == Exit::Running {
            let pid = Pid::from_raw(self.child.id().cast_signed());
            kill(pid, signal).with_context(|| format!("cannot send {signal}"))?;
        }
        Ok(())
    }

    /// Wait for the agent's end.
    pub fn wait(&mut self, patience: Duration) -> Result<Exit> {
        if self.status.is_none() {
            let deadline = Instant::now() + patience;
            self.status = wait_until(&mut self.child, deadline).context("cannot wait")?;
        }
        Ok(self.status.into())
    }

    /// Ask the agent to end and kill it if it does not.
    pub fn terminate(&mut self) -> Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            self.signal(signal)?;
            if self.wait(Duration::from_secs(1))? != Exit::Running {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Agent {
    /// Kill the agent and its process group.
    fn drop(&mut self) {
        if self.status.is_none()
            && let Err(err) = kill_group(&mut self.child)
        {
            eprintln!("cannot kill process {}: {err}", self.child.id());
        }
    }
}

/// The end of what the agent of a scene has said.
pub fn last_words(scene: &Scene) -> String {
    let log = fs::read(format!("{}/.log", scene.base())).unwrap_or_default();
    tail(String::from_utf8_lossy(&log).trim(), 200).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Template;

    fn words(template: &str, extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|word| (*word).to_owned()).collect();
        template.parse::<Template>().unwrap().words(&extra).cloned().collect()
    }

    #[test]
    fn extra_words_stand_where_the_template_says_or_last() {
        assert_eq!(words("a -p {sock} {extra} -v", &["-b", "x y"]), ["a", "-p", "{sock}", "-b", "x y", "-v"]);
        assert_eq!(words("a 'b c' -v", &["-r"]), ["a", "b c", "-v", "-r"]);
        assert_eq!(words("a", &[]), ["a"]);
    }

    #[test]
    fn a_relative_path_is_completed() {
        let found = words("./x/agent -v", &[]);
        let here = std::env::current_dir().unwrap();
        assert_eq!(found, [here.join("x/agent").to_str().unwrap(), "-v"]);
    }

    #[test]
    fn the_command_ends_before_the_first_option_or_name() {
        assert_eq!("env a -m x".parse::<Template>().unwrap().binary(), ["env", "a"]);
        assert_eq!("a {sock}".parse::<Template>().unwrap().binary(), ["a"]);
        assert!("-m x".parse::<Template>().is_err());
        assert!("".parse::<Template>().is_err());
        assert!("a 'b".parse::<Template>().is_err());
    }
}

//! The format of the recorded cases, and reading them.
//!
//! A case file holds one JSON object per line.  Unknown keys are refused, so that
//! a misspelt one cannot silently weaken a case.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::json::Json;

/// Stands in `expect` for "the agent closed the connection".
pub const EOF: &str = "<eof>";

/// One conversation or one command line, with what the reference answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique name.
    pub id: String,
    /// The area, and file, that it belongs to.
    pub area: String,
    /// Words for `{extra}` in the agent's command line.
    #[serde(default)]
    pub extra_args: Vec<String>,
    /// Additional environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Shell lines that run before the agent starts.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Shell lines that run at the end, while the agent still runs.
    #[serde(default)]
    pub after: Vec<String>,
    /// Whether the case may only run in a private mount namespace.
    #[serde(default)]
    pub namespace: bool,
    /// How answers are compared.
    #[serde(default)]
    pub compare: Compare,
    /// Whether 1 and 1.0 are equal.
    #[serde(default)]
    pub loose_numbers: bool,
    /// Whether the case records a defect or a freedom of the reference.
    #[serde(default)]
    pub quirk: bool,
    /// Why it is a quirk, or what to know about it.
    #[serde(default)]
    #[allow(dead_code)]
    pub note: Option<String>,
    /// The conversation.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Arguments; their presence makes it a command-line case.
    pub argv: Option<Vec<String>>,
    /// Standard input of a command-line case, one latin-1 character per byte.
    #[serde(default)]
    pub stdin: String,
    /// Exit status that a command-line case expects.
    pub exit: Option<WantedExit>,
    /// Regular expression to be found on standard output.
    pub stdout: Option<String>,
    /// Regular expression to be found on standard error.
    pub stderr: Option<String>,
    /// Seconds that a command line may take.
    pub timeout: Option<f64>,
    /// The line that the case was read from.
    #[serde(skip)]
    pub source: String,
}

/// How much of an answer must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// All of it.
    #[default]
    Exact,
    /// Of an error only its class.
    Class,
    /// The keys and the types of the values.
    Shape,
}

/// One step of a conversation; its parts happen in the order of these fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Shell line that must succeed.
    pub run: Option<String>,
    /// Seconds to wait.
    #[serde(default)]
    pub sleep: f64,
    /// Signal for the agent, without `SIG`.
    pub signal: Option<String>,
    /// Exit status that the agent must end with.
    pub exit: Option<WantedExit>,
    /// Whether the agent is stopped and started.
    #[serde(default)]
    pub restart: bool,
    /// What is sent.
    pub send: Option<Payload>,
    /// Bytes per write.
    pub chunk: Option<usize>,
    /// Name of the connection.
    pub conn: Option<String>,
    /// The answers, in order.
    #[serde(default)]
    pub expect: Vec<Json>,
    /// Which answers a 0xFF byte precedes.
    #[serde(default)]
    pub sentinel: Sentinel,
    /// Seconds to wait for the answers.
    pub timeout: Option<f64>,
    /// Path in the answer; the request is repeated until it is true.
    pub poll: Option<String>,
    /// Whether and how the connection is closed.
    #[serde(default)]
    pub close: Close,
}

/// An expected exit status.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum WantedExit {
    /// This status; a signal's number negated.
    Status(i32),
    /// `"error"`, any status but 0, or `"running"`.
    Word(ExitWord),
}

/// An expected exit status that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitWord {
    /// Any status but 0.
    Error,
    /// No exit in the time that is given.
    Running,
}

/// Text to send, one latin-1 character per byte.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Payload {
    /// As it is.
    Text(String),
    /// Put together.
    Parts(Vec<Part>),
}

/// A part of a text to send.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// As it is.
    Text(String),
    /// A text many times.
    Repeat {
        /// The text.
        repeat: String,
        /// How often.
        times: usize,
    },
}

/// Which answers a 0xFF byte precedes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Sentinel {
    /// All or none.
    All(bool),
    /// One flag per answer.
    Each(Vec<bool>),
}

impl Default for Sentinel {
    fn default() -> Self {
        Sentinel::All(false)
    }
}

impl Sentinel {
    /// Whether the byte is expected before answer number `index`.
    pub fn at(&self, index: usize) -> bool {
        match self {
            Sentinel::All(flag) => *flag,
            Sentinel::Each(flags) => flags.get(index).copied().unwrap_or(false),
        }
    }
}

/// What becomes of the connection at the end of a step.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Close {
    /// It stays open.
    #[default]
    No,
    /// Closed after the answers, if true.
    Whole(bool),
    /// Closed in a special way.
    Special(CloseWord),
}

/// A special way to close a connection.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseWord {
    /// The writing side only, before the answers are read.
    Write,
    /// With the answers unread.
    Unread,
}

impl Part {
    fn text(&self, fill: &dyn Fn(&str) -> String) -> String {
        match self {
            Part::Text(text) => fill(text),
            Part::Repeat { repeat, times } => repeat.repeat(*times),
        }
    }
}

impl Payload {
    /// The whole text, with `fill` applied to what is written out.
    pub fn text(&self, fill: &dyn Fn(&str) -> String) -> String {
        match self {
            Payload::Text(text) => fill(text),
            Payload::Parts(parts) => parts.iter().map(|part| part.text(fill)).collect(),
        }
    }
}

/// The bytes of a text that has one latin-1 character per byte.
pub fn latin1(text: &str) -> Result<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).with_context(|| format!("{c:?} stands for no byte"))).collect()
}

impl Case {
    /// Read one line of a case file.
    pub fn parse(line: &str) -> Result<Case> {
        let mut case: Case = serde_json::from_str(line)?;
        ensure!(case.argv.is_none() || case.steps.is_empty(), "{}: a command line has no steps", case.id);
        ensure!(case.argv.is_none() || case.exit.is_some(), "{}: a command line needs an exit status", case.id);
        line.clone_into(&mut case.source);
        Ok(case)
    }

    /// All shell lines of the case.
    pub fn shell_lines(&self) -> impl Iterator<Item = &str> {
        let run = self.steps.iter().filter_map(|step| step.run.as_ref());
        self.setup.iter().chain(run).chain(&self.after).map(String::as_str)
    }
}

/// Read case files; a directory stands for the `.jsonl` files in it.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for path in paths {
        if path.is_dir() {
            let files = files_in(path)?;
            ensure!(!files.is_empty(), "no case files in {}", path.display());
            for file in files {
                load_file(&file, &mut cases)?;
            }
        } else {
            load_file(path, &mut cases)?;
        }
    }
    let mut seen = HashSet::new();
    if let Some(twice) = cases.iter().find(|case| !seen.insert(case.id.as_str())) {
        bail!("two cases are named {}", twice.id);
    }
    Ok(cases)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn load_file(path: &Path, cases: &mut Vec<Case>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let case = Case::parse(line);
        cases.push(case.with_context(|| format!("{}:{}", path.display(), number + 1))?);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::{Case, Close, CloseWord, latin1, load};
    use std::path::Path;

    /// The cases of this crate.
    fn corpus() -> Vec<Case> {
        load(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")]).unwrap()
    }

    #[test]
    fn the_whole_corpus_is_read() {
        let cases = corpus();
        assert!(cases.len() > 500, "{}", cases.len());
        assert!(cases.iter().all(|case| case.argv.is_some() == case.steps.is_empty()));
        let mut bytes = cases.iter().flat_map(|c| &c.steps).filter_map(|s| s.send.as_ref());
        assert!(bytes.all(|send| latin1(&send.text(&str::to_owned)).is_ok()));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        assert!(Case::parse(r#"{"id":"a","area":"b","stepz":[]}"#).is_err());
        assert!(Case::parse(r#"{"id":"a","area":"b","steps":[{"sendd":""}]}"#).is_err());
        assert!(Case::parse(r#"{"id":"a","area":"b","steps":[{"close":"maybe"}]}"#).is_err());
    }

    #[test]
    fn texts_are_put_together_and_names_filled_in_outside_repetitions() {
        let line = r#"{"id":"a","area":"b","steps":[{"close":"unread",
            "send":["{x}",{"repeat":"{x}","times":2},"\u00ff"]}]}"#;
        let case = Case::parse(&line.replace('\n', "")).unwrap();
        let Some(step) = case.steps.first() else { panic!("no step") };
        let text = step.send.as_ref().unwrap().text(&|text| text.replace("{x}", "1"));
        assert_eq!(latin1(&text).unwrap(), b"1{x}{x}\xff");
        assert_eq!(step.close, Close::Special(CloseWord::Unread));
        assert!(latin1("\u{100}").is_err());
    }
}

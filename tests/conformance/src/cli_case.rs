//! Running one command-line case: arguments in, exit status and output out.

use std::path::Path;

use anyhow::{Context, Result};
use fancy_regex::Regex;

use crate::cases::{Case, latin1};
use crate::matcher::shorten;
use crate::process;
use crate::run::{Options, PATIENCE, is_wanted, seconds};
use crate::sandbox::Gate;
use crate::scene::Scene;

/// Run the agent's command with the case's arguments.  The result says what was wrong.
pub fn command_line(case: &Case, options: &Options, base: &Path) -> Result<Vec<String>> {
    let mut scene = Scene::new(case, base)?;
    let mut problems = Vec::new();
    for line in &case.setup {
        if let Some(problem) = scene.shell(line, "setup")? {
            return Ok(vec![problem]);
        }
    }
    let (program, rest) = options.template.binary().split_first().context("no command")?;
    scene.bind("bin", options.template.binary().last().unwrap_or(program));
    let mut command = scene.command(program);
    command.args(rest).args(case.argv.iter().flatten().map(|word| scene.fill(word)));
    let stdin = latin1(&case.stdin)?;
    Gate::new(case.namespace)?.admit(&stdin)?;
    let patience = case.timeout.map_or(Ok(PATIENCE), seconds)?;
    let done = process::run(command, stdin, patience).context("cannot run the agent")?;

    let [stdout, stderr] = [&done.stdout, &done.stderr].map(|bytes| latin1_text(bytes));
    if let Some(wanted) = &case.exit
        && !is_wanted(wanted, done.exit)
    {
        let said = shorten(format!("{stdout:?} {stderr:?}"), 300);
        problems.push(format!("expected exit {wanted:?}, got {}: {said}", done.exit));
    }
    for (name, pattern, text) in [("stdout", &case.stdout, &stdout), ("stderr", &case.stderr, &stderr)] {
        let Some(pattern) = pattern else { continue };
        if !is_found(&scene.fill(pattern), text)? {
            let text = shorten(format!("{text:?}"), 300);
            problems.push(format!("{name} {text} does not match {pattern:?}"));
        }
    }
    for line in &case.after {
        problems.extend(scene.shell(line, "after")?);
    }
    Ok(problems)
}

fn latin1_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Whether the pattern of a case occurs in the text.
fn is_found(pattern: &str, text: &str) -> Result<bool> {
    let regex = Regex::new(&with_absolute_end(pattern));
    let regex = regex.with_context(|| format!("pattern {pattern:?}"))?;
    regex.is_match(text).with_context(|| format!("pattern {pattern:?}"))
}

/// The pattern in the dialect used here, where the very end is `\z` and not `\Z`.
fn with_absolute_end(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        result.push(c);
        if c == '\\' {
            result.extend(chars.next().map(|c| if c == 'Z' { 'z' } else { c }));
        }
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{is_found, with_absolute_end};

    #[test]
    fn the_end_is_the_very_end() {
        assert_eq!(with_absolute_end(r"\A\\Z\.\Z"), r"\A\\Z\.\z");
        assert!(is_found(r"\Aa\n\Z", "a\n").unwrap());
        assert!(!is_found(r"\Aa\Z", "a\n").unwrap());
    }

    #[test]
    fn patterns_may_look_ahead() {
        let pattern = r"\A(?=(.*\n)*b\n)(?=(.*\n)*a\n)([a-z]\n)+\Z";
        assert!(is_found(pattern, "a\nb\nc\n").unwrap());
        assert!(!is_found(pattern, "a\nc\n").unwrap());
        assert!(!is_found(pattern, "a\nb\nC\n").unwrap());
        assert!(is_found("(", "").is_err());
    }
}

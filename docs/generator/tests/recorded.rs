//! Every error that was recorded of qemu-ga is one that the reference tells of.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::fs;

use guestd_reference::{sets, workspace};
use regex::Regex;
use serde_json::Value;

/// The errors of all commands, as the introduction has them, and those of the message itself.
fn common() -> Vec<String> {
    let introduction = fs::read_to_string(workspace().join("docs/generator/src/introduction.md")).unwrap();
    let rows = introduction
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("Error |") || line.contains("CommandNotFound |"));
    let texts = rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned()));
    texts.chain(["QMP input TEXT".to_owned()]).collect()
}

/// Some recordings have a dot for typographic quotation marks.
fn plain(text: &str) -> String {
    text.replace(['“', '”'], ".")
}

/// A regular expression for a text in which words in capitals stand for something.
fn pattern(text: &str) -> Regex {
    let text = &plain(text);
    let placeholder = Regex::new("[A-Z]{3,}").unwrap();
    let fixed = placeholder.split(text).map(regex::escape).collect::<Vec<_>>();
    Regex::new(&format!("(?s)^{}$", fixed.join(".*"))).unwrap()
}

fn patterns() -> BTreeMap<String, Vec<Regex>> {
    let sets = sets::all().unwrap();
    let own: BTreeMap<&str, Vec<&str>> = sets
        .iter()
        .flat_map(|set| set.commands.iter().map(move |command| (set, command)))
        .map(|(set, command)| {
            let errors = command.notes.errors.iter().chain(&set.notes.errors);
            (command.manifest.name.as_str(), errors.map(|error| error.0.as_str()).collect())
        })
        .collect();
    let common = common();
    assert!(common.len() > 8, "{common:?}");
    let commands = sets.iter().flat_map(|set| &set.commands).map(|command| {
        let name = &command.manifest.name;
        let others = command.notes.errors_as.iter().flat_map(|other| &own[other.as_str()]);
        let texts = own[name.as_str()].iter().chain(others).copied().chain(common.iter().map(String::as_str));
        (name.clone(), texts.map(pattern).collect())
    });
    commands.collect()
}

/// The recorded text of an error, or of a regular expression what it stands for; `None`: it says nothing.
fn recorded(error: &Value) -> Option<String> {
    let text = error["desc"].as_str()?;
    match text.strip_prefix("<re:").and_then(|text| text.strip_suffix('>')) {
        Some(expression) => Some(expression.replace("(: .*)?", "").replace(".*", "text").replace('\\', "")),
        None if text.starts_with('<') => None,
        None => Some(text.to_owned()),
    }
}

#[test]
fn recorded_errors_are_in_the_reference() {
    let patterns = patterns();
    let (mut count, mut unknown) = (0, Vec::new());
    let files = fs::read_dir(workspace().join("tests/conformance/cases")).unwrap();
    for file in files {
        let cases = fs::read_to_string(file.unwrap().path()).unwrap();
        let cases = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        for case in cases.filter(|case| case["quirk"] != true) {
            for step in case["steps"].as_array().into_iter().flatten() {
                let Some(request) = step["send"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
                else {
                    continue;
                };
                let Some(known) = request["execute"].as_str().and_then(|name| patterns.get(name)) else { continue };
                for text in
                    step["expect"].as_array().into_iter().flatten().filter_map(|answer| recorded(&answer["error"]))
                {
                    count += 1;
                    if !known.iter().any(|pattern| pattern.is_match(&plain(&text))) {
                        unknown.push(format!("{}: {text}", request["execute"]));
                    }
                }
            }
        }
    }
    assert!(unknown.is_empty(), "not in the reference (reference.toml of the set): {unknown:#?}");
    assert!(count > 200, "{count}");
}

#[test]
fn a_text_stands_for_what_is_like_it_only() {
    let open = pattern("failed to open file 'PATH' (mode: 'MODE'): ERRNO");
    assert!(open.is_match("failed to open file '/a\nb' (mode: 'r'): No such file or directory"));
    assert!(!open.is_match("failed to open file '/a' (mode: 'r')"));
    assert!(!pattern("Invalid time").is_match("Invalid time: Success"));
}

//! SECURITY.md makes no claim without a test, and names no test that does not exist.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

/// The tests that a text names: links from a test's name to its file.
fn tests_in(text: &str) -> Vec<(&str, &str)> {
    let links = text.split('[').skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once("](")?;
        let (target, _) = rest.split_once(')')?;
        Some((name, target))
    });
    links.filter(|(_, target)| target.ends_with(".rs")).collect()
}

/// Whether a file has a test of that name: a function, or a line `name: "target",` of the fuzz targets' macro.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(number, line)| {
        let mut before = lines[..number].iter().rev().take_while(|line| line.starts_with("#["));
        line.starts_with(&format!("fn {name}(")) && before.any(|line| *line == "#[test]")
            || line.starts_with(&format!("{name}: \""))
    })
}

#[test]
fn every_claim_names_a_test_and_every_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let security = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut claims = 0;
    for line in security.lines().filter(|line| line.starts_with("| ")) {
        if line.ends_with("| shown by |") {
            continue;
        }
        claims += 1;
        assert!(!tests_in(line).is_empty(), "no test shows this claim: {line}");
    }
    assert!(claims > 20, "{claims} claims are found; are the tables still tables?");
    for (name, file) in tests_in(&security) {
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(has_test(&text, name), "{file} has no test {name}");
    }
}

#[test]
fn a_test_is_a_function_that_is_run() {
    assert!(has_test("\n#[test]\nfn a() {}", "a") && has_test("\n#[test]\n#[ignore]\nfn a(", "a"));
    assert!(!has_test("\nfn a() {}", "a") && !has_test("\n#[test]\nfn ab() {}", "a"));
    assert_eq!(tests_in("[a](b.rs), [c](d.md), [e](f.rs#g)"), [("a", "b.rs")]);
}

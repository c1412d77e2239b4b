//! What is installed holds nothing of the command reference.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;

use guestd_daemon_tests::{stage, workspace};
use serde_json::Value;

/// The longest description of a member in a schema.
fn longest(schema: &Value) -> Option<&str> {
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let own = own.filter_map(|(_, member)| member.get("description")?.as_str());
    let inner = schema.as_object().into_iter().flatten().filter_map(|(_, value)| longest(value));
    own.chain(inner).max_by_key(|text| text.len())
}

#[test]
fn no_set_carries_its_schemas() {
    let mut texts = BTreeSet::new();
    for file in fs::read_dir(workspace().join("docs/commands/schema")).unwrap() {
        let schema: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
        texts.extend(longest(&schema).filter(|text| text.len() > 30).map(str::to_owned));
    }
    assert!(texts.len() > 20, "{texts:?}");
    let mut count = 0;
    for file in fs::read_dir(stage().join("lib/guestd/plugins")).unwrap() {
        let path = file.unwrap().path();
        let library = fs::read(&path).unwrap();
        let held = texts.iter().find(|text| memchr::memmem::find(&library, text.as_bytes()).is_some());
        assert_eq!(held, None, "{}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn nothing_that_is_installed_carries_symbols() {
    let mut files = vec![stage().join("sbin/guestd")];
    files.extend(fs::read_dir(stage().join("lib/guestd/plugins")).unwrap().map(|file| file.unwrap().path()));
    assert!(files.len() > 1);
    for file in files {
        // nm(1) is in binutils, which building takes as well. It has no list to print of a file that is stripped.
        let output = std::process::Command::new("nm").arg(&file).output().unwrap();
        assert!(output.stdout.is_empty(), "{}", file.display());
    }
}

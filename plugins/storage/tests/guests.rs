//! `guest-get-fsinfo` and `guest-get-disks` on the guests of `tests/guests`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::Guest;
use guestd_test_guests::Case;
use serde_json::Value;

/// Compares each answer of a command with the lines of a file, and tells all that differ.
fn compare(command: &str, file: &str) {
    let mut differ = Vec::new();
    let cases = Case::all();
    let mut asked = 0;
    for case in &cases {
        let Some(expected) = case.expected(file) else { continue };
        asked += 1;
        let guest = Guest::new();
        case.lay_out(&guest.path(""));
        let mut found = guest.list(command);
        found.iter_mut().for_each(without_sizes);
        let name = &case.name;
        let lines = |values: &[Value], but: &[Value]| -> Vec<String> {
            values.iter().filter(|value| !but.contains(value)).map(|value| format!("    {value}")).collect()
        };
        if found != expected {
            let (missing, surplus) = (lines(&expected, &found).join("\n"), lines(&found, &expected).join("\n"));
            differ.push(format!(
                "{name}/{file}: expected and not found:\n{missing}\n  found and not expected:\n{surplus}"
            ));
        }
    }
    assert!(asked > 0, "no case has a file {file}");
    assert!(differ.is_empty(), "{command} (where nothing is listed the order differs)\n{}", differ.join("\n"));
}

/// A number of a mount in a case may happen to be that of the directory that plays the guest.
fn without_sizes(system: &mut Value) {
    for size in ["used-bytes", "total-bytes", "total-bytes-privileged"] {
        system.as_object_mut().unwrap().remove(size);
    }
}

#[test]
fn file_systems_are_as_the_cases_say() {
    compare("guest-get-fsinfo", "fsinfo.jsonl");
}

#[test]
fn disks_are_as_the_cases_say() {
    compare("guest-get-disks", "disks.jsonl");
}

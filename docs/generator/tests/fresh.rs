//! The reference is what its generator makes, of all sets, and its schemas are sound.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use guestd_reference::{files, protocol, sets, tree, workspace};

#[test]
fn the_reference_is_up_to_date() {
    let files = files().unwrap_or_else(|error| panic!("{error:#}"));
    let differences = tree::differences(&workspace().join("docs/commands"), &files).unwrap();
    assert!(differences.is_empty(), "in docs/commands, {}; run `make reference`", differences.join(", "));
}

#[test]
fn every_set_of_the_workspace_is_in_it() {
    let folders = fs::read_dir(workspace().join("plugins")).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.join("Cargo.toml").exists());
    let folders: BTreeSet<String> =
        folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let linked: BTreeSet<String> = sets::all().unwrap().into_iter().map(|set| set.manifest.name).collect();
    assert_eq!(folders, linked, "name the set in docs/generator: Cargo.toml and src/linked.rs");
}

#[test]
fn every_command_of_qemu_ga_on_linux_is_in_it() {
    let ours: BTreeSet<String> = sets::all()
        .unwrap()
        .iter()
        .flat_map(|set| &set.commands)
        .map(|command| command.manifest.name.clone())
        .collect();
    let missing: Vec<_> = protocol::QEMU.commands.keys().filter(|name| !ours.contains(*name)).collect();
    assert_eq!(missing, ["guest-get-devices"], "which is Windows'");
}

#[test]
fn schemas_are_schemas() {
    let schemas = files().unwrap().into_iter().filter(|(path, _)| path.ends_with(".json"));
    let mut count = 0;
    for (path, text) in schemas {
        let schema = serde_json::from_str(&text).unwrap();
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
        jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn what_is_added_removed_or_changed_by_hand_is_noticed_and_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let files: BTreeMap<String, String> =
        ["a.md", "b.md", "schema/a.json"].map(|name| (name.to_owned(), format!("text of {name}\n"))).into();
    let missing = ["a.md is missing", "b.md is missing", "schema/a.json is missing"];
    assert_eq!(tree::differences(folder.path(), &files).unwrap(), missing);
    tree::write(folder.path(), &files).unwrap();
    assert_eq!(tree::differences(folder.path(), &files).unwrap(), [""; 0]);

    fs::write(folder.path().join("a.md"), "other").unwrap();
    fs::remove_file(folder.path().join("schema/a.json")).unwrap();
    fs::write(folder.path().join("schema/old.json"), "{}").unwrap();
    let expected = ["a.md is not up to date", "schema/a.json is missing", "schema/old.json should not be there"];
    assert_eq!(tree::differences(folder.path(), &files).unwrap(), expected);
    tree::write(folder.path(), &files).unwrap();
    assert_eq!(tree::differences(folder.path(), &files).unwrap(), [""; 0]);
}

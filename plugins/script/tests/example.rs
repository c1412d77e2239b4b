//! The example that newcomers copy, as it stands in `examples/script`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Programs, start, text};
use guestd_sdk::testkit::TestKit;
use serde_json::{Value, json};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/script").join(file)
}

/// The example's commands, with the script and the backups in a directory of the test's.
fn installed(programs: &Programs) -> TestKit {
    let text = fs::read_to_string(example("guestd.d/50-script.toml")).unwrap();
    let config: Value = toml::from_str(&text).unwrap();
    let mut section = config["plugins"]["script"].clone();
    let command = &mut section["commands"]["__com.example_backup-status"];
    assert_eq!(command["program"], "/usr/local/lib/guestd/backup-status.sh");
    command["program"] = json!(programs.install(&example("backup-status.sh"), "backup-status.sh"));
    command["environment"] = json!({"BACKUP_DIRECTORY": programs.path("")});
    if !common::is_root() {
        command.as_object_mut().unwrap().remove("user");
    }
    start(section)
}

fn status(kit: &TestKit, arguments: Value) -> Result<Value, String> {
    kit.call("__com.example_backup-status", arguments).map_err(text)
}

#[test]
fn the_example_answers() {
    let programs = Programs::new();
    let kit = installed(&programs);
    fs::write(programs.path("home.tar.gz"), "no archive").unwrap();
    let answer = status(&kit, json!({"job": "home"})).unwrap();
    assert_eq!((&answer["job"], &answer["bytes"], &answer["intact"]), (&json!("home"), &json!(10), &json!(null)));
    assert!(answer["ended"].as_u64().is_some_and(|ended| ended > 1_700_000_000), "{answer}");
    assert_eq!(status(&kit, json!({"job": "home", "verify": true})).unwrap()["intact"], json!(false));
    let uptime = kit.call("__com.example_uptime", json!({}));
    if Path::new("/usr/bin/uptime").exists() {
        assert!(uptime.unwrap()["text"].as_str().unwrap().contains("load average"));
    } else {
        guestd_sdk::testkit::skip("uptime is not installed (procps)");
    }
}

#[test]
fn the_examples_page_tells_the_truth_about_errors() {
    let programs = Programs::new();
    let kit = installed(&programs);
    let page = fs::read_to_string(example("README.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `{")?.strip_suffix("` |")?.split_once("` | `"));
    let mut checked = 0;
    for (arguments, error) in rows {
        let arguments: Value = serde_json::from_str(&format!("{{{arguments}")).unwrap();
        assert_eq!(status(&kit, arguments), Err(error.to_owned()));
        checked += 1;
    }
    assert_eq!(checked, 4, "rows of the table");
    let error = status(&kit, json!({"job": "root"})).unwrap_err();
    assert_eq!(error, "there is no backup of 'root'");
    assert!(page.contains(&format!("`{error}`")));
}

//! What `record.sh` writes down of a guest is that guest.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use guestd_test_guests::{Case, lay_out};

/// The lines that stand for what is below a directory.
fn recorded(root: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("record.sh");
    let done = Command::new("sh").arg(script).arg(root).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn each_case_is_recorded_as_it_is_written() {
    for case in Case::all() {
        let root = tempfile::tempdir().unwrap();
        case.lay_out(root.path());
        let again = recorded(root.path());
        assert_eq!(sorted(&again), sorted(&case.text("devices").unwrap()), "{}", case.name);
    }
}

#[test]
fn this_machine_can_be_recorded() {
    let root = tempfile::tempdir().unwrap();
    lay_out(&recorded(Path::new("")), root.path());
    for entry in fs::read_dir(root.path().join("sys/class/block")).unwrap() {
        let device = Path::new("/sys/class/block").join(entry.unwrap().file_name()).join("dev");
        // What other tests put in and take out may have gone by now.
        if let Ok(number) = fs::read_to_string(&device) {
            assert_eq!(fs::read_to_string(root.path().join(device.strip_prefix("/").unwrap())).unwrap(), number);
        }
    }
}

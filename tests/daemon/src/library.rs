//! Plugins that the tests build.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::workspace;

/// Builds run one at a time.
static BUILDING: Mutex<()> = Mutex::new(());

/// Where the tests build what is not the workspace's.
fn build_dir() -> PathBuf {
    workspace().join("target/test-plugins")
}

fn cargo(cargo: impl AsRef<OsStr>, dir: &Path, target: &Path, words: &[&str]) {
    let mut command = Command::new(cargo);
    command.current_dir(dir).env("CARGO_TARGET_DIR", target).args(words);
    for variable in ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The library of the workspace's test plugin of that name.
pub fn fixture(name: &str) -> PathBuf {
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let target = build_dir().join("fixtures");
    cargo("cargo", &workspace(), &target, &["build", "--quiet", "-p", &format!("guestd-{name}")]);
    target.join(format!("debug/libguestd_{}.so", name.replace('-', "_")))
}

/// The library of `examples/vendor-plugin`, built from a copy of it that lies elsewhere.
pub fn vendor_plugin() -> PathBuf {
    vendor_plugin_by("rustup", Path::new("cargo"), &[])
}

/// The same, built by another cargo with its own compiler, and with `changes` made to the copy of the boundary and the sdk
/// that it is built against: `(file under plugin-api, text, its replacement)`.
pub fn vendor_plugin_by(label: &str, with: &Path, changes: &[(&str, &str, &str)]) -> PathBuf {
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let tree = build_dir().join(label);
    copy_tree(&tree, &["plugin-api", "examples/vendor-plugin"], changes);
    write_root(&tree, "members = [\"plugin-api/abi\", \"plugin-api/sdk\"]");
    let target = tree.join("target");
    cargo(with, &tree.join("examples/vendor-plugin"), &target, &["build", "--quiet"]);
    target.join("debug/libexample_greeter.so")
}

/// A daemon built against a changed copy of the boundary.
pub fn daemon_with(label: &str, changes: &[(&str, &str, &str)]) -> PathBuf {
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let tree = build_dir().join(label);
    copy_tree(&tree, &["plugin-api", "host"], changes);
    write_root(&tree, "members = [\"host\", \"plugin-api/abi\", \"plugin-api/sdk\"]");
    let target = tree.join("target");
    cargo("cargo", &tree, &target, &["build", "--quiet", "-p", "guestd"]);
    target.join("debug/guestd")
}

/// The workspace's manifest, from which those in the tree inherit, with other members.
fn write_root(tree: &Path, members: &str) {
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let lines: Vec<_> = root.lines().map(|line| if line.starts_with("members = ") { members } else { line }).collect();
    write_if_changed(&tree.join("Cargo.toml"), &lines.join("\n"));
    // The same versions as the workspace's, which are there already; cargo then strikes what this tree does not need.
    if !tree.join("Cargo.lock").exists() {
        fs::copy(workspace().join("Cargo.lock"), tree.join("Cargo.lock")).unwrap();
    }
}

fn copy_tree(to: &Path, parts: &[&str], changes: &[(&str, &str, &str)]) {
    let mut made = 0;
    for part in parts {
        let from = workspace().join(part);
        for file in files_below(&from) {
            let relative = file.strip_prefix(workspace()).unwrap();
            let mut text = fs::read_to_string(&file).unwrap();
            for (changed, old, new) in changes {
                if relative == Path::new("plugin-api").join(changed) {
                    assert!(text.contains(old), "{changed} does not contain {old:?}");
                    text = text.replacen(old, new, 1);
                    made += 1;
                }
            }
            write_if_changed(&to.join(relative), &text);
        }
        // What was there when the tree was last copied, and is no more.
        for copy in files_below(&to.join(part)) {
            let original = workspace().join(copy.strip_prefix(to).unwrap());
            if !original.exists() && copy.file_name() != Some(OsStr::new("Cargo.lock")) {
                fs::remove_file(&copy).unwrap();
            }
        }
    }
    assert_eq!(made, changes.len(), "some changes are for files that do not exist");
}

/// Keeps the time of what is the same already, so that it is not built anew.
fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().and_then(OsStr::to_str) {
            Some("target") => {}
            _ if path.is_dir() => files.extend(files_below(&path)),
            _ => files.push(path),
        }
    }
    files
}

/// A copy of a library in `dir` in which the bytes `old` are replaced by as many others.
pub fn patched(library: &Path, dir: &Path, old: &[u8], new: &[u8]) -> PathBuf {
    assert_eq!(old.len(), new.len());
    let mut bytes = fs::read(library).unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old).expect("the library does not hold the bytes");
    bytes[at..at + new.len()].copy_from_slice(new);
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = dir.join(format!("patched-{}.so", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, bytes).unwrap();
    path
}

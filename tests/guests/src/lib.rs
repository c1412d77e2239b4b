//! Mounts and block devices of all kinds of guests, as test data: a folder a case, for every set that looks at them.
//! What a case holds, and how to add one, is in the README.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "bad test data should end the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A guest.
#[derive(Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    folder: PathBuf,
}

impl Case {
    /// All cases, in the order of their names.
    ///
    /// # Panics
    ///
    /// Where there are none.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let case = |folder: PathBuf| Self { name: folder.file_name().unwrap().to_str().unwrap().to_owned(), folder };
        let mut cases: Vec<Self> = entries.map(|entry| case(entry.unwrap().path())).collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(!cases.is_empty(), "no cases in {}", folder.display());
        cases
    }

    /// A file of the case; `None` if it has none of this name.
    #[must_use]
    pub fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    /// What is expected of a command or a plan, a JSON value a line; `None` if the case says nothing about it.
    ///
    /// # Panics
    ///
    /// Where a line is no JSON.
    #[must_use]
    pub fn expected(&self, file: &str) -> Option<Vec<Value>> {
        let text = self.text(file)?;
        let value = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{}/{file}: {error}: {line}", self.name))
        };
        Some(text.lines().filter(|line| !line.trim().is_empty()).map(value).collect())
    }

    /// Makes the guest's `/proc`, `/sys` and what else it tells of below `root`, an empty directory.
    ///
    /// # Panics
    ///
    /// Where a line of `devices` is none of those that the README lists.
    pub fn lay_out(&self, root: &Path) {
        file(root, "/proc/self/mountinfo", &self.text("mountinfo").unwrap_or_default());
        lay_out(&self.text("devices").unwrap_or_default(), root);
    }
}

/// Makes what the lines of `devices` tell of below a directory.
///
/// # Panics
///
/// Where a line is none.
pub fn lay_out(devices: &str, root: &Path) {
    for directory in ["sys/class/block", "sys/dev/block"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for line in devices.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some((path, target)) = line.split_once(" -> ") {
            link(root, path, target);
        } else if let Some((path, text)) = line.split_once(" = ") {
            let before = fs::read_to_string(root.join(below(path))).unwrap_or_default();
            file(root, path, &format!("{before}{text}\n"));
        } else {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["disk", path, number, sectors] => device(root, path, number, sectors),
                ["part", path, number, sectors] => {
                    device(root, path, number, sectors);
                    file(root, &format!("{path}/partition"), "1\n");
                }
                _ => panic!("no line of a case: {line:?}"),
            }
        }
    }
}

/// A block device with its links by name and by number.
fn device(root: &Path, path: &str, number: &str, sectors: &str) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let devices = path.strip_prefix("/sys/").unwrap_or_else(|| panic!("not in sysfs: {path}"));
    file(root, &format!("{path}/dev"), &format!("{number}\n"));
    file(root, &format!("{path}/size"), &format!("{sectors}\n"));
    link(root, &format!("/sys/class/block/{name}"), &format!("../../{devices}"));
    link(root, &format!("/sys/dev/block/{number}"), &format!("../../{devices}"));
}

fn file(root: &Path, path: &str, text: &str) {
    let path = root.join(below(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(below(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A path of the guest, seen from its root.
fn below(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or_else(|| panic!("not from the root: {path}"))
}

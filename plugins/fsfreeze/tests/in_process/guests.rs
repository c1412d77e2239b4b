//! The plan of a freeze of each of the guests in `tests/guests`, as its report has it.

use std::fs;

use guestd_test_guests::Case;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::fake::{World, freeze, report, thaw};

/// Types that implement no freezing.
const NOT_FREEZABLE: [&str; 7] = ["vfat", "exfat", "ntfs3", "squashfs", "iso9660", "udf", "erofs"];

impl World {
    /// A guest with the mounts and devices of a case.
    fn of(case: &Case) -> Self {
        let world = Self::new();
        let root = world.dir.path();
        case.lay_out(root);
        let table = case.text("mountinfo").unwrap();
        world.kernel.set_mountinfo(&table);
        for mount in crate::plan::mountinfo::parse(table.as_bytes()) {
            if NOT_FREEZABLE.contains(&mount.fstype.as_str()) {
                world.kernel.fail_freeze(&mount.device.to_string(), Errno::OPNOTSUPP);
            }
        }
        for block in fs::read_dir(root.join("sys/class/block")).unwrap() {
            let block = block.unwrap();
            let number = fs::read_to_string(block.path().join("dev")).unwrap();
            world.kernel.node(&format!("/dev/{}", block.file_name().to_str().unwrap()), number.trim());
        }
        for line in case.text("loops").unwrap_or_default().lines() {
            let (name, number) = line.split_once(' ').unwrap();
            world.kernel.holder(name, number);
        }
        world
    }
}

/// What the report says of a mount that has a part in the freeze, or should have: what is left out as it is not local, or
/// as the same file system has another mount, is no line.
fn line(mount: &Value) -> Option<Value> {
    let (point, outcome, reason) =
        (&mount["mountpoint"], &mount["outcome"], mount["reason"].as_str().unwrap_or_default());
    match outcome.as_str().unwrap() {
        "left-out" if reason.starts_with("mounted over") || reason.starts_with("reachable only") => {
            Some(json!({"mountpoint": point, "outcome": outcome, "reason": reason}))
        }
        "left-out" => None,
        _ => Some(json!({"mountpoint": point, "outcome": outcome})),
    }
}

#[test]
fn guests_are_frozen_in_the_order_that_the_cases_say() {
    let mut differ = Vec::new();
    let mut asked = 0;
    for case in Case::all() {
        let Some(expected) = case.expected("freeze.jsonl") else { continue };
        asked += 1;
        let world = World::of(&case);
        let kit = world.start();
        freeze(&kit).unwrap();
        let report = report(&kit);
        thaw(&kit).unwrap();
        let found: Vec<Value> = report["freeze"]["mounts"].as_array().unwrap().iter().filter_map(line).collect();
        if found != expected {
            let lines: Vec<String> = found.iter().map(Value::to_string).collect();
            differ.push(format!("{}: found\n{}", case.name, lines.join("\n")));
        }
    }
    assert!(asked > 0, "no case has a file freeze.jsonl");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

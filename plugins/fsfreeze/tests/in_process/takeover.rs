//! What an agent makes of a freeze that one before it left.

use std::fs;

use serde_json::{Value, json};

use super::fake::{World, eventually, freeze, freeze_in_background, freeze_list, mount_of, report, status, thaw};
use crate::clock;

/// A guest whose agent died in a freeze of `/a` and `/b`, with two hooks.
fn crashed(stage: &str) -> World {
    let world = World::new();
    let hooks: Vec<Value> = ["one", "two"]
        .into_iter()
        .enumerate()
        .map(|(at, name)| {
            let path = world.noting_script(name, "");
            json!({"path": path, "script": true, "started": at == 0 || stage != "hooks", "thawed": false})
        })
        .collect();
    let record = json!({
        "format": 1,
        "boot-id": clock::boot_id(),
        "stage": stage,
        "started": 1_700_000_000,
        "lease-end-ms": clock::millis(clock::since_boot()) + 3_600_000,
        "mounts": [
            {"point": "/b", "device": "7:2", "fstype": "xfs"},
            {"point": "/a", "device": "7:1", "fstype": "ext4"},
        ],
        "hooks": hooks,
    });
    write_record(&world, &record);
    if stage != "hooks" {
        world.kernel.frozen_by_others("7:2", 1);
    }
    world
}

fn write_record(world: &World, record: &Value) {
    fs::write(world.plan_file(), record.to_string()).unwrap();
    fs::set_permissions(world.plan_file(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn edit_record(world: &World, edit: impl FnOnce(&mut Value)) {
    let mut record = serde_json::from_str(&fs::read_to_string(world.plan_file()).unwrap()).unwrap();
    edit(&mut record);
    write_record(world, &record);
}

#[test]
fn a_complete_freeze_is_taken_over_with_its_lease_and_hooks() {
    let world = crashed("frozen");
    world.kernel.frozen_by_others("7:1", 1);
    let kit = world.start_in(true).unwrap();
    assert_eq!(status(&kit), "frozen");
    let report = report(&kit);
    assert_eq!(report["freeze"]["started"], "2023-11-14T22:13:20Z");
    let left = report["freeze"]["lease-left-ms"].as_u64().unwrap();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(mount_of(&report, "/a")["outcome"], "frozen");
    assert_eq!(freeze(&kit), Err("file systems are frozen already".to_owned()));
    assert_eq!(thaw(&kit), Ok(json!(2)));
    assert_eq!(world.kernel.calls(), ["thaw 7:1", "thaw 7:2"]);
    assert_eq!(world.ran(), ["two thaw", "one thaw"]);
    assert_eq!(report["freeze"]["hooks"][1]["freeze"]["outcome"], "run-earlier");
    assert!(!world.plan_file().exists());
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn a_lease_that_was_over_meanwhile_ends_at_once() {
    let world = crashed("frozen");
    edit_record(&world, |record| record["lease-end-ms"] = json!(1));
    let kit = world.start_in(true).unwrap();
    eventually("thawed", || status(&kit) == "thawed" && !world.plan_file().exists());
    eventually("the hooks ran", || world.ran() == ["two thaw", "one thaw"]);
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
}

#[test]
fn a_lease_of_0_is_taken_over_as_such() {
    let world = crashed("frozen");
    edit_record(&world, |record| record["lease-end-ms"] = Value::Null);
    let kit = world.start_in(true).unwrap();
    assert!(report(&kit)["freeze"].get("lease-end").is_none());
    assert_eq!(thaw(&kit), Ok(json!(1)));
}

#[test]
fn what_was_not_complete_is_undone_and_told() {
    for (stage, ran) in [
        ("hooks", &["one thaw"] as &[&str]),
        ("freezing", &["two thaw", "one thaw"]),
        ("thawing", &["two thaw", "one thaw"]),
    ] {
        for marker in [true, false] {
            let world = crashed(stage);
            let kit = world.start_in(marker).unwrap();
            let error = thaw(&kit).unwrap_err();
            assert!(error.contains("because the agent had died before the freeze was complete"), "{stage}: {error}");
            assert!(world.kernel.frozen().is_empty(), "{stage}");
            assert_eq!(world.ran(), ran, "{stage}");
            assert!(!world.plan_file().exists());
            assert_eq!((status(&kit), thaw(&kit)), ("thawed".to_owned(), Ok(json!(0))));
        }
    }
}

#[test]
fn a_complete_freeze_behind_an_open_gate_is_undone() {
    let world = crashed("frozen");
    let kit = world.start_in(false).unwrap();
    eventually("thawed", || world.kernel.frozen().is_empty() && !world.plan_file().exists());
    assert!(thaw(&kit).is_err());
    assert!(!kit.frozen());
}

#[test]
fn thaw_halves_that_have_run_are_not_run_again() {
    let world = crashed("thawing");
    edit_record(&world, |record| record["hooks"][1]["thawed"] = json!(true));
    let kit = world.start_in(true).unwrap();
    thaw(&kit).unwrap_err();
    assert_eq!(world.ran(), ["one thaw"]);
}

#[test]
fn after_a_new_start_of_the_guest_nothing_is_frozen() {
    let world = crashed("frozen");
    edit_record(&world, |record| record["boot-id"] = json!("another"));
    let kit = world.start_in(true).unwrap();
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    assert!(world.ran().is_empty() && world.kernel.calls().is_empty() && !world.plan_file().exists());
    assert_eq!(freeze(&kit), Ok(json!(2)));
}

#[test]
fn a_marker_without_a_plan_is_a_complete_freeze_of_everything() {
    for run_dir in [true, false] {
        let mut world = World::new();
        if !run_dir {
            world.facts = json!({});
        }
        world.kernel.frozen_by_others("7:1", 1);
        world.kernel.frozen_by_others("8:1", 1);
        let kit = world.start_in(true).unwrap();
        assert_eq!(status(&kit), "frozen");
        assert!(report(&kit)["freeze"]["lease-left-ms"].as_u64().unwrap() <= 600_000);
        assert_eq!(thaw(&kit), Ok(json!(2)));
        assert_eq!(status(&kit), "thawed");
    }
}

#[test]
fn a_plan_that_says_nothing_is_no_plan() {
    for text in ["", "{", r#"{"format": 2}"#] {
        let world = World::new();
        write_record(&world, &json!(null));
        fs::write(world.plan_file(), text).unwrap();
        world.kernel.frozen_by_others("7:1", 1);
        assert_eq!(thaw(&world.start_in(true).unwrap()), Ok(json!(1)), "{text}");
        fs::write(world.plan_file(), text).unwrap();
        assert_eq!(status(&world.start_in(false).unwrap()), "thawed", "{text}");
    }
}

#[test]
fn a_plan_that_others_could_have_written_is_not_believed() {
    let world = crashed("thawing");
    fs::set_permissions(world.plan_file(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let kit = world.start_in(false).unwrap();
    assert_eq!((status(&kit), thaw(&kit)), ("thawed".to_owned(), Ok(json!(1))));
    assert!(world.ran().is_empty());
}

#[test]
fn a_wrong_configuration_does_not_keep_a_freeze_from_its_end() {
    let mut world = crashed("frozen");
    world.config = json!({"lease": "long"});
    let kit = world.start_in(true).unwrap();
    assert_eq!(thaw(&kit), Ok(json!(1)));
    assert_eq!(world.ran().len(), 2);
}

#[test]
fn what_is_mounted_elsewhere_or_nowhere_by_now_is_found_by_its_superblock() {
    let world = crashed("frozen");
    world.kernel.frozen_by_others("7:1", 1);
    world.kernel.unmount_all();
    world.kernel.mount("7:2", "/moved", "xfs");
    let kit = world.start_in(true).unwrap();
    assert_eq!(thaw(&kit), Ok(json!(1)));
    assert_eq!(world.kernel.frozen(), ["7:1"]);
}

#[test]
fn the_plan_on_disk_tells_all_that_is_needed() {
    let mut world = World::new();
    world.kernel.mount("7:7", "/sp\\040ace\\134", "ext4");
    world.config = json!({"hook": world.noting_script("hook", ""), "lease": 100});
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/a", "/sp ace\\"]), Ok(json!(2)));
    let record: Value = serde_json::from_str(&fs::read_to_string(world.plan_file()).unwrap()).unwrap();
    assert_eq!(record["stage"], "frozen");
    assert_eq!(record["mounts"][0], json!({"point": "/sp\\040ace\\134", "device": "7:7", "fstype": "ext4"}));
    assert_eq!(record["mounts"][1]["device"], "7:1");
    assert_eq!((&record["hooks"][0]["started"], &record["hooks"][0]["thawed"]), (&json!(true), &json!(false)));
    assert_eq!(record["boot-id"], clock::boot_id().as_str());
    let end = record["lease-end-ms"].as_u64().unwrap();
    let now = clock::millis(clock::since_boot());
    assert!(end > now && end <= now + 100_000, "{end} {now}");
}

#[test]
fn the_plan_on_disk_is_ahead_of_what_is_done() {
    let world = World::new();
    world.kernel.hang("freeze", "7:2");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it hangs", || world.kernel.has_called("freeze 7:2"));
    let record: Value = serde_json::from_str(&fs::read_to_string(world.plan_file()).unwrap()).unwrap();
    assert_eq!((&record["stage"], record["mounts"].as_array().unwrap().len()), (&json!("freezing"), 3));
    world.kernel.release("freeze", "7:2");
    freezing.join().unwrap().unwrap();
    thaw(&kit).unwrap();
}

#[test]
fn a_run_directory_on_a_disk_is_not_used() {
    let mut world = World::new();
    let on_disk = tempfile::tempdir().unwrap();
    let magic = rustix::fs::statfs(on_disk.path()).unwrap().f_type;
    if magic == 0x0102_1994 {
        guestd_sdk::testkit::not_here("the directory for temporary files lies in memory");
        return;
    }
    world.facts = json!({"run-dir": on_disk.path()});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(fs::read_dir(on_disk.path()).unwrap().count(), 0);
    assert!(kit.log().iter().any(|(_, line)| line.contains("does not lie in memory")));
}

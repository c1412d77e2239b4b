//! The commands on real file systems: loop images in a mount namespace of the test's own.
//!
//! The machine's own file systems are out of reach: the guest of the test is a directory, and its mount table names
//! what was mounted below that directory and nothing else. Needs root and loop devices, else nothing is tried.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod private;

use std::os::unix::fs::MetadataExt;

use guestd_sdk::LogLevel;
use private::{DeadServer, Place, run};
use serde_json::{Value, json};

/// The member `key` of each item.
fn all(items: &[Value], key: &str) -> Vec<String> {
    items.iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

fn trim(place: &Place, arguments: Value) -> Vec<Value> {
    let answer = place.kit(json!({})).call("guest-fstrim", arguments).unwrap();
    answer["paths"].as_array().unwrap().clone()
}

#[test]
fn file_systems_are_listed_once_and_the_last_mounted_first() {
    let Some(place) = Place::private("file_systems_are_listed_once_and_the_last_mounted_first") else { return };
    place.mount("ext4", "a", &[]);
    place.mount("xfs", "b", &[]);
    place.mount("btrfs", "c", &[]);
    run("btrfs", &["subvolume", "create", &place.at("mnt/c/sub")]);
    let loop_device = place.loop_device("c");
    place.make_dir("mnt/sub");
    run("mount", &["-o", "subvol=sub", &loop_device, &place.at("mnt/sub")]);
    place.make_dir("mnt/bind");
    run("mount", &["--bind", &place.at("mnt/a"), &place.at("mnt/bind")]);
    place.mount("ext4", "with space", &["-o", "ro"]);
    place.make_dir("mnt/memory");
    run("mount", &["-t", "tmpfs", "none", &place.at("mnt/memory")]);

    let systems = place.kit(json!({})).call("guest-get-fsinfo", json!({})).unwrap();
    let systems = systems.as_array().unwrap();
    assert_eq!(all(systems, "mountpoint"), ["/mnt/with space", "/mnt/c", "/mnt/b", "/mnt/a"]);
    assert_eq!(all(systems, "type"), ["ext4", "btrfs", "xfs", "ext4"]);
    for (system, name) in systems.iter().zip(["with space", "c", "b", "a"]) {
        let device = place.loop_device(name);
        assert_eq!(system["name"], device.strip_prefix("/dev/").unwrap(), "{name}");
        assert_eq!(system["disk"], json!([]), "{name}");
        let stat = rustix::fs::statvfs(place.at(&format!("mnt/{name}"))).unwrap();
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        assert_eq!(system["used-bytes"], used, "{name}");
        assert_eq!(system["total-bytes"], used + stat.f_bavail * stat.f_frsize, "{name}");
        assert_eq!(system["total-bytes-privileged"], stat.f_blocks * stat.f_frsize, "{name}");
    }
    // ext4 keeps a part for root.
    assert!(systems[3]["total-bytes"].as_u64() < systems[3]["total-bytes-privileged"].as_u64());
}

#[test]
fn what_is_mounted_unmounted_and_renamed_is_seen_at_once() {
    let Some(place) = Place::private("what_is_mounted_unmounted_and_renamed_is_seen_at_once") else { return };
    let kit = place.kit_of_namespace();
    // Twice, so that the second can come from what the first has read.
    let ours = || {
        let lists = [0, 1].map(|_| {
            let systems = kit.call("guest-get-fsinfo", json!({})).unwrap();
            let systems = systems.as_array().unwrap().clone().into_iter();
            let mut found = Vec::new();
            for system in systems {
                let point = system["mountpoint"].as_str().unwrap();
                if let Some(name) = point.strip_prefix(&place.at("mnt/")) {
                    assert!(system.get("used-bytes").is_some(), "{system}");
                    found.push(name.to_owned());
                }
            }
            found
        });
        assert_eq!(lists[0], lists[1]);
        lists[0].clone()
    };
    assert_eq!(ours(), [] as [String; 0]);
    place.mount("ext4", "dir/a", &[]);
    assert_eq!(ours(), ["dir/a"]);
    place.mount("xfs", "b", &[]);
    assert_eq!(ours(), ["b", "dir/a"]);
    std::fs::rename(place.at("mnt/dir"), place.at("mnt/other")).unwrap();
    assert_eq!(ours(), ["b", "other/a"]);
    place.make_dir("mnt/c");
    run("mount", &["--move", &place.at("mnt/other/a"), &place.at("mnt/c")]);
    let mut moved = ours();
    moved.sort();
    assert_eq!(moved, ["b", "c"]);
    run("umount", &[&place.at("mnt/c")]);
    assert_eq!(ours(), ["b"]);
}

#[test]
fn trimming_gives_the_space_of_deleted_files_back() {
    let Some(place) = Place::private("trimming_gives_the_space_of_deleted_files_back") else { return };
    for (kind, name) in [("ext4", "a"), ("xfs", "b"), ("btrfs", "c")] {
        place.mount(kind, name, &[]);
        let file = place.at(&format!("mnt/{name}/file"));
        std::fs::write(&file, vec![0xA5; 32 << 20]).unwrap();
        run("sync", &["-f", &file]);
        std::fs::remove_file(&file).unwrap();
        run("sync", &["-f", &place.at(&format!("mnt/{name}"))]);
    }
    let taken = |name: &str| place.image(name).metadata().unwrap().blocks() * 512;
    let before = ["c", "b", "a"].map(taken);
    let kit = place.kit(json!({}));
    let answer = kit.call("guest-fstrim", json!({})).unwrap();
    let paths = answer["paths"].as_array().unwrap();
    assert_eq!(all(paths, "path"), ["/mnt/c", "/mnt/b", "/mnt/a"]);
    for ((path, name), before) in paths.iter().zip(["c", "b", "a"]).zip(before) {
        assert!(path["trimmed"].as_u64().unwrap() >= 32 << 20, "{path}");
        assert!(path["minimum"].is_u64() && path.get("error").is_none(), "{path}");
        let after = taken(name);
        // What the file systems themselves write takes a little.
        assert!(before >= after + (30 << 20), "{name}: {before} bytes before, {after} after");
    }
    let log = kit.log();
    assert!(log.iter().all(|(level, _)| *level == LogLevel::Info));
    let log: Vec<String> = log.into_iter().map(|(_, text)| text).collect();
    assert_eq!(log[0], "trimming \"/mnt/c\", 1 of 3");
    assert!(log[1].starts_with("trimmed \"/mnt/c\": ") && log[1].contains(" bytes in "), "{log:?}");
    assert_eq!(log.len(), 6);
}

#[test]
fn minimum_is_what_the_file_system_makes_of_it() {
    let Some(place) = Place::private("minimum_is_what_the_file_system_makes_of_it") else { return };
    place.mount("ext4", "a", &[]);
    assert_eq!(trim(&place, json!({"minimum": 65536}))[0]["minimum"], 65536);
    for minimum in [1_i64 << 62, -1] {
        let expected = json!({"path": "/mnt/a", "error": "failed to trim: Invalid argument"});
        assert_eq!(trim(&place, json!({"minimum": minimum})), [expected]);
    }
}

#[test]
fn what_is_mounted_over_is_reached_by_another_name_or_left_alone() {
    let Some(place) = Place::private("what_is_mounted_over_is_reached_by_another_name_or_left_alone") else { return };
    place.mount("ext4", "a", &[]);
    place.make_dir("mnt/bind");
    run("mount", &["--bind", &place.at("mnt/a"), &place.at("mnt/bind")]);
    place.mount("ext4", "b", &[]);
    place.make_dir("mnt/x/c");
    place.mount("ext4", "x/c", &[]);
    for covered in ["a", "b", "x"] {
        run("mount", &["-t", "tmpfs", "none", &place.at(&format!("mnt/{covered}"))]);
    }
    let systems = place.kit(json!({})).call("guest-get-fsinfo", json!({})).unwrap();
    let systems = systems.as_array().unwrap();
    assert_eq!(all(systems, "mountpoint"), ["/mnt/x/c", "/mnt/b", "/mnt/a"]);
    let sized: Vec<bool> = systems.iter().map(|system| system.get("used-bytes").is_some()).collect();
    assert_eq!(sized, [false, false, true]);
    let stat = rustix::fs::statvfs(place.at("mnt/bind")).unwrap();
    assert_eq!(systems[2]["total-bytes-privileged"], stat.f_blocks * stat.f_frsize);

    let paths = trim(&place, json!({}));
    assert_eq!(paths[0], json!({"path": "/mnt/x/c", "error": "failed to open: No such file or directory"}));
    assert_eq!(paths[1], json!({"path": "/mnt/b", "error": "failed to open: something else is mounted over it"}));
    assert_eq!((&paths[2]["path"], paths[2]["trimmed"].is_i64()), (&json!("/mnt/a"), true), "{paths:?}");
}

#[test]
fn nothing_is_trimmed_while_somebody_else_holds_the_lock() {
    let Some(place) = Place::private("nothing_is_trimmed_while_somebody_else_holds_the_lock") else { return };
    place.mount("ext4", "a", &[]);
    let kit = place.kit(json!({}));
    kit.call("guest-fstrim", json!({})).unwrap();
    let lock = std::fs::File::open(place.at("run/guestd/fstrim.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = kit.call("guest-fstrim", json!({})).unwrap_err();
    assert_eq!(refused.desc(), "file systems are being trimmed or frozen already");
    drop(lock);
    kit.call("guest-fstrim", json!({})).unwrap();
}

#[test]
fn a_file_system_that_does_not_answer_is_listed_without_its_size() {
    let Some(place) = Place::private("a_file_system_that_does_not_answer_is_listed_without_its_size") else { return };
    place.mount("ext4", "a", &[]);
    let Some(mut server) = DeadServer::mount_block(&place, "dead") else { return };
    place.mount("ext4", "b", &[]);

    let kit = place.kit(json!({"statfs-wait-ms": 300}));
    for _ in 0..2 {
        let systems = kit.call("guest-get-fsinfo", json!({})).unwrap();
        let systems = systems.as_array().unwrap();
        assert_eq!(all(systems, "mountpoint"), ["/mnt/b", "/mnt/dead", "/mnt/a"]);
        let sized: Vec<bool> = systems.iter().map(|system| system.get("used-bytes").is_some()).collect();
        assert_eq!(sized, [true, false, true]);
        assert_eq!(systems[1]["type"], "fuseblk");
    }
    server.end();
}

#[test]
fn a_dead_network_mount_is_not_touched() {
    let Some(place) = Place::private("a_dead_network_mount_is_not_touched") else { return };
    place.mount("ext4", "a", &[]);
    let Some(mut server) = DeadServer::mount_network(&place, "net") else { return };
    let kit = place.kit(json!({}));
    let systems = kit.call("guest-get-fsinfo", json!({})).unwrap();
    assert_eq!(all(systems.as_array().unwrap(), "mountpoint"), ["/mnt/a"]);
    assert!(systems[0].get("used-bytes").is_some());
    let answer = kit.call("guest-fstrim", json!({})).unwrap();
    assert_eq!(all(answer["paths"].as_array().unwrap(), "path"), ["/mnt/a"]);
    assert_eq!(server.requests(), 1, "nothing but the kernel's own greeting");
    server.end();
}

#[test]
fn a_loop_device_with_a_file_behind_it_is_a_disk() {
    let Some(place) = Place::private("a_loop_device_with_a_file_behind_it_is_a_disk") else { return };
    place.mount("ext4", "a", &[]);
    let kit = place.kit(json!({}));
    let disks = kit.call("guest-get-disks", json!({})).unwrap();
    let node = place.loop_device("a");
    let ours = disks.as_array().unwrap().iter().find(|disk| disk["name"] == node.as_str()).unwrap();
    assert_eq!(*ours, json!({"name": node, "partition": false, "dependencies": []}));
    let stats = kit.call("guest-get-diskstats", json!({})).unwrap();
    let name = node.strip_prefix("/dev/").unwrap();
    let ours = stats.as_array().unwrap().iter().find(|disk| disk["name"] == name).unwrap();
    assert!(ours["stats"]["read-ios"].as_u64().unwrap() > 0, "{ours}");
}

//! What the commands answer, and in which order file systems are frozen and thawed.

use std::time::Duration;

use guestd_sdk::LogLevel;
use rustix::io::Errno;
use serde_json::json;

use super::fake::{World, call, eventually, freeze, freeze_in_background, freeze_list, mount_of, report, status, thaw};
use crate::kernel::OpenError;

#[test]
fn all_local_file_systems_are_frozen_in_reverse_mount_order_and_thawed_in_reverse_of_that() {
    let world = World::new();
    let kit = world.start();
    assert_eq!(status(&kit), "thawed");
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(world.kernel.calls(), ["freeze 7:2", "freeze 7:1", "freeze 8:1"]);
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("frozen", true));
    assert_eq!(thaw(&kit), Ok(json!(3)));
    assert_eq!(world.kernel.calls(), ["thaw 8:1", "thaw 7:1", "thaw 7:2"]);
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    assert_eq!(thaw(&kit), Ok(json!(0)));
    assert!(!world.plan_file().exists());
}

#[test]
fn a_list_names_mount_points_of_any_kind_and_each_file_system_counts_once() {
    let world = World::new();
    world.kernel.mount("7:1", "/bind", "ext4");
    world.kernel.mount("7:5", "/\u{e9}\\040x", "ext4");
    let kit = world.start();
    for name in ["/./a", "/tmp", "a", "", "/A", "/a/b"] {
        assert_eq!(freeze_list(&kit, &[name]), Ok(json!(0)), "{name}");
        assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false), "{name}");
    }
    assert_eq!(freeze_list(&kit, &[]), Ok(json!(0)));
    assert!(world.kernel.calls().is_empty());
    for names in [["/a"].as_slice(), &["/bind"], &["/a/", "//bind//", "/a"], &["//a"]] {
        assert_eq!(freeze_list(&kit, names), Ok(json!(1)), "{names:?}");
        assert_eq!(world.kernel.frozen(), ["7:1"], "{names:?}");
        assert_eq!(thaw(&kit), Ok(json!(1)));
    }
    assert_eq!(freeze_list(&kit, &["/a", "/nonexistent", "/a", "/\u{e9} x", "/"]), Ok(json!(3)));
    assert_eq!(world.kernel.frozen(), ["7:1", "7:5", "8:1"]);
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

#[test]
fn a_name_that_is_no_mount_point_is_in_the_log_and_in_the_report() {
    let world = World::new();
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/a/", "/nonexistent/", "/tmp", "b"]), Ok(json!(1)));
    assert_eq!(report(&kit)["freeze"]["no-mountpoints"], json!(["/nonexistent/", "b"]));
    let line = "\"/nonexistent/\" is not a mount point: the request names it in vain".to_owned();
    assert!(kit.log().contains(&(LogLevel::Warn, line)));
    thaw(&kit).unwrap();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert!(report(&kit)["freeze"].get("no-mountpoints").is_none());
}

#[test]
fn a_file_system_that_is_mounted_as_the_root_is_known_as_the_root() {
    let world = World::with(json!({"exclude": ["/sysroot"]}));
    world.kernel.unmount_all();
    world.kernel.mount("8:4", "/sysroot", "xfs");
    world.kernel.mount("8:4", "/", "xfs");
    world.kernel.mount("8:4", "/var", "xfs");
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/"]), Ok(json!(1)));
    assert_eq!(mount_of(&report(&kit), "/")["outcome"], "frozen");
    assert_eq!(mount_of(&report(&kit), "/sysroot")["reason"], "the same file system as /");
}

#[test]
fn arguments_are_refused_in_qemus_words() {
    let world = World::new();
    let kit = world.start();
    for (command, arguments, expected) in [
        ("guest-fsfreeze-freeze", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
        ("guest-fsfreeze-thaw", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
        ("guest-fsfreeze-status", r#"{"x":1}"#, "Parameter 'x' is unexpected"),
        (
            "guest-fsfreeze-freeze-list",
            r#"{"mountpoints":null}"#,
            "Invalid parameter type for 'mountpoints', expected: array",
        ),
        (
            "guest-fsfreeze-freeze-list",
            r#"{"mountpoints":["/a",1]}"#,
            "Invalid parameter type for 'mountpoints[1]', expected: string",
        ),
        ("guest-fsfreeze-freeze-list", r#"{"mountpoints":[],"bogus":1}"#, "Parameter 'bogus' is unexpected"),
    ] {
        let error = kit.call_raw(command, arguments, 0).unwrap_err();
        assert_eq!(error.desc(), expected, "{command} {arguments}");
    }
    assert!(world.kernel.calls().is_empty() && !kit.frozen());
}

#[test]
fn a_list_without_names_is_all() {
    let world = World::new();
    let kit = world.start();
    assert_eq!(call(&kit, "guest-fsfreeze-freeze-list"), Ok(json!(3)));
}

#[test]
fn what_cannot_freeze_is_passed_over_and_what_others_froze_is_thawed() {
    let world = World::new();
    world.kernel.fail_freeze("8:1", Errno::OPNOTSUPP);
    world.kernel.frozen_by_others("7:1", 3);
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(1)));
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/")["outcome"], "synced");
    assert_eq!(mount_of(&report, "/a")["outcome"], "already-frozen");
    assert_eq!(mount_of(&report, "/b")["outcome"], "frozen");
    assert_eq!(mount_of(&report, "/tmp")["reason"], "no local block device");
    assert_eq!(thaw(&kit), Ok(json!(2)));
    assert!(world.kernel.frozen().is_empty());
}

#[test]
fn nothing_frozen_leaves_the_agent_thawed_and_the_freezes_of_others_alone() {
    let world = World::new();
    world.kernel.frozen_by_others("7:1", 1);
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/a"]), Ok(json!(0)));
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    assert_eq!(world.kernel.frozen(), ["7:1"]);
    assert_eq!(thaw(&kit), Ok(json!(1)), "a thaw tries every file system");
}

#[test]
fn a_thaw_leaves_alone_what_others_froze_outside_of_the_plan() {
    let world = World::new();
    world.kernel.frozen_by_others("7:1", 1);
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/b"]), Ok(json!(1)));
    assert_eq!(thaw(&kit), Ok(json!(1)));
    assert_eq!(world.kernel.frozen(), ["7:1"]);
}

fn with_remedy(text: &str, point: &str) -> String {
    format!("{text}; exclude = [\"{point}\"] or on-error = \"skip\" in [plugins.fsfreeze] freezes all others")
}

#[test]
fn one_failure_thaws_everything_and_is_told_in_qemu_gas_words() {
    let world = World::new();
    world.kernel.fail_freeze("8:1", Errno::IO);
    let kit = world.start();
    assert_eq!(freeze(&kit), Err(with_remedy("failed to freeze /: Input/output error", "/")));
    assert_eq!(world.kernel.calls(), ["freeze 7:2", "freeze 7:1", "freeze 8:1", "thaw 7:1", "thaw 7:2"]);
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/")["errno"], json!(5));
    assert_eq!(mount_of(&report, "/")["reason"], "failed to freeze: Input/output error");
    let remedy = mount_of(&report, "/")["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.starts_with("exclude = [\"/\"] or on-error = \"skip\""), "{remedy}");
    assert_eq!(mount_of(&report, "/a")["outcome"], "thawed");
    assert_eq!(report["freeze"]["thaw"]["cause"], "freeze-failed");
    assert_eq!(thaw(&kit), Ok(json!(0)), "the host was told already");
}

#[test]
fn on_error_skip_leaves_out_what_fails() {
    let world = World::with(json!({"on-error": "skip"}));
    world.kernel.fail_freeze("8:1", Errno::IO);
    world.kernel.fail_open("/a", OpenError::Refused(Errno::ACCESS));
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(1)));
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/a")["reason"], "failed to open: Permission denied");
    assert_eq!(mount_of(&report, "/")["outcome"], "failed");
    let warnings: Vec<_> = kit.log().into_iter().filter(|(level, _)| *level == LogLevel::Warn).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(thaw(&kit), Ok(json!(1)));
}

#[test]
fn what_cannot_be_opened_fails_before_anything_is_done() {
    let world = World::new();
    world.kernel.fail_open("/a", OpenError::Refused(Errno::ACCESS));
    let kit = world.start();
    assert_eq!(freeze(&kit), Err(with_remedy("failed to open /a: Permission denied", "/a")));
    assert!(world.kernel.calls().is_empty());
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    assert_eq!(freeze_list(&kit, &["/b"]), Ok(json!(1)), "and the next freeze works");
}

#[test]
fn a_mount_that_is_covered_is_reached_by_another_or_left_out_with_a_warning() {
    let world = World::new();
    world.kernel.fail_open("/a", OpenError::Unreachable);
    world.kernel.fail_open("/b", OpenError::Unreachable);
    world.kernel.mount("7:1", "/bind", "ext4");
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &["/a", "/b"]), Ok(json!(1)));
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/a")["outcome"], "frozen");
    assert_eq!(mount_of(&report, "/bind")["reason"], "the same file system as /a");
    assert_eq!(mount_of(&report, "/b")["reason"], "mounted over, and reachable nowhere else");
    assert!(kit.log().iter().any(|(level, line)| *level == LogLevel::Warn && line.contains("/b")));
}

#[test]
fn patterns_choose_by_the_first_mount_point() {
    let world = World::with(json!({"include": ["/**"], "exclude": ["/a*", "/x/**"]}));
    world.kernel.mount("7:3", "/x/y/z", "ext4");
    world.kernel.mount("7:4", "/d/a", "ext4");
    world.kernel.mount("8:1", "/x/root", "ext4");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(world.kernel.frozen(), ["7:2", "7:4", "8:1"]);
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/a")["reason"], "excluded by the pattern \"/a*\"");
    assert_eq!(mount_of(&report, "/x/y/z")["outcome"], "left-out");
    thaw(&kit).unwrap();
    kit.reload(json!({"include": ["/b"]})).unwrap();
    assert_eq!(freeze(&kit), Ok(json!(1)));
    assert_eq!(mount_of(&super::fake::report(&kit), "/")["reason"], "matches no pattern of `include`");
}

#[test]
fn zfs_is_written_back_before_the_first_freeze_and_never_counted() {
    let world = World::new();
    world.kernel.set_dirty(0);
    world.kernel.mount_with("0:50", "/tank", "zfs", "tank", "rw");
    world.kernel.hang("freeze", "7:2");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("the first freeze", || world.kernel.has_called("freeze 7:2"));
    assert_eq!(world.kernel.synced(), ["0:50"]);
    world.kernel.release("freeze", "7:2");
    assert_eq!(freezing.join().unwrap(), Ok(json!(3)));
    assert_eq!(mount_of(&report(&kit), "/tank")["outcome"], "synced");
    assert_eq!(world.kernel.synced(), ["0:50"]);
}

/// A guest with an EFI partition, which cannot be frozen, and a squashfs, to which nobody can write.
fn with_vfat() -> World {
    let world = World::new();
    world.kernel.set_dirty(0);
    for (device, point, fstype, options) in [("8:15", "/boot/efi", "vfat", "rw"), ("7:9", "/snap/x", "squashfs", "ro")]
    {
        world.kernel.mount_with(device, point, fstype, "none", options);
        world.kernel.fail_freeze(device, Errno::OPNOTSUPP);
    }
    world
}

#[test]
fn what_cannot_be_frozen_is_written_back_when_all_others_are_frozen() {
    let world = with_vfat();
    world.kernel.hang("freeze", "8:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("the last freeze", || world.kernel.has_called("freeze 8:1"));
    assert!(world.kernel.synced().is_empty());
    world.kernel.release("freeze", "8:1");
    assert_eq!(freezing.join().unwrap(), Ok(json!(3)));
    assert_eq!(world.kernel.synced(), ["8:15"]);
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/boot/efi")["outcome"], "synced");
    assert_eq!(mount_of(&report, "/snap/x")["outcome"], "not-freezable");
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

#[test]
fn what_fails_to_be_written_back_fails_the_freeze_or_is_skipped() {
    let mut world = with_vfat();
    world.kernel.fail_sync("8:15", Errno::IO);
    let error = with_remedy("failed to write back /boot/efi: Input/output error", "/boot/efi");
    assert_eq!(freeze(&world.start()), Err(error));
    assert!(world.kernel.frozen().is_empty());
    world.config = json!({"on-error": "skip"});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(mount_of(&report(&kit), "/boot/efi")["outcome"], "failed");
}

#[test]
fn writing_back_that_hangs_is_named_at_the_deadline_and_all_else_is_thawed() {
    let world = with_vfat().impatient();
    world.kernel.hang("sync", "8:15");
    let kit = world.start();
    let error = kit.call_raw("guest-fsfreeze-freeze", "{}", 3000).unwrap_err();
    assert!(error.desc().starts_with("not frozen within 2.7 s (/boot/efi had not answered)"), "{}", error.desc());
    eventually("the others are thawed", || world.kernel.frozen().is_empty());
    world.kernel.release("sync", "8:15");
    eventually("all is over", || !kit.frozen());
    assert_eq!(thaw(&kit), Ok(json!(0)), "the host was told already");
    assert_eq!(freeze(&kit), Ok(json!(3)));
}

#[test]
fn a_mount_that_does_not_answer_is_named_and_nothing_stays_locked() {
    let mut world = World::new();
    world.patience.answer = Duration::from_millis(200);
    world.kernel.hang("open", "7:1");
    let kit = world.start();
    let error = freeze(&kit).unwrap_err();
    assert!(error.starts_with("failed to open /a: no answer within 0.2 s; exclude = "), "{error}");
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    // It is not asked again, and holds up nobody.
    assert!(freeze(&kit).unwrap_err().starts_with("failed to open /a: no answer since an earlier request"));
    world.kernel.frozen_by_others("7:2", 1);
    assert_eq!(thaw(&kit), Ok(json!(1)));
    assert_eq!(freeze_list(&kit, &["/b"]), Ok(json!(1)));
    thaw(&kit).unwrap();
    let lock = std::fs::File::open(world.plan_file().with_file_name("fstrim.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    drop(lock);
    world.kernel.release("open", "7:1");
    eventually("it is asked again", || freeze(&kit) == Ok(json!(3)));
}

#[test]
fn a_mount_that_does_not_answer_is_left_out_with_on_error_skip() {
    let mut world = World::with(json!({"on-error": "skip"}));
    world.patience.answer = Duration::from_millis(200);
    world.kernel.hang("open", "7:1");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(2)));
    assert_eq!(mount_of(&report(&kit), "/a")["reason"], "failed to open: no answer within 0.2 s");
    world.kernel.release("open", "7:1");
}

#[test]
fn a_dead_mount_over_the_way_is_not_asked_and_the_mount_below_is_left_out() {
    let world = World::new();
    world.kernel.unmount_all();
    world.kernel.set_mountinfo(
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 8:2 / /w/top/mid rw - ext4 /dev/sda2 rw\n\
         22 20 0:50 / /w/top rw - fuse.x x rw\n",
    );
    world.kernel.hang("open", "8:2");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(1)));
    assert_eq!(mount_of(&report(&kit), "/w/top/mid")["reason"], "mounted over, and reachable nowhere else");
    assert!(kit.log().iter().any(|(level, line)| *level == LogLevel::Warn && line.contains("/w/top/mid")));
}

#[test]
fn a_mount_on_a_server_that_has_ended_is_left_out_with_a_warning() {
    for errno in [Errno::NOTCONN, Errno::STALE, Errno::ACCESS] {
        let world = World::new();
        world.kernel.mount("0:50", "/net", "nfs4");
        world.kernel.mount("8:9", "/net/disk", "ext4");
        world.kernel.fail_open("/net/disk", OpenError::RefusedOnTheWay(errno));
        let kit = world.start();
        assert_eq!(freeze(&kit), Ok(json!(3)));
        let reason = mount_of(&report(&kit), "/net/disk")["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with("reachable only through /net (nfs4): "), "{reason}");
        assert!(kit.log().iter().any(|(level, line)| *level == LogLevel::Warn && line.contains("/net/disk")));
        // Without a server on the way it is a failure like any other.
        world.kernel.fail_open("/a", OpenError::RefusedOnTheWay(errno));
        thaw(&kit).unwrap();
        assert!(freeze(&kit).unwrap_err().starts_with("failed to open /a: "));
    }
}

#[test]
fn what_is_mounted_as_no_file_or_directory_only_is_left_out_with_a_warning() {
    let world = World::new();
    world.kernel.fail_open("/a", OpenError::NoFile);
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(2)));
    assert_eq!(mount_of(&report(&kit), "/a")["reason"], "mounted only as a fifo, a socket or a device node");
    assert!(kit.log().iter().any(|(level, line)| *level == LogLevel::Warn && line.contains("/a (ext4)")));
    thaw(&kit).unwrap();
    world.kernel.mount("7:1", "/another", "ext4");
    assert_eq!(freeze(&kit), Ok(json!(3)));
}

#[test]
fn a_freeze_that_hangs_in_the_kernel_is_answered_in_time_and_names_the_file_system() {
    let world = World::new().impatient();
    world.kernel.hang("freeze", "7:1");
    let kit = world.start();
    let error = kit.call_raw("guest-fsfreeze-freeze", "{}", 3000).unwrap_err();
    assert!(error.desc().starts_with("not frozen within 2.7 s (/a had not answered); "), "{}", error.desc());
    eventually("the others are thawed", || world.kernel.frozen().is_empty());
    let error = kit.call_raw("guest-fsfreeze-thaw", "{}", 100).unwrap_err();
    assert_eq!(error.desc(), "the thaw is not complete yet");
    world.kernel.release("freeze", "7:1");
    eventually("all is thawed", || !kit.frozen());
}

#[test]
fn a_second_freeze_while_one_is_being_planned_is_refused() {
    let world = World::new();
    world.kernel.hang("open", "7:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it is planned", || world.kernel.has_called("open 7:1"));
    assert_eq!(freeze(&kit), Err("a freeze is under way already".to_owned()));
    world.kernel.release("open", "7:1");
    assert_eq!(freezing.join().unwrap(), Ok(json!(3)));
}

#[test]
fn a_gate_that_cannot_be_closed_prevents_the_freeze() {
    let world = World::new();
    let kit = world.start();
    kit.refuse_freeze("no space for the marker");
    assert_eq!(freeze(&kit), Err("no space for the marker".to_owned()));
    assert!(world.kernel.calls().is_empty() && !kit.frozen() && !world.plan_file().exists());
    assert_eq!(freeze(&kit), Ok(json!(3)));
}

#[test]
fn a_plan_that_cannot_be_written_prevents_the_freeze() {
    let world = World::new();
    let kit = world.start();
    std::fs::create_dir_all(world.dir.path().join("fsfreeze.plan.new")).unwrap();
    let error = freeze(&kit).unwrap_err();
    assert!(error.starts_with("failed to write the plan: "), "{error}");
    assert!(world.kernel.calls().is_empty() && !kit.frozen());
    assert_eq!(status(&kit), "thawed");
}

#[test]
fn a_second_freeze_is_refused() {
    let world = World::new();
    let kit = world.start();
    freeze(&kit).unwrap();
    assert_eq!(freeze(&kit), Err("file systems are frozen already".to_owned()));
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

#[test]
fn another_agent_is_kept_out_while_one_has_a_freeze() {
    let world = World::new();
    let (one, other) = (world.start(), world.start());
    freeze_list(&one, &["/a"]).unwrap();
    assert_eq!(freeze_list(&other, &["/b"]), Err("another agent has a freeze under way".to_owned()));
    let third = world.start_in(true).unwrap();
    assert_eq!((status(&third).as_str(), world.kernel.frozen()), ("thawed", vec!["7:1".to_owned()]));
    assert_eq!(thaw(&one), Ok(json!(1)));
    assert_eq!(freeze_list(&other, &["/b"]), Ok(json!(1)));
}

#[test]
fn what_cannot_be_thawed_is_an_error_that_is_tried_again() {
    let mut world = World::new();
    world.patience.retry = std::time::Duration::from_secs(3600);
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.fail_thaw("7:1", Some(Errno::IO));
    assert_eq!(thaw(&kit), Err("failed to thaw /a: Input/output error".to_owned()));
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("error", true));
    assert_eq!(world.kernel.frozen(), ["7:1"]);
    assert_eq!(report(&kit)["freeze"]["phase"], "stuck");
    assert_eq!(freeze(&kit), Err("file systems are frozen already".to_owned()));
    world.kernel.fail_thaw("7:1", None);
    assert_eq!(thaw(&kit), Ok(json!(3)));
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
}

#[test]
fn what_says_that_it_is_not_frozen_and_is_cannot_be_thawed() {
    let mut world = World::new();
    world.patience.retry = Duration::from_secs(3600);
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.fail_thaw("7:1", Some(Errno::INVAL));
    assert_eq!(thaw(&kit), Err("failed to thaw /a: Invalid argument".to_owned()));
    assert_eq!(status(&kit), "error");
    world.kernel.fail_thaw("7:1", None);
    assert_eq!(thaw(&kit), Ok(json!(3)));
    // What somebody else has thawed meanwhile is not frozen again.
    freeze(&kit).unwrap();
    world.kernel.thawed_by_others("7:1");
    assert_eq!(thaw(&kit), Ok(json!(2)));
    assert!(world.kernel.frozen().is_empty());
}

#[test]
fn what_could_not_be_thawed_thaws_by_itself_when_it_can() {
    let world = World::new();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.fail_thaw("7:1", Some(Errno::IO));
    thaw(&kit).unwrap_err();
    world.kernel.fail_thaw("7:1", None);
    super::fake::eventually("thawed", || status(&kit) == "thawed" && !kit.frozen());
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn version_0_15_answers_a_failed_thaw_with_a_number() {
    let mut world = World::new();
    world.facts["compat"] = json!("0.15");
    world.patience.retry = std::time::Duration::from_secs(3600);
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.fail_thaw("7:1", Some(Errno::IO));
    assert_eq!(thaw(&kit), Ok(json!(-5)));
    assert_eq!(status(&kit), "error");
}

#[test]
fn version_0_15_answers_every_failure_of_a_thaw_with_a_number() {
    let mut world = World::new().impatient();
    world.facts["compat"] = json!("0.15");
    let kit = world.start();
    let number = |deadline_ms: u32| {
        let reply = kit.call_raw("guest-fsfreeze-thaw", "{}", deadline_ms).unwrap();
        serde_json::from_slice::<i64>(&reply.body).unwrap()
    };
    // It hangs: the time is over.
    freeze(&kit).unwrap();
    world.kernel.hang("thaw", "7:1");
    assert_eq!(number(100), -1);
    // Another is under way.
    assert_eq!(number(100), -1);
    world.kernel.release("thaw", "7:1");
    eventually("all is thawed", || !kit.frozen());
    assert_eq!(number(0), 3);
    // The agent thawed by itself: not the state that the host believes in.
    freeze(&kit).unwrap();
    world.end_lease();
    eventually("all is thawed", || !kit.frozen());
    assert_eq!((number(0), number(0)), (-1, 0));
}

#[test]
fn a_sweep_tells_of_what_it_could_not_thaw() {
    let world = World::new();
    world.kernel.fail_thaw("7:1", Some(Errno::PERM));
    world.kernel.fail_open("/b", OpenError::Refused(Errno::ACCESS));
    let kit = world.start();
    assert_eq!(thaw(&kit), Err("failed to thaw /a: Operation not permitted".to_owned()));
}

#[test]
fn a_wrong_configuration_is_told_at_the_start() {
    for (config, expected) in [
        (json!({"leese": 1}), "configuration: unknown field `leese`"),
        (json!({"lease": -1}), "configuration: invalid value"),
        (json!({"on-error": "ignore"}), "configuration: unknown variant `ignore`"),
        (json!({"exclude": ["/a/***"]}), "configuration: exclude: \"/a/***\""),
        (json!({"hook": "bin/hook"}), "configuration: hook must be an absolute path"),
        (json!({"hook-timeout": 0}), "configuration: hook-timeout must be"),
    ] {
        let error = World::with(config.clone()).start_in(false).err().unwrap();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}

#[test]
fn the_report_of_an_agent_that_froze_nothing_is_short() {
    let world = World::new();
    let kit = world.start();
    assert_eq!(report(&kit), json!({"status": "thawed", "thawed-by-itself": false}));
}

#[test]
fn nothing_is_frozen_while_file_systems_are_trimmed_and_nothing_trimmed_while_a_freeze_is_under_way() {
    let world = World::new();
    let kit = world.start();
    let path = world.plan_file().with_file_name("fstrim.lock");
    let open = || std::fs::File::options().create(true).append(true).open(&path).unwrap();
    let trimming = open();
    rustix::fs::flock(&trimming, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = Err("file systems are being trimmed by guest-fstrim".to_owned());
    assert_eq!(freeze_list(&kit, &["/a"]), error);
    assert_eq!(status(&kit), "thawed");
    drop(trimming);
    assert_eq!(freeze_list(&kit, &["/a"]), Ok(json!(1)));
    let late = open();
    let taken = rustix::fs::flock(&late, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert_eq!(taken, Err(rustix::io::Errno::WOULDBLOCK));
    assert_eq!(thaw(&kit), Ok(json!(1)));
    eventually("the lock is free", || {
        rustix::fs::flock(&late, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    });
}

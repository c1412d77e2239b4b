//! What the commands answer, and in which order file systems are frozen and thawed.

use guestd_sdk::LogLevel;
use rustix::io::Errno;
use serde_json::json;

use super::fake::{World, call, eventually, freeze, freeze_list, mount_of, report, status, thaw};
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
fn a_list_names_first_mount_points_to_the_byte() {
    let world = World::new();
    world.kernel.mount("7:1", "/bind", "ext4");
    world.kernel.mount("7:5", "/\u{e9}\\040x", "ext4");
    let kit = world.start();
    for name in ["/a/", "/./a", "/bind", "/tmp", "a", "", "/A"] {
        assert_eq!(freeze_list(&kit, &[name]), Ok(json!(0)), "{name}");
        assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false), "{name}");
    }
    assert_eq!(freeze_list(&kit, &[]), Ok(json!(0)));
    assert!(world.kernel.calls().is_empty());
    assert_eq!(freeze_list(&kit, &["/a", "/nonexistent", "/a", "/\u{e9} x"]), Ok(json!(2)));
    assert_eq!(world.kernel.frozen(), ["7:1", "7:5"]);
    assert_eq!(thaw(&kit), Ok(json!(2)));
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
    assert_eq!(mount_of(&report, "/")["outcome"], "not-freezable");
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

#[test]
fn one_failure_thaws_everything_and_is_told_in_qemu_gas_words() {
    let world = World::new();
    world.kernel.fail_freeze("8:1", Errno::IO);
    let kit = world.start();
    assert_eq!(freeze(&kit), Err("failed to freeze /: Input/output error".to_owned()));
    assert_eq!(world.kernel.calls(), ["freeze 7:2", "freeze 7:1", "freeze 8:1", "thaw 7:1", "thaw 7:2"]);
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    let report = report(&kit);
    assert_eq!(mount_of(&report, "/")["errno"], json!(5));
    assert_eq!(mount_of(&report, "/")["reason"], "failed to freeze: Input/output error");
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
    assert_eq!(freeze(&kit), Err("failed to open /a: Permission denied".to_owned()));
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
fn zfs_is_written_back_and_never_counted() {
    let world = World::new();
    world.kernel.mount_with("0:50", "/tank", "zfs", "tank", "rw");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(world.kernel.synced(), ["0:50", "7:1", "7:2", "8:1"]);
    assert_eq!(mount_of(&report(&kit), "/tank")["outcome"], "synced");
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

//! The thaws that nobody asked for: the lease, the deadline, the end of the daemon; and what is passed by when it
//! hangs.

use std::sync::Arc;
use std::thread;

use guestd_sdk::LogLevel;
use rustix::io::Errno;
use serde_json::json;

use super::fake::{World, call, eventually, freeze, freeze_in_background, freeze_list, mount_of, report, status, thaw};

#[test]
fn a_lease_that_is_over_thaws_and_the_next_thaw_says_so_once() {
    let world = World::with(json!({"lease": 900}));
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let left = report(&kit)["freeze"]["lease-left-ms"].as_u64().unwrap();
    assert!((800_000..=900_000).contains(&left), "{left}");
    world.end_lease();
    eventually("thawed", || status(&kit) == "thawed" && !kit.frozen());
    assert!(world.kernel.frozen().is_empty());
    let after = report(&kit);
    assert_eq!((&after["thawed-by-itself"], &after["freeze"]["thaw"]["cause"]), (&json!(true), &json!("lease")));
    let error = thaw(&kit).unwrap_err();
    assert!(error.starts_with("the agent thawed the file systems by itself at 20"), "{error}");
    assert!(error.contains("because the lease was over"), "{error}");
    assert_eq!(thaw(&kit), Ok(json!(0)));
    assert!(kit.log().iter().any(|(level, line)| *level == LogLevel::Warn && line.contains("the lease was over")));
}

#[test]
fn a_lease_ends_by_the_clock() {
    let world = World::with(json!({"lease": 1}));
    let kit = world.start();
    // A machine that is slow enough needs all of the lease for the freeze itself.
    eventually("frozen in time", || freeze(&kit) == Ok(json!(3)));
    eventually("thawed", || status(&kit) == "thawed" && !kit.frozen());
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
}

#[test]
fn a_thaw_during_the_hooks_of_an_ended_lease_says_that_it_ended() {
    let mut world = World::new();
    world.config = json!({"hook": world.noting_script("hook", "test $1 = freeze || { sleep 1; exit 7; }")});
    let kit = world.start();
    freeze(&kit).unwrap();
    world.end_lease();
    eventually("the thaw half runs", || world.ran().len() == 2);
    assert_eq!(status(&kit), "thawed");
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn what_the_host_was_not_told_survives_a_restart_and_is_told_once() {
    let world = World::new();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.end_lease();
    eventually("thawed", || !kit.frozen());
    drop(kit);
    let kit = world.start();
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
    drop(kit);
    assert_eq!(thaw(&world.start()), Ok(json!(0)));
}

#[test]
fn a_new_freeze_makes_old_news_void() {
    let world = World::new();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.end_lease();
    eventually("thawed", || !kit.frozen());
    // The gate opens before the thaw that opened it is over, and until then a freeze is refused.
    eventually("frozen again", || freeze(&kit) == Ok(json!(3)));
    assert_eq!(thaw(&kit), Ok(json!(3)));
    assert_eq!(thaw(&world.start()), Ok(json!(0)));
}

#[test]
fn a_lease_of_0_has_no_end() {
    let world = World::with(json!({"lease": 0}));
    let kit = world.start();
    freeze(&kit).unwrap();
    let report = report(&kit);
    assert!(report["freeze"].get("lease").is_none() && report["freeze"].get("lease-end").is_none());
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

#[test]
fn a_lease_that_is_over_while_a_file_system_hangs_thaws_the_others() {
    let world = World::new().impatient();
    world.kernel.hang("freeze", "8:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it hangs", || world.kernel.has_called("freeze 8:1"));
    world.end_lease();
    eventually("the others are thawed", || world.kernel.frozen().is_empty());
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("frozen", true), "what hangs halts writers");
    world.kernel.release("freeze", "8:1");
    let error = freezing.join().unwrap();
    assert_eq!(
        error,
        Err("not frozen within the lease of 600 s (/ had not answered); the freeze was undone".to_owned())
    );
    eventually("all is thawed", || !kit.frozen() && world.kernel.frozen().is_empty());
    assert_eq!(thaw(&kit), Ok(json!(0)), "the freeze has told the host");
}

#[test]
fn a_freeze_past_its_deadline_undoes_itself() {
    let mut world = World::new().impatient();
    world.config = json!({"hook": world.noting_script("hook", "")});
    world.kernel.hang("freeze", "7:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 300_000);
    eventually("it hangs", || world.kernel.has_called("freeze 7:1"));
    world.pass_deadline();
    eventually("the first is thawed", || world.kernel.frozen().is_empty());
    eventually("the hook's thaw half runs though one hangs", || world.ran() == ["hook freeze", "hook thaw"]);
    assert!(kit.frozen());
    world.kernel.release("freeze", "7:1");
    let error = freezing.join().unwrap().unwrap_err();
    assert!(error.starts_with("not frozen within 298 s"), "{error}");
    eventually("all is thawed", || !kit.frozen() && world.kernel.frozen().is_empty());
    assert!(!world.kernel.has_called("freeze 8:1"));
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn a_hook_past_the_deadline_is_killed_and_thawed() {
    let mut world = World::new();
    let hook = world.noting_script("hook", "test $1 = thaw || exec sleep 1000");
    world.config = json!({"hook": hook, "hook-timeout": 900});
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 10_000_000);
    eventually("the hook runs", || world.ran() == ["hook freeze"]);
    world.pass_deadline();
    let error = freezing.join().unwrap().unwrap_err();
    assert!(error.starts_with("not frozen within 9998 s"), "{error}");
    eventually("all is over", || !kit.frozen());
    assert_eq!(world.ran(), ["hook freeze", "hook thaw"]);
    assert!(world.kernel.calls().is_empty());
}

#[test]
fn a_thaw_while_a_file_system_hangs_thaws_the_others_and_says_what_is_left() {
    let world = World::new().impatient();
    world.kernel.hang("freeze", "8:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it hangs", || world.kernel.has_called("freeze 8:1"));
    let error = kit.call_raw("guest-fsfreeze-thaw", "{}", 100).unwrap_err();
    assert_eq!(error.desc(), "the thaw is not complete yet");
    eventually("the others are thawed", || world.kernel.frozen().is_empty());
    world.kernel.release("freeze", "8:1");
    assert_eq!(freezing.join().unwrap(), Err("the freeze was undone by a thaw".to_owned()));
    assert_eq!(thaw(&kit), Ok(json!(3)), "the count that could not be told before");
    assert_eq!(thaw(&kit), Ok(json!(0)));
    assert_eq!(mount_of(&report(&kit), "/")["outcome"], "thawed");
}

#[test]
fn a_file_system_that_hangs_in_its_thaw_does_not_keep_the_others() {
    let world = World::new().impatient();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.hang("thaw", "8:1");
    let thawing = {
        let kit = Arc::clone(&kit);
        thread::spawn(move || thaw(&kit))
    };
    eventually("the others are thawed", || world.kernel.frozen() == ["8:1"]);
    let mut log = Vec::new();
    eventually("it is logged", || {
        log.extend(kit.log());
        log.iter().any(|(_, line)| line == "/ hangs while it is being thawed")
    });
    assert_eq!(status(&kit), "frozen");
    world.kernel.release("thaw", "8:1");
    assert_eq!(thawing.join().unwrap(), Ok(json!(3)));
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
}

#[test]
fn several_that_hang_in_their_thaws_keep_neither_the_others_nor_the_hooks() {
    let mut world = World::new().impatient();
    for minor in 3..8 {
        world.kernel.mount(&format!("7:{minor}"), &format!("/m{minor}"), "ext4");
    }
    world.config["hook"] = json!(world.noting_script("hook", ""));
    let hanging = ["8:1", "7:1", "7:3", "7:6", "7:7"];
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(8)));
    hanging.iter().for_each(|device| world.kernel.hang("thaw", device));
    world.end_lease();
    eventually("the others are thawed", || world.kernel.frozen().len() == hanging.len());
    eventually("the hook is thawed", || world.ran() == ["hook freeze", "hook thaw"]);
    assert!(kit.frozen());
    hanging.iter().for_each(|device| world.kernel.release("thaw", device));
    eventually("all is thawed", || !kit.frozen() && world.kernel.frozen().is_empty());
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
}

#[test]
fn a_lease_whose_thread_hangs_in_a_thaw_does_not_keep_the_others() {
    let world = World::new().impatient();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.hang("thaw", "8:1");
    world.end_lease();
    eventually("the others are thawed", || world.kernel.frozen() == ["8:1"]);
    world.kernel.release("thaw", "8:1");
    eventually("all is thawed", || !kit.frozen());
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
}

#[test]
fn a_stop_while_frozen_thaws_and_tells_the_next_agents_host() {
    let mut world = World::new();
    world.config = json!({"hook": world.noting_script("hook", "")});
    let kit = world.start();
    freeze(&kit).unwrap();
    kit.stop();
    assert!(world.kernel.frozen().is_empty() && !kit.frozen() && !world.plan_file().exists());
    assert_eq!(world.ran(), ["hook freeze", "hook thaw"]);
    assert_eq!(freeze(&kit), Err("the agent is about to end".to_owned()));
    drop(kit);
    let kit = world.start();
    assert!(thaw(&kit).unwrap_err().contains("because the agent was stopped"));
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn a_stop_in_the_middle_of_a_freeze_undoes_it() {
    let world = World::new().impatient();
    world.kernel.hang("freeze", "8:1");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it hangs", || world.kernel.has_called("freeze 8:1"));
    let stopping = {
        let kit = Arc::clone(&kit);
        thread::spawn(move || kit.stop())
    };
    eventually("the others are thawed", || world.kernel.frozen().is_empty());
    world.kernel.release("freeze", "8:1");
    stopping.join().unwrap();
    assert!(world.kernel.frozen().is_empty() && !kit.frozen());
    assert_eq!(freezing.join().unwrap(), Err("the agent is about to end; the freeze was undone".to_owned()));
}

#[test]
fn a_stop_waits_for_what_hangs_no_longer_than_the_lease_and_the_hooks() {
    let world = World::new().impatient();
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.hang("thaw", "8:1");
    world.end_lease();
    eventually("the others are thawed", || world.kernel.frozen() == ["8:1"]);
    kit.stop();
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("frozen", true));
    world.kernel.release("thaw", "8:1");
    eventually("all is thawed", || !kit.frozen() && world.kernel.frozen().is_empty());
}

#[test]
fn a_stop_without_a_freeze_does_nothing() {
    let world = World::new();
    let kit = world.start();
    kit.stop();
    assert!(world.kernel.calls().is_empty());
}

#[test]
fn what_a_lease_could_not_thaw_is_told_with_the_rest() {
    let mut world = World::new();
    world.patience.retry = std::time::Duration::from_secs(3600);
    let kit = world.start();
    freeze(&kit).unwrap();
    world.kernel.fail_thaw("7:1", Some(Errno::IO));
    world.end_lease();
    eventually("stuck", || status(&kit) == "error");
    assert!(kit.frozen());
    assert_eq!(thaw(&kit), Err("failed to thaw /a: Input/output error".to_owned()));
    world.kernel.fail_thaw("7:1", None);
    assert!(thaw(&kit).unwrap_err().contains("because the lease was over"));
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn status_and_report_answer_while_everything_hangs() {
    let world = World::new();
    world.kernel.hang("freeze", "7:2");
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("it hangs", || world.kernel.has_called("freeze 7:2"));
    assert_eq!(status(&kit), "frozen");
    assert_eq!(mount_of(&report(&kit), "/b")["outcome"], "freezing");
    assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Err("a freeze is under way already".to_owned()));
    world.kernel.release("freeze", "7:2");
    assert_eq!(freezing.join().unwrap(), Ok(json!(3)));
    assert_eq!(freeze_list(&kit, &[]), Err("file systems are frozen already".to_owned()));
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

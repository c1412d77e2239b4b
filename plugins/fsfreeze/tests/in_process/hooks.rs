//! Hooks: qemu-ga's one in its words, and a directory of scripts; every started freeze half gets its thaw half.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use guestd_sdk::LogLevel;
use rustix::io::Errno;
use serde_json::json;

use super::fake::{World, eventually, freeze, freeze_in_background, freeze_list, report, status, thaw};

/// A guest whose hooks directory has three scripts that note that they ran; `failing`: more for the second one.
fn with_scripts(failing: &str) -> World {
    let mut world = World::new();
    world.noting_script("hooks/10-one", "");
    world.noting_script("hooks/20-two", failing);
    world.noting_script("hooks/30-three", "");
    let hook = world.noting_script("hook", "");
    world.config = json!({"hook": hook, "hooks-dir": world.dir.path().join("hooks")});
    world
}

#[test]
fn the_hook_comes_first_then_the_scripts_and_all_in_reverse_at_the_thaw() {
    let world = with_scripts("");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let frozen = ["hook freeze", "10-one freeze", "20-two freeze", "30-three freeze"];
    assert_eq!(world.ran(), frozen);
    assert_eq!(thaw(&kit), Ok(json!(3)));
    let thawed = ["30-three thaw", "20-two thaw", "10-one thaw", "hook thaw"];
    assert_eq!(world.ran()[4..], thawed);
    assert_eq!(report(&kit)["freeze"]["hooks"][1]["thaw"]["outcome"], "done");
}

#[test]
fn qemu_gas_hook_fails_in_qemu_gas_words() {
    for (body, expected) in [
        ("exit 3", "child process has failed to execute fsfreeze hook: exit status 3"),
        ("echo out; echo err >&2; exit 1", "child process has failed to execute fsfreeze hook: out\nerr\n"),
        // Recorded from qemu-ga 10.0.2 and 11.1.3.
        ("kill -9 $$", "child process has terminated abnormally"),
        ("echo out; echo err >&2; kill $$", "child process has terminated abnormally: out\nerr\n"),
    ] {
        let mut world = World::new();
        world.config = json!({"hook": world.script("hook", body)});
        let kit = world.start();
        assert_eq!(freeze(&kit), Err(expected.to_owned()));
        assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
        assert!(world.kernel.calls().is_empty());
    }
    let mut world = World::new();
    let path = world.dir.path().join("no-hook");
    world.config = json!({"hook": path});
    let missing = format!(
        "child process has failed to execute fsfreeze hook: failed to exec '{}': No such file or directory\n",
        path.display()
    );
    assert_eq!(freeze(&world.start()), Err(missing));
    fs::write(&path, "\n").unwrap();
    let refused = format!(
        "child process has failed to execute fsfreeze hook: failed to exec '{}': Permission denied\n",
        path.display()
    );
    assert_eq!(freeze(&world.start()), Err(refused));
}

#[test]
fn a_failing_thaw_half_is_an_error_though_all_is_thawed() {
    let mut world = World::new();
    world.config = json!({"hook": world.script("hook", "test \"$1\" = freeze")});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(thaw(&kit), Err("child process has failed to execute fsfreeze hook: exit status 1".to_owned()));
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", false));
    assert!(world.kernel.frozen().is_empty());
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn when_a_script_fails_all_that_were_started_are_thawed_and_no_more() {
    let world = with_scripts("test $1 = thaw || { echo locked; exit 4; }");
    let kit = world.start();
    let script = world.dir.path().join("hooks/20-two");
    assert_eq!(freeze(&kit), Err(format!("fsfreeze hook {}: locked\n", script.display())));
    let expected = ["hook freeze", "10-one freeze", "20-two freeze", "20-two thaw", "10-one thaw", "hook thaw"];
    assert_eq!(world.ran(), expected);
    assert!(world.kernel.calls().is_empty() && !kit.frozen());
    let log = kit.log();
    assert!(log.contains(&(LogLevel::Warn, format!("{}: locked", script.display()))), "{log:?}");
    assert!(log.contains(&(LogLevel::Warn, format!("fsfreeze hook {} failed: exit status 4", script.display()))));
}

#[test]
fn on_hook_failure_continue_freezes_all_the_same() {
    let mut world = with_scripts("exit 4");
    world.config["on-hook-failure"] = json!("continue");
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    assert_eq!(thaw(&kit), Ok(json!(3)));
    assert_eq!(world.ran().len(), 8);
    let report = report(&kit);
    assert_eq!(report["freeze"]["hooks"][2]["freeze"]["outcome"], "failed");
    assert_eq!(report["freeze"]["hooks"][2]["thaw"]["outcome"], "failed");
}

#[test]
fn a_file_system_that_fails_brings_the_thaw_halves() {
    let world = with_scripts("");
    world.kernel.fail_freeze("8:1", Errno::IO);
    let kit = world.start();
    freeze(&kit).unwrap_err();
    assert_eq!(world.ran().len(), 8);
    assert_eq!(world.ran()[7], "hook thaw");
}

#[test]
fn everything_is_written_back_before_a_database_is_halted() {
    let world = with_scripts("test $1 = thaw");
    freeze(&world.start()).unwrap_err();
    assert_eq!(world.kernel.synced(), ["7:1", "7:2", "8:1"]);
    assert!(world.kernel.calls().is_empty());
}

#[test]
fn what_is_little_is_left_to_the_freeze() {
    for (dirty, synced) in [(1 << 20, &[] as &[&str]), (1 << 30, &["7:1", "7:2", "8:1"])] {
        let world = World::new();
        world.kernel.set_dirty(dirty);
        assert_eq!(freeze(&world.start()), Ok(json!(3)));
        assert_eq!(world.kernel.synced(), synced);
    }
}

#[test]
fn nothing_to_freeze_brings_the_thaw_halves() {
    let world = with_scripts("");
    let kit = world.start();
    assert_eq!(freeze_list(&kit, &[]), Ok(json!(0)));
    assert_eq!(world.ran().len(), 8);
}

#[test]
fn a_script_that_hangs_is_killed_with_its_children() {
    let mut world = World::new();
    let pids = world.dir.path().join("pids");
    let body = format!("test $1 = thaw && exit; sleep 1000 & echo $! > '{}'; wait", pids.display());
    world.script("hooks/hanging", &body);
    world.config = json!({"hooks-dir": world.dir.path().join("hooks"), "hook-timeout": 1});
    let kit = world.start();
    let script = world.dir.path().join("hooks/hanging");
    let killed = format!("fsfreeze hook {}: not done within 1 s, and killed", script.display());
    eventually("the script comes as far as its child before it is killed", || {
        assert_eq!(freeze(&kit), Err(killed.clone()));
        pids.exists()
    });
    let child = fs::read_to_string(pids).unwrap();
    let stat = std::path::PathBuf::from(format!("/proc/{}/stat", child.trim()));
    let gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    eventually("the script's child is dead", gone);
    assert!(!kit.frozen());
}

#[test]
fn a_process_left_behind_neither_delays_nor_dies() {
    let mut world = World::new();
    let pid = world.dir.path().join("pid");
    let body = format!("test $1 = freeze || exit 0; sleep 1000 & echo $! > '{}'", pid.display());
    world.config = json!({"hook": world.script("hook", &body)});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let pid: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::test_kill_process(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(thaw(&kit), Ok(json!(3)));
}

#[test]
fn lines_of_output_that_are_not_logged_are_counted() {
    let mut world = World::new();
    world.config = json!({"hook": world.script("hook", "test $1 = thaw || seq 70")});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let log = kit.log();
    assert!(log.iter().any(|(_, line)| line.ends_with("/hook: 50")), "{log:?}");
    assert!(log.iter().any(|(_, line)| line.ends_with("/hook: 20 more lines are left out")), "{log:?}");
}

#[test]
fn a_thaw_that_waits_for_its_hooks_no_longer_tells_its_count_at_the_next() {
    let mut world = World::new();
    let go = world.dir.path().join("go");
    let body = format!("test $1 = freeze || until test -e '{}'; do sleep 0.01; done", go.display());
    world.config = json!({"hook": world.noting_script("hook", &body)});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let error = kit.call_raw("guest-fsfreeze-thaw", "{}", 1000).unwrap_err();
    assert_eq!(error.desc(), "the thaw is not complete yet");
    // The file systems do not wait for the hook.
    assert_eq!((world.kernel.frozen(), status(&kit).as_str()), (vec![], "thawed"));
    fs::write(go, "").unwrap();
    eventually("the hook has ended", || !kit.frozen());
    assert_eq!(thaw(&kit), Ok(json!(3)));
    assert_eq!(thaw(&kit), Ok(json!(0)));
}

#[test]
fn the_report_says_of_a_half_that_will_not_run_that_it_is_not_run() {
    let world = with_scripts("test $1 = thaw");
    let kit = world.start();
    freeze(&kit).unwrap_err();
    let hooks = report(&kit)["freeze"]["hooks"].clone();
    let outcomes = |half: &str| -> Vec<_> { (0..4).map(|hook| hooks[hook][half]["outcome"].clone()).collect() };
    assert_eq!(outcomes("freeze"), ["done", "done", "failed", "not-run"]);
    assert_eq!(outcomes("thaw"), ["done", "done", "done", "not-run"]);
}

#[test]
fn a_flood_of_output_is_cut_and_harms_nobody() {
    let mut world = World::new();
    world.config = json!({"hook": world.script("hook", "head -c 3000000 /dev/zero | tr '\\0' x; exit 1")});
    let kit = world.start();
    let error = freeze(&kit).unwrap_err();
    assert_eq!(error.len(), "child process has failed to execute fsfreeze hook: ".len() + (64 << 10));
}

#[test]
fn only_executable_scripts_that_no_other_user_can_write_are_run() {
    let mut world = World::new();
    let left_over =
        [".hidden", "old~", "old.rpmsave", "a.dpkg-old", "a.dpkg-new", "a.dpkg-tmp", "a.ucf-dist", "b.sh", "\u{e9}"];
    for name in left_over {
        world.noting_script(&format!("hooks/{name}"), "");
    }
    world.noting_script("hooks/good", "");
    fs::write(world.dir.path().join("hooks/README"), "text").unwrap();
    fs::create_dir(world.dir.path().join("hooks/directory")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", world.dir.path().join("hooks/dangling")).unwrap();
    world.config = json!({"hooks-dir": world.dir.path().join("hooks")});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    thaw(&kit).unwrap();
    assert_eq!(world.ran(), ["good freeze", "good thaw"]);
    let log = kit.log();
    for (name, why) in
        left_over.map(|name| (name, "its name has something else than letters, digits, _ and -")).iter().chain(&[
            ("README", "it is not executable"),
            ("directory", "it is not a file"),
            ("dangling", "it leads nowhere"),
        ])
    {
        let line = format!("{} is not run: {why}", world.dir.path().join("hooks").join(name).display());
        assert!(log.contains(&(LogLevel::Warn, line.clone())), "{line}: {log:?}");
    }

    let bad = world.noting_script("hooks/bad", "");
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o775)).unwrap();
    let error = freeze(&kit).unwrap_err();
    assert!(error.ends_with("/bad' can be written by others (mode 0775)"), "{error}");
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&bad, Some(12345), None).unwrap();
        assert!(freeze(&kit).unwrap_err().ends_with("/bad' is owned by user 12345, who could change it"));
    }
    fs::remove_file(&bad).unwrap();
    fs::set_permissions(world.dir.path().join("hooks"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(freeze(&kit).unwrap_err().ends_with("/hooks' can be written by others (mode 0777)"));
    assert!(world.kernel.frozen().is_empty() && !kit.frozen());
}

#[test]
fn qemu_gas_hook_is_trusted_by_the_same_rule_and_has_the_umask_that_the_daemon_was_started_with() {
    let mut world = World::new();
    let hook = world.script("hook", "umask >${0%/*}/umask");
    world.config = json!({"hook": hook});
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    thaw(&kit).unwrap();
    assert_eq!(fs::read_to_string(world.dir.path().join("umask")).unwrap(), "0022\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).unwrap();
    let error = freeze(&kit).unwrap_err();
    assert_eq!(error, format!("fsfreeze hook {0}: '{0}' can be written by others (mode 0777)", hook.display()));
    assert!(world.kernel.frozen().is_empty() && !kit.frozen());
}

#[test]
fn a_directory_that_is_missing_has_no_scripts() {
    let world = World::with(json!({"hooks-dir": "/nonexistent/hooks"}));
    let kit = world.start();
    assert_eq!(freeze(&kit), Ok(json!(3)));
    let line = "the directory of hooks /nonexistent/hooks is missing: none is run".to_owned();
    assert!(kit.log().contains(&(LogLevel::Warn, line)));
}

#[test]
fn a_hook_that_is_running_when_the_freeze_is_undone_is_killed_and_thawed() {
    let mut world = World::new();
    world.config =
        json!({"hook": world.noting_script("hook", "test $1 = thaw || exec sleep 1000"), "hook-timeout": 900});
    let kit = world.start();
    let freezing = freeze_in_background(&kit, 0);
    eventually("the hook runs", || world.ran() == ["hook freeze"]);
    assert_eq!((status(&kit).as_str(), kit.frozen()), ("thawed", true));
    assert_eq!(thaw(&kit), Ok(json!(0)));
    assert_eq!(freezing.join().unwrap(), Err("the freeze was undone by a thaw".to_owned()));
    assert_eq!(world.ran(), ["hook freeze", "hook thaw"]);
    assert!(!kit.frozen());
}

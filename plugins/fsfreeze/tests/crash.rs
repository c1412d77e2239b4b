//! The agent is killed at every step of a freeze and of a thaw, and the next one undoes what is left. In a private
//! root (see `private`); root only, skipped elsewhere.

#![cfg(feature = "stop-points")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod agent;
mod private;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use agent::{call, start};
use private::{is_frozen, privately, sh_in};
use serde_json::json;

/// Set in the agent that is to be killed.
const ROLE: &str = "GUESTD_FSFREEZE_ROLE";

/// Each place with what is left there: how many hooks have had their freeze halves started, and their thaw halves run.
const POINTS: [(&str, usize, usize); 33] = [
    ("freeze.planned", 0, 0),
    ("freeze.noted", 0, 0),
    ("freeze.marked", 0, 0),
    ("freeze.hook.before.0", 1, 0),
    ("freeze.hook.after.0", 1, 0),
    ("freeze.hook.before.1", 2, 0),
    ("freeze.hook.after.1", 2, 0),
    ("freeze.freezing", 2, 0),
    ("freeze.freezing.noted", 2, 0),
    ("freeze.before.0", 2, 0),
    ("freeze.after.0", 2, 0),
    ("freeze.before.1", 2, 0),
    ("freeze.after.1", 2, 0),
    ("freeze.before.2", 2, 0),
    ("freeze.after.2", 2, 0),
    ("freeze.complete", 2, 0),
    ("freeze.complete.noted", 2, 0),
    ("thaw.begun", 2, 0),
    ("thaw.before.2", 2, 0),
    ("thaw.after.2", 2, 0),
    ("thaw.before.1", 2, 0),
    ("thaw.after.1", 2, 0),
    ("thaw.before.0", 2, 0),
    ("thaw.after.0", 2, 0),
    ("thaw.hook.before.1", 2, 0),
    ("thaw.hook.after.1", 2, 1),
    ("thaw.hook.noted.1", 2, 1),
    ("thaw.hook.before.0", 2, 1),
    ("thaw.hook.after.0", 2, 2),
    ("thaw.hook.noted.0", 2, 2),
    ("thaw.noticed", 2, 2),
    ("thaw.opened", 2, 2),
    ("thaw.forgotten", 2, 2),
];

#[test]
fn an_agent_killed_anywhere_leaves_nothing_frozen_and_no_hook_without_its_thaw_half() {
    const NAME: &str = "an_agent_killed_anywhere_leaves_nothing_frozen_and_no_hook_without_its_thaw_half";
    if let Some(base) = std::env::var_os(ROLE) {
        let kit = start(Path::new(&base), config(Path::new(&base)));
        call(&kit, "guest-fsfreeze-freeze").unwrap();
        call(&kit, "guest-fsfreeze-thaw").unwrap();
        return;
    }
    privately(NAME, |base| {
        sh_in(
            base,
            "for name in a b c; do truncate -s 16M $name.img; mkfs.ext4 -q $name.img; mkdir $name; mount -o loop $name.img $name; done
             mkdir hooks; for name in 1 2; do printf '#!/bin/sh\\necho $1 ${0##*/} >> %s/ran\\n' \"$PWD\" > hooks/$name; chmod 755 hooks/$name; done
             chmod 755 hooks",
        );
        // Mounts the run directory, once for all agents.
        drop(start(base, config(base)));
        for (point, started, thawed) in POINTS {
            killed_at(base, NAME, point);
            let ran = ran(base);
            let halves = |half: &str| ran.iter().filter(|line| line.starts_with(half)).count();
            let expected = if point.starts_with("freeze.hook.before") { started - 1 } else { started };
            assert_eq!((halves("freeze"), halves("thaw")), (expected, thawed), "{point}: {ran:?}");
            undone_by_the_next(base, point, started, &ran);
        }
    });
}

fn config(base: &Path) -> serde_json::Value {
    json!({"hooks-dir": base.join("hooks")})
}

fn killed_at(base: &Path, name: &str, point: &str) {
    let _ = fs::remove_file(base.join("ran"));
    let mut agent = Command::new("/proc/self/exe");
    agent.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    let output = agent.env(ROLE, base).env("GUESTD_FSFREEZE_STOP_AT", point).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(9), "{point} was not reached: {said}");
}

fn undone_by_the_next(base: &Path, point: &str, started: usize, before: &[String]) {
    let plan = base.join("run/fsfreeze.plan");
    let was_left = plan.exists();
    let kit = start(base, config(base));
    // Waits for the end of what the start has begun.
    let thaw = call(&kit, "guest-fsfreeze-thaw");
    if was_left {
        assert!(thaw.as_ref().is_err_and(|text| text.contains("because the agent had died")), "{point}: {thaw:?}");
    } else {
        assert_eq!(thaw, Ok(json!(0)), "{point}");
    }
    for name in ["a", "b", "c"] {
        assert!(!is_frozen(&base.join(name)), "{point}: {name} is frozen still");
    }
    let after = ran(base);
    for hook in (1..=started).rev() {
        assert!(after.contains(&format!("thaw {hook}")), "{point}: {after:?}");
    }
    // Only a thaw half that ended in the moment of the kill may run twice.
    let twice = after.iter().filter(|line| line.starts_with("thaw")).count() - started;
    assert!(twice <= usize::from(point.starts_with("thaw.hook.after")), "{point}: {before:?} {after:?}");
    assert!(!plan.exists(), "{point}");
    assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(3)), "{point}");
    assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(3)), "{point}");
}

fn ran(base: &Path) -> Vec<String> {
    let text = fs::read_to_string(base.join("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

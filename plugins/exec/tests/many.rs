//! Many programs, and what is left of them. One test only: it counts this process' descriptors and children.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::thread;

use common::{children, descriptors, kit, result, start, text, until};
use serde_json::json;

#[test]
fn ten_thousand_programs_200_at_once_leave_nothing_behind() {
    const AT_ONCE: usize = 200;
    const ROUNDS: usize = 12;
    let kit = kit();
    // The watcher's own descriptor is there to stay.
    common::sh(&kit, "true");
    let before = descriptors();

    // 200 that run at the same time, each with all its pipes in use: they wait for one another.
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let wait = format!("until test -e {}; do sleep 0.1; done; cat; echo e >&2", go.display());
    let arguments = json!({"path": "sh", "arg": ["-c", wait], "input-data": "aW5wdXQ=", "capture-output": true});
    let pids: Vec<_> = (0..AT_ONCE).map(|_| start(&kit, arguments.clone())).collect();
    assert!(pids.iter().all(|&pid| common::status(&kit, pid) == json!({"exited": false})));
    assert!(children().len() >= AT_ONCE);
    std::fs::write(&go, "").unwrap();
    for pid in pids {
        let result = result(&kit, pid);
        assert_eq!((text(&result, "out-data").as_str(), text(&result, "err-data").as_str()), ("input", "e\n"));
    }

    // The others, from several threads, as the daemon calls.
    thread::scope(|scope| {
        for worker in 0..4 {
            let kit = &kit;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let batch = |number: usize| format!("{worker}-{round}-{number}");
                    let echo = |number| json!({"path": "/bin/echo", "arg": [batch(number)], "capture-output": true});
                    // Under 256 for all workers together.
                    for part in (0..AT_ONCE).collect::<Vec<_>>().chunks(50) {
                        let pids: Vec<_> = part.iter().map(|&number| (number, start(kit, echo(number)))).collect();
                        for (number, pid) in pids {
                            assert_eq!(text(&result(kit, pid), "out-data"), batch(number) + "\n");
                        }
                    }
                }
            });
        }
    });
    let done = AT_ONCE * (1 + 4 * ROUNDS);
    for _ in done..10_000 {
        assert_eq!(common::run(&kit, json!({"path": "/bin/true"})), json!({"exitcode": 0, "exited": true}));
    }
    for _ in 0..10 {
        kit.call("guest-exec", json!({"path": "/nonexistent", "input-data": "QQ==", "capture-output": true}))
            .unwrap_err();
    }
    assert_eq!(children(), [""; 0]);
    until("all descriptors are closed", || descriptors() == before);
}

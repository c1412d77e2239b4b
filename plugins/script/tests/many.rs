//! Many programs at once: a test program of its own, since it looks at its children and descriptors and changes its umask.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;

use common::{Programs, call, call_within};
use serde_json::json;

#[test]
fn many_at_once_leave_no_zombie_and_no_descriptor() {
    let programs = Programs::new();
    let kit = programs.command("umask", json!({"output": "text"}));
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    assert_eq!(call(&kit, json!({})), Ok(json!({"text": "0022"})));
    let more = json!({"arguments": {"x": {"type": "integer"}}, "timeout": 500});
    let lines = "read -r x; case $x in *7}) kill -9 $$;; *8}) exec sleep 600;; esac; echo \"$x\"";
    let kit = programs.command(lines, more);
    assert_eq!(call(&kit, json!({"x": 0})), Ok(json!({"x": 0})));
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let kit = &kit;
            scope.spawn(move || {
                for number in (thread * 25)..(thread * 25 + 25) {
                    let given = json!({"x": number});
                    let deadline = if number % 10 == 8 { 400 } else { 0 };
                    let result = call_within(kit, given.clone(), deadline);
                    match number % 10 {
                        8 => assert!(result.unwrap_err().ends_with("and was killed")),
                        7 => assert!(result.unwrap_err().ends_with("was ended by signal 9")),
                        _ => assert_eq!(result, Ok(given)),
                    }
                }
            });
        }
    });
    assert_eq!(descriptors(), before);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        assert_eq!(children, "", "a child was not waited for");
    }
}

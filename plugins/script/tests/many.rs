//! Many programs at once: a test program of its own, since it counts the children and descriptors of its process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;

use common::{Programs, call};
use serde_json::json;

#[test]
fn many_at_once_leave_no_zombie_and_no_descriptor() {
    let programs = Programs::new();
    let more = json!({"arguments": {"x": {"type": "integer"}}, "timeout": 500});
    let kit = programs.command("read -r x; case $x in *7}) kill -9 $$;; esac; echo \"$x\"", more);
    assert_eq!(call(&kit, json!({"x": 0})), Ok(json!({"x": 0})));
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let kit = &kit;
            scope.spawn(move || {
                for number in (thread * 25)..(thread * 25 + 25) {
                    let given = json!({"x": number});
                    let result = call(kit, given.clone());
                    match number % 10 {
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

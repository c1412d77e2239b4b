//! `guest-get-cpustats` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Guest, error};
use serde_json::json;

#[test]
fn times_are_in_milliseconds() {
    let ticks = rustix::param::clock_ticks_per_second();
    let guest = Guest::new();
    guest.file("proc/stat", &format!("cpu  9 9 9 9\ncpu0 {ticks} 0 0 0\ncpu12 0 0 0 {ticks} 1 2 3 4 5 6\nintr 1\n"));
    let stats = guest.kit().call("guest-get-cpustats", json!({})).unwrap();
    assert_eq!(stats[0], json!({"type": "linux", "cpu": 0, "user": 1000, "nice": 0, "system": 0, "idle": 0}));
    assert_eq!((&stats[1]["cpu"], &stats[1]["idle"]), (&json!(12), &json!(1000)));
    assert_eq!(stats[1].as_object().unwrap().len(), 12);
}

#[test]
fn hostile_content_is_survived() {
    let guest = Guest::new();
    let text = error(guest.kit().call("guest-get-cpustats", json!({})));
    assert_eq!(text, "open(\"/proc/stat\"): No such file or directory");
    guest.file("proc/stat", "");
    assert_eq!(guest.kit().call("guest-get-cpustats", json!({})).unwrap(), json!([]));
    std::fs::write(guest.path("proc/stat"), b"cpu0 1 2 3 \xff\ncpu\xff 1 2 3 4\ncpu1 1 2 3 4 \xff\n").unwrap();
    let stats = guest.kit().call("guest-get-cpustats", json!({})).unwrap();
    assert_eq!((stats.as_array().unwrap().len(), &stats[0]["cpu"]), (1, &json!(1)));
}

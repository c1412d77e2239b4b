//! `guest-get-diskstats` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Guest, error};
use serde_json::{Value, json};

#[test]
fn counters_are_listed_in_the_kernels_order() {
    let guest = Guest::new();
    guest.file(
        "proc/diskstats",
        "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n 7 0 loop0 1 2 3 4\n\nx\n",
    );
    let expected = [
        json!({"name": "sda", "major": 8, "minor": 0, "stats": {
            "read-ios": 1, "read-merges": 2, "read-sectors": 3, "read-ticks": 4,
            "write-ios": 5, "write-merges": 6, "write-sectors": 7, "write-ticks": 8,
            "ios-pgr": 9, "total-ticks": 10, "weight-ticks": 11,
            "discard-ios": 12, "discard-merges": 13, "discard-sectors": 14, "discard-ticks": 15,
            "flush-ios": 16, "flush-ticks": 17,
        }}),
        json!({"name": "loop0", "major": 7, "minor": 0, "stats": {
            "read-ios": 1, "read-sectors": 2, "write-ios": 3, "write-sectors": 4,
        }}),
    ];
    assert_eq!(guest.list("guest-get-diskstats"), expected);
}

#[test]
fn a_guest_without_counters_says_so() {
    let guest = Guest::new();
    let text = error(guest.kit().call("guest-get-diskstats", json!({})));
    assert_eq!(text, "could not open file: \"/proc/diskstats\": No such file or directory");
    guest.file("proc/diskstats", b"\xff\xff 0 sda 1 2 3 4\n");
    assert_eq!(guest.list("guest-get-diskstats"), [] as [Value; 0]);
}

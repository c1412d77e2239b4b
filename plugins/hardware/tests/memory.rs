//! The commands for memory blocks on a guest made of files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{BLOCKS, Guest, error};
use guestd_sdk::testkit::TestKit;
use serde_json::{Value, json};

fn set(kit: &TestKit, wanted: &[(u64, bool)]) -> Value {
    let blocks: Vec<Value> =
        wanted.iter().map(|(index, online)| json!({"phys-index": index, "online": online})).collect();
    kit.call("guest-set-memory-blocks", json!({"mem-blks": blocks})).unwrap()
}

#[test]
fn blocks_are_listed_in_the_order_of_their_numbers() {
    let guest = Guest::usual();
    guest.block(10, "online\n", "1\n").block(9, "going-offline\n", "garbage");
    for name in ["memoryx", "memory01", "memory-1", "memory", "power"] {
        guest.dir(&format!("{BLOCKS}/{name}"));
    }
    let expected = json!([
        {"phys-index": 0, "online": true, "can-offline": false},
        {"phys-index": 1, "online": false, "can-offline": true},
        {"phys-index": 9, "online": false, "can-offline": true},
        {"phys-index": 10, "online": true, "can-offline": true},
    ]);
    assert_eq!(guest.kit().call("guest-get-memory-blocks", json!({})).unwrap(), expected);
}

#[test]
fn a_kernel_that_cannot_switch_memory_lists_what_it_shows() {
    let guest = Guest::new();
    assert_eq!(guest.kit().call("guest-get-memory-blocks", json!({})).unwrap(), json!([]));
    guest.dir(BLOCKS);
    let text = error(guest.kit().call("guest-get-memory-blocks", json!({})));
    assert_eq!(text, "guest reported zero memory blocks!");
    guest.dir(&format!("{BLOCKS}/memory7"));
    let expected = json!([{"phys-index": 7, "online": true, "can-offline": false}]);
    assert_eq!(guest.kit().call("guest-get-memory-blocks", json!({})).unwrap(), expected);
    guest.dir(&format!("{BLOCKS}/memory8/state"));
    let text = error(guest.kit().call("guest-get-memory-blocks", json!({})));
    assert_eq!(text, "pread sysfs file \"state\": Is a directory");
}

#[test]
fn blocks_are_switched_and_each_is_answered() {
    let guest = Guest::usual();
    guest.dir(&format!("{BLOCKS}/memory2")).link(&format!("{BLOCKS}/memory3/state"), "/dev/full");
    guest.file(&format!("{BLOCKS}/memory4"), "");
    let kit = guest.kit();
    let wanted =
        [(0, true), (1, true), (99, true), (2, true), (2, false), (3, true), (4, true), (u64::MAX, false), (0, false)];
    let expected = json!([
        {"phys-index": 0, "response": "success"},
        {"phys-index": 1, "response": "success"},
        {"phys-index": 99, "response": "not-found", "error-code": 2},
        {"phys-index": 2, "response": "success"},
        {"phys-index": 2, "response": "operation-not-supported", "error-code": 2},
        {"phys-index": 3, "response": "operation-failed", "error-code": 28},
        {"phys-index": 4, "response": "operation-failed", "error-code": 20},
        {"phys-index": u64::MAX, "response": "not-found", "error-code": 2},
        {"phys-index": 0, "response": "success"},
    ]);
    assert_eq!(set(&kit, &wanted), expected);
    // A write at the beginning, as sysfs wants it; a file keeps what stands behind.
    assert_eq!([guest.block_state(0), guest.block_state(1)], ["offline", "onlinee\n"]);
    let log: Vec<String> = kit.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(log.first().unwrap(), "memory block 1 is online");
    let failed = "memory block 3 cannot be online: pwrite sysfs file \"state\": No space left on device";
    assert!(log.iter().any(|line| line == failed), "{log:?}");
}

#[test]
fn without_memory_hotplug_nothing_can_be_switched() {
    let guest = Guest::new();
    assert_eq!(set(&guest.kit(), &[]), json!([]));
    let expected = json!([{"phys-index": 6, "response": "operation-not-supported", "error-code": 2}]);
    assert_eq!(set(&guest.kit(), &[(6, false)]), expected);
}

#[test]
fn the_size_of_a_block_is_hexadecimal() {
    let guest = Guest::usual();
    let kit = guest.kit();
    let info = |kit: &TestKit| kit.call("guest-get-memory-block-info", json!({}));
    assert_eq!(info(&kit).unwrap(), json!({"size": 134_217_728}));
    for (text, sentence) in [
        ("", "pread sysfs file \"block_size_bytes\": unexpected EOF"),
        ("\n", "sysfs file \"block_size_bytes\" holds no size"),
        ("0", "sysfs file \"block_size_bytes\" holds no size"),
        ("0x10", "sysfs file \"block_size_bytes\" holds no size"),
        ("ffffffffffffffffff", "sysfs file \"block_size_bytes\" holds no size"),
        ("8000000\n8000000", "sysfs file \"block_size_bytes\" holds no size"),
    ] {
        guest.file(&format!("{BLOCKS}/block_size_bytes"), text);
        assert_eq!(error(info(&kit)), sentence, "{text:?}");
    }
    let text = error(info(&Guest::new().dir(BLOCKS).kit()));
    assert_eq!(text, "open sysfs file \"block_size_bytes\": No such file or directory");
    let text = error(info(&Guest::new().kit()));
    assert_eq!(text, "open(\"/sys/devices/system/memory/\"): No such file or directory");
}

#[test]
fn arguments_are_checked_in_qemus_words() {
    let kit = Guest::usual().kit();
    for (arguments, text) in [
        (json!({}), "Parameter 'mem-blks' is missing"),
        (json!({"mem-blks": 1}), "Invalid parameter type for 'mem-blks', expected: array"),
        (json!({"mem-blks": [{"online": true}]}), "Parameter 'mem-blks[0].phys-index' is missing"),
        (
            json!({"mem-blks": [{"phys-index": "0", "online": true}]}),
            "Parameter 'mem-blks[0].phys-index' expects uint64",
        ),
        (
            json!({"mem-blks": [{"phys-index": 1, "online": true, "bogus": 1}]}),
            "Parameter 'mem-blks[0].bogus' is unexpected",
        ),
    ] {
        assert_eq!(error(kit.call("guest-set-memory-blocks", arguments)), text);
    }
}

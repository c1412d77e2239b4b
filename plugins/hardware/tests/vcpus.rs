//! `guest-get-vcpus` and `guest-set-vcpus` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{CPUS, Guest, error};
use guestd_sdk::testkit::TestKit;
use serde_json::{Value, json};

fn set(kit: &TestKit, wanted: &[(i64, bool)]) -> Result<Value, guestd_sdk::CommandError> {
    let vcpus: Vec<Value> =
        wanted.iter().map(|(id, online)| json!({"logical-id": id, "online": online, "can-offline": true})).collect();
    kit.call("guest-set-vcpus", json!({"vcpus": vcpus}))
}

#[test]
fn processors_are_listed_in_the_order_of_their_numbers() {
    let guest = Guest::usual();
    guest.cpu(10, "1\n").cpu(2, "0\n").dir(&format!("{CPUS}/cpu3")).cpu(4, "1\n").masks("0-3,10\n", "0-1,10\n");
    let expected = json!([
        {"logical-id": 0, "online": true, "can-offline": false},
        {"logical-id": 1, "online": true, "can-offline": true},
        {"logical-id": 2, "online": false, "can-offline": true},
        {"logical-id": 3, "online": false, "can-offline": false},
        {"logical-id": 10, "online": true, "can-offline": true},
    ]);
    assert_eq!(guest.kit().call("guest-get-vcpus", json!({})).unwrap(), expected);
}

#[test]
fn each_list_is_the_one_of_its_moment() {
    let guest = Guest::usual();
    guest.cpu(2, "0\n");
    let kit = guest.kit();
    let list = || kit.call("guest-get-vcpus", json!({})).unwrap();
    // sysfs changes in place.
    let write = |name: &str, mask: &str| std::fs::write(guest.path(&format!("{CPUS}/{name}")), mask).unwrap();
    assert_eq!(list().as_array().unwrap().len(), 2);
    write("online", "0\n");
    assert_eq!((&list()[1]["online"], &list()[0]["online"]), (&json!(false), &json!(true)));
    write("present", "0-2\n");
    let added = json!({"logical-id": 2, "online": false, "can-offline": true});
    assert_eq!((list().as_array().unwrap().len(), &list()[2]), (3, &added));
    write("present", "0\n");
    assert_eq!(list(), json!([{"logical-id": 0, "online": true, "can-offline": false}]));
}

#[test]
fn processors_that_cannot_be_listed_are_an_error() {
    let guest = Guest::new();
    let listed = |guest: &Guest| error(guest.kit().call("guest-get-vcpus", json!({})));
    let text = "failed to list entries: /sys/devices/system/cpu: No such file or directory";
    assert_eq!(listed(&guest), text);
    guest.dir(CPUS);
    assert_eq!(listed(&guest), "open(\"/sys/devices/system/cpu/present\"): No such file or directory");
    guest.masks("0\n", "");
    assert_eq!(listed(&guest), "pread(\"/sys/devices/system/cpu/online\"): unexpected EOF");
    for hostile in ["0-\n", "0-4000000000\n", "9999999999\n", "\u{e9}\n"] {
        guest.masks(hostile, "0\n");
        assert_eq!(listed(&guest), "sysfs file \"present\" holds no list of processors", "{hostile}");
    }
}

#[test]
fn processors_are_switched_and_counted() {
    let guest = Guest::usual();
    guest.cpu(2, "0\n").cpu(3, "1\n");
    let kit = guest.kit();
    assert_eq!(set(&kit, &[]).unwrap(), 0);
    assert_eq!(set(&kit, &[(0, true), (1, false), (2, true), (3, true)]).unwrap(), 4);
    assert_eq!([guest.cpu_state(1), guest.cpu_state(2), guest.cpu_state(3)], ["0\n", "1\n", "1\n"]);
    // The last word on one processor counts.
    assert_eq!(set(&kit, &[(1, true), (1, false), (1, true)]).unwrap(), 3);
    assert_eq!(guest.cpu_state(1), "1\n");
}

#[test]
fn a_processor_that_is_as_wanted_is_not_written() {
    let guest = Guest::usual();
    guest.cpu(2, "0 as it was").cpu(3, "whatever is no 0");
    assert_eq!(set(&guest.kit(), &[(2, false), (3, true)]).unwrap(), 2);
    assert_eq!([guest.cpu_state(2), guest.cpu_state(3)], ["0 as it was", "whatever is no 0"]);
}

#[test]
fn the_first_failure_ends_it() {
    let guest = Guest::usual();
    guest.cpu(2, "1\n");
    let kit = guest.kit();
    assert_eq!(error(set(&kit, &[(0, false), (1, false)])), "logical processor #0 can't be offlined");
    assert_eq!(guest.cpu_state(1), "1\n");
    assert_eq!(set(&kit, &[(1, false), (99, false), (2, false)]).unwrap(), 1);
    assert_eq!([guest.cpu_state(1), guest.cpu_state(2)], ["0\n", "1\n"]);
    let log: Vec<String> = kit.log().into_iter().map(|(_, text)| text).collect();
    let ends = "guest-set-vcpus ends after 1 processors: \
        open(\"/sys/devices/system/cpu/cpu99/\"): No such file or directory";
    assert_eq!(log, ["processor 1 is offline", ends]);
}

#[test]
fn failures_have_qemu_gas_words() {
    let guest = Guest::usual();
    guest.dir(&format!("{CPUS}/cpu2/online")).link(&format!("{CPUS}/cpu3/online"), "/dev/full").cpu(4, "");
    guest.file(&format!("{CPUS}/cpu5"), "");
    let kit = guest.kit();
    for (id, online, text) in [
        (4096, true, "open(\"/sys/devices/system/cpu/cpu4096/\"): No such file or directory"),
        (i64::MAX, true, "open(\"/sys/devices/system/cpu/cpu9223372036854775807/\"): No such file or directory"),
        (-1, false, "open(\"/sys/devices/system/cpu/cpu-1/\"): No such file or directory"),
        (2, true, "open(\"/sys/devices/system/cpu/cpu2//online\"): Is a directory"),
        (3, false, "pwrite(\"/sys/devices/system/cpu/cpu3//online\"): No space left on device"),
        (4, true, "pread(\"/sys/devices/system/cpu/cpu4//online\"): unexpected EOF"),
        (5, true, "open(\"/sys/devices/system/cpu/cpu5/\"): Not a directory"),
    ] {
        assert_eq!(error(set(&kit, &[(id, online)])), text);
    }
}

#[test]
fn arguments_are_checked_in_qemus_words() {
    let kit = Guest::usual().kit();
    for (arguments, text) in [
        (json!({}), "Parameter 'vcpus' is missing"),
        (json!({"vcpus": {}}), "Invalid parameter type for 'vcpus', expected: array"),
        (json!({"vcpus": [{"logical-id": 1}]}), "Parameter 'vcpus[0].online' is missing"),
        (
            json!({"vcpus": [{"logical-id": 1, "online": true, "can-offline": 1}]}),
            "Invalid parameter type for 'vcpus[0].can-offline', expected: boolean",
        ),
        (json!({"vcpus": [], "x": 1}), "Parameter 'x' is unexpected"),
    ] {
        assert_eq!(error(kit.call("guest-set-vcpus", arguments)), text);
    }
    assert_eq!(error(kit.call("guest-get-vcpus", json!({"x": 1}))), "Parameter 'x' is unexpected");
}

#[test]
fn no_test_reaches_the_machine_itself() {
    let refused = TestKit::start(guestd_hardware::plugin_module()).err().unwrap();
    assert_eq!(refused.desc(), "a test must set rehearsal to a directory that stands in for the guest");
}

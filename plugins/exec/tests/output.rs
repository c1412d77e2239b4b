//! What is captured.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{bytes, kit, kit_with, result, run, sh, start, text};
use serde_json::{Value, json};

const BOTH: [&str; 2] = ["-c", "echo out; echo err >&2"];

#[test]
fn each_mode_keeps_its_streams() {
    let kit = kit();
    let nothing = json!({"exitcode": 0, "exited": true});
    let out = json!({"exitcode": 0, "out-data": "b3V0Cg==", "out-truncated": false, "exited": true});
    let err = json!({"exitcode": 0, "err-data": "ZXJyCg==", "err-truncated": false, "exited": true});
    let both = json!({"exitcode": 0, "err-data": "ZXJyCg==", "out-data": "b3V0Cg==", "err-truncated": false,
        "out-truncated": false, "exited": true});
    let merged = json!({"exitcode": 0, "out-data": "b3V0CmVycgo=", "out-truncated": false, "exited": true});
    for (mode, expected) in [
        (json!(true), &both),
        (json!("separated"), &both),
        (json!(false), &nothing),
        (json!("none"), &nothing),
        (json!("stdout"), &out),
        (json!("stderr"), &err),
        (json!("merged"), &merged),
    ] {
        assert_eq!(&run(&kit, json!({"path": "sh", "arg": BOTH, "capture-output": mode})), expected, "{mode}");
    }
    assert_eq!(run(&kit, json!({"path": "sh", "arg": BOTH})), nothing);
}

#[test]
fn a_stream_without_content_is_left_out() {
    let kit = kit();
    for mode in [json!(true), json!("stdout"), json!("merged")] {
        let result = run(&kit, json!({"path": "true", "capture-output": mode}));
        assert_eq!(result, json!({"exitcode": 0, "exited": true}));
    }
    let only = json!({"exitcode": 0, "err-data": "ZQo=", "err-truncated": false, "exited": true});
    assert_eq!(sh(&kit, "echo e >&2"), only);
}

#[test]
fn the_members_come_in_qemu_gas_order() {
    let kit = kit();
    let pid = start(&kit, json!({"path": "sh", "arg": BOTH, "capture-output": true}));
    let arguments = json!({"pid": pid}).to_string();
    let reply = loop {
        let reply = kit.call_raw("guest-exec-status", &arguments, 0).unwrap();
        if reply.body.as_slice() != b"{\"exited\": false}" {
            break String::from_utf8(reply.body.to_vec()).unwrap();
        }
    };
    assert_eq!(
        reply,
        "{\"exitcode\": 0, \"err-data\": \"ZXJyCg==\", \"out-data\": \"b3V0Cg==\", \"err-truncated\": false, \
         \"out-truncated\": false, \"exited\": true}"
    );
}

#[test]
fn merged_output_keeps_its_order() {
    let arguments = ["-c", "echo a; echo b >&2; echo c; echo d >&2"];
    let result = run(&kit(), json!({"path": "sh", "arg": arguments, "capture-output": "merged"}));
    assert_eq!(text(&result, "out-data"), "a\nb\nc\nd\n");
}

#[test]
fn output_is_any_bytes() {
    let result = run(&kit(), json!({"path": "printf", "arg": ["\\000\\377\\200"], "capture-output": true}));
    assert_eq!(bytes(&result, "out-data"), [0, 255, 128]);
}

#[test]
fn both_streams_can_be_full_at_once() {
    let result = sh(&kit(), "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2");
    assert_eq!((bytes(&result, "out-data").len(), bytes(&result, "err-data").len()), (300_000, 200_000));
    assert_eq!((&result["out-truncated"], &result["err-truncated"]), (&json!(false), &json!(false)));
}

#[test]
fn each_stream_is_cut_at_16_mib() {
    const LIMIT: usize = 16 << 20;
    let (out, err) = (vec![b'o'; LIMIT], vec![b'e'; LIMIT]);
    let kit = kit();
    // Two writers at a time, so that neither stream waits for the other.
    let script = |out: usize, err: usize| {
        format!("(head -c {err} /dev/zero | tr '\\0' e >&2) & head -c {out} /dev/zero | tr '\\0' o; wait")
    };
    let full = sh(&kit, &script(LIMIT, LIMIT));
    assert_eq!((&full["out-truncated"], &full["err-truncated"]), (&json!(false), &json!(false)));
    assert!(bytes(&full, "out-data") == out && bytes(&full, "err-data") == err);

    let cut = sh(&kit, &script(LIMIT + 1, LIMIT + 3_000_000));
    assert_eq!(
        (&cut["out-truncated"], &cut["err-truncated"], &cut["exitcode"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert!(bytes(&cut, "out-data") == out && bytes(&cut, "err-data") == err);
}

#[test]
fn all_programs_together_keep_no_more_than_max_output() {
    const MIB: usize = 1 << 20;
    let kit = kit_with(json!({"max-output": 3}));
    let first = sh(&kit, "head -c 2097152 /dev/zero");
    assert_eq!((bytes(&first, "out-data").len(), &first["out-truncated"]), (2 * MIB, &json!(false)));
    // The first result has left its room, the second one holds it until it is asked for.
    let two = json!({"path": "head", "arg": ["-c", "2097152", "/dev/zero"], "capture-output": true});
    let second = start(&kit, two.clone());
    let ended = |pid: i64| {
        common::until("the program ends", || {
            let want = format!("process {pid} has ended: Code(0)");
            kit.log().iter().any(|(_, line)| *line == want)
        });
    };
    ended(second);
    let third = run(&kit, two.clone());
    assert_eq!((bytes(&third, "out-data").len(), &third["out-truncated"]), (MIB, &json!(true)));
    let fourth = start(&kit, json!({"path": "head", "arg": ["-c", "1048576", "/dev/zero"], "capture-output": true}));
    ended(fourth);
    let fifth = run(&kit, two);
    assert_eq!(fifth, json!({"exitcode": 0, "out-data": "", "out-truncated": true, "exited": true}));
    let input = json!({"path": "cat", "input-data": "QUJD"});
    let refused = "too much output and input of programs is waiting (max-output)";
    assert_eq!(common::error(&kit, "guest-exec", input.clone()), refused);
    assert_eq!(bytes(&result(&kit, second), "out-data").len(), 2 * MIB);
    assert_eq!(run(&kit, input), json!({"exitcode": 0, "exited": true}));
}

#[test]
fn the_mode_is_a_boolean_or_a_name() {
    let kit = kit();
    let call = |mode: Value| {
        let arguments = json!({"path": "/nonexistent/program", "capture-output": mode});
        common::error(&kit, "guest-exec", arguments)
    };
    for mode in ["bogus", "MERGED", "true", ""] {
        let expected = format!("Parameter 'capture-output' does not accept value '{mode}'");
        assert_eq!(call(json!(mode)), expected);
    }
    for value in [json!(null), json!(1), json!(1.5), json!([]), json!({}), json!(["none"]), json!({"none": true})] {
        let expected = "Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput";
        assert_eq!(call(value), expected);
    }
}

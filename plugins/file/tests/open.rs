//! `guest-file-open`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Bench, content};
use guestd_sdk::LogLevel;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::json;

const HELLO: &str = "hello world\n";
const NOT_READABLE: &str = "failed to read file: Bad file descriptor";
const NOT_WRITABLE: &str = "failed to write to file: Bad file descriptor";

#[test]
fn each_mode_reads_writes_and_empties_as_fopen_has_it() {
    let bench = Bench::new();
    for (modes, read, after) in [
        (&["r", "rb"][..], Some(HELLO), HELLO),
        (&["r+", "rb+", "r+b"], Some(HELLO), "XYZlo world\n"),
        (&["w", "wb"], None, "XYZ"),
        (&["w+", "wb+", "w+b"], Some(""), "XYZ"),
        (&["a", "ab"], None, "hello world\nXYZ"),
        (&["a+", "ab+", "a+b"], Some(HELLO), "hello world\nXYZ"),
    ] {
        for mode in modes {
            let path = bench.file("f", HELLO);
            let handle = bench.open(&path, mode);
            assert_eq!(bench.seek(handle, 0, "cur"), 0, "{mode}");
            match read {
                Some(text) => assert_eq!(bench.read_text(handle, 99), (text.to_owned(), true), "{mode}"),
                None => assert_eq!(bench.error("guest-file-read", json!({"handle": handle})), NOT_READABLE, "{mode}"),
            }
            assert_eq!(bench.seek(handle, 0, "set"), 0, "{mode}");
            if modes.contains(&"r") {
                let write = json!({"handle": handle, "buf-b64": "WFla"});
                assert_eq!(bench.error("guest-file-write", write), NOT_WRITABLE);
            } else {
                assert_eq!(bench.write(handle, "XYZ"), 3, "{mode}");
            }
            bench.close(handle);
            assert_eq!(content(&path), after, "{mode}");
        }
    }
}

#[test]
fn the_mode_is_r_if_none_is_given() {
    let bench = Bench::new();
    let path = bench.file("f", HELLO);
    let handle = bench.ok("guest-file-open", json!({"path": path})).as_i64().unwrap();
    assert_eq!(bench.read_text(handle, 5), ("hello".to_owned(), false));
    let write = json!({"handle": handle, "buf-b64": "WFla"});
    assert_eq!(bench.error("guest-file-write", write), NOT_WRITABLE);
}

#[test]
fn another_mode_is_refused_before_the_file_is_looked_at() {
    let bench = Bench::new();
    let path = bench.file("f", HELLO);
    for mode in ["x", "rw", "rt", "br", "R", "re", "rb+b", "r ", "%s", "+", ""] {
        for path in [path.as_str(), "/nonexistent/f"] {
            let error = bench.error("guest-file-open", json!({"path": path, "mode": mode}));
            assert_eq!(error, format!("invalid file open mode '{mode}'"));
        }
    }
    assert_eq!(content(&path), HELLO);
}

#[test]
fn a_failed_open_names_path_mode_and_reason() {
    let bench = Bench::new();
    bench.file("f", HELLO);
    fs::create_dir(bench.path("d")).unwrap();
    symlink("gone", bench.path("dangling")).unwrap();
    symlink(bench.path("loop"), bench.path("loop")).unwrap();
    for (name, mode, reason) in [
        ("nope", "r", "No such file or directory"),
        ("nope", "rb+", "No such file or directory"),
        ("no/such", "w", "No such file or directory"),
        ("no/such", "a+", "No such file or directory"),
        ("f/x", "r", "Not a directory"),
        ("f/x", "w", "Not a directory"),
        ("d", "a", "Is a directory"),
        ("d", "r+", "Is a directory"),
        ("d", "w", "Is a directory"),
        ("d/x/", "w", "Is a directory"),
        ("dangling", "r", "No such file or directory"),
        ("dangling", "w", "No such file or directory"),
        ("dangling", "a+", "No such file or directory"),
        ("loop", "w", "Too many levels of symbolic links"),
        ("it's \"x\"\n", "r", "No such file or directory"),
        ("%s%n", "r", "No such file or directory"),
    ] {
        let path = bench.path(name);
        let error = bench.error("guest-file-open", json!({"path": path, "mode": mode}));
        assert_eq!(error, format!("failed to open file '{path}' (mode: '{mode}'): {reason}"));
    }
    let nul = bench.path("f\0x");
    let error = bench.error("guest-file-open", json!({"path": nul}));
    assert!(error.starts_with(&format!("failed to open file '{nul}' (mode: 'r'): ")), "{error}");
    let mut names: Vec<_> = fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "dangling", "f", "loop"]);
}

#[test]
fn arguments_are_checked_in_qemus_words() {
    let bench = Bench::new();
    for (arguments, expected) in [
        (json!({}), "Parameter 'path' is missing"),
        (json!({"path": 1}), "Invalid parameter type for 'path', expected: string"),
        (json!({"path": "/", "mode": null}), "Invalid parameter type for 'mode', expected: string"),
        (json!({"path": "/", "bogus": 1}), "Parameter 'bogus' is unexpected"),
    ] {
        assert_eq!(bench.error("guest-file-open", arguments), expected);
    }
}

#[test]
fn a_new_file_has_the_permissions_that_the_umask_leaves() {
    let settings = Settings { facts: json!({"umask": 0o027}), ..Settings::default() };
    let bench = Bench::with_settings(settings);
    for mode in ["w", "a", "w+", "a+"] {
        let path = bench.path(&format!("new-{mode}"));
        bench.close(bench.open(&path, mode));
        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.permissions().mode() & 0o7777, facts.len()), (0o640, 0));
    }
    let old = bench.file("old", HELLO);
    fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
    bench.close(bench.open(&old, "w"));
    let facts = fs::metadata(&old).unwrap();
    assert_eq!((facts.permissions().mode() & 0o7777, facts.len()), (0o640, 0));
}

#[test]
fn a_symlink_to_a_file_is_followed_and_stays() {
    let bench = Bench::new();
    let file = bench.file("f", HELLO);
    symlink("f", bench.path("l")).unwrap();
    let handle = bench.open(&bench.path("l"), "w");
    bench.write(handle, "via link");
    assert_eq!(content(&file), "via link");
    assert!(fs::symlink_metadata(bench.path("l")).unwrap().is_symlink());
    let name = bench.path("é");
    bench.open(&name, "w");
    assert!(fs::exists(name).unwrap());
}

#[test]
fn a_descriptor_is_closed_in_children_and_never_waits() {
    let bench = Bench::new();
    let path = bench.file("f", HELLO);
    let handle = bench.open(&path, "r+");
    let find = || {
        let mut all = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
        all.find(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == std::path::Path::new(path.as_str())))
    };
    let descriptor = find().unwrap();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.file_name().display())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
    let wanted = nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK | nix::libc::O_RDWR;
    assert_eq!(flags & (wanted | nix::libc::O_ACCMODE), wanted, "{flags:o}");
    bench.close(handle);
    assert!(find().is_none());
}

#[test]
fn no_more_files_are_opened_than_max_open_says() {
    let bench = Bench::with_config(json!({"max-open": 2}));
    let path = bench.file("f", HELLO);
    let (first, second) = (bench.open(&path, "r"), bench.open(&path, "r"));
    bench.kit.log();
    let error = bench.error("guest-file-open", json!({"path": path, "mode": "w"}));
    assert_eq!(error, format!("failed to open file '{path}' (mode: 'w'): Too many open files"));
    assert_eq!(content(&path), HELLO);
    let warning = "2 files are open, more are refused (max-open in [plugins.file])".to_owned();
    assert_eq!(bench.kit.log(), [(LogLevel::Warn, warning)]);
    bench.close(first);
    let third = bench.open(&path, "r");
    bench.error("guest-file-open", json!({"path": path}));

    bench.kit.reload(json!({"max-open": 3})).unwrap();
    bench.open(&path, "r");
    bench.kit.reload(json!({"max-open": 1})).unwrap();
    for handle in [second, third] {
        assert_eq!(bench.read_text(handle, 5).0, "hello");
    }
    bench.error("guest-file-open", json!({"path": path}));
}

#[test]
fn a_failed_open_takes_no_room() {
    let bench = Bench::with_config(json!({"max-open": 1}));
    for _ in 0..3 {
        bench.error("guest-file-open", json!({"path": bench.path("nope")}));
    }
    bench.open(&bench.file("f", HELLO), "r");
}

#[test]
fn a_wrong_configuration_is_an_error_and_too_high_a_limit_a_warning() {
    let start = |config| TestKit::start_with(guestd_file::plugin_module(), Settings { config, ..Settings::default() });
    for (config, expected) in [
        (json!({"max-opne": 1}), "configuration: unknown field `max-opne`, expected `max-open`"),
        (json!({"max-open": 0}), "configuration: invalid value: integer `0`, expected a nonzero u32"),
        (json!({"max-open": "9"}), "configuration: invalid type: string \"9\", expected a nonzero u32"),
    ] {
        assert_eq!(start(config).err().unwrap().desc(), expected);
    }
    let kit = start(json!({"max-open": u32::MAX})).unwrap();
    let log = kit.log();
    assert!(matches!(&log[..], [(LogLevel::Warn, text)] if text.starts_with("max-open is 4294967295, but")), "{log:?}");
    assert!(kit.reload(json!({"max-open": -1})).is_err());
}

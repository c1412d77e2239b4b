//! Disks that are full, broken or read-only: an error to the client, and never the daemon's end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use guestd_daemon_tests::{Client, Daemon, FaultFs, private};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

/// A block of a file, in base64: 96 KiB of zeros.
fn block() -> String {
    "A".repeat(128 << 10)
}

/// Mounts a file system in memory with room for this much.
fn mount_tmpfs(point: &Path, size: &str) {
    fs::create_dir_all(point).unwrap();
    let options = format!("size={size},mode=755");
    mount(Some("tmpfs"), point, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Takes all room of a file system with a file, whose removal gives it back.
fn fill(file: &Path) {
    let zeros = vec![0; 64 << 10];
    let mut filler = fs::File::create(file).unwrap();
    let mut size = zeros.len();
    while size > 0 {
        if std::io::Write::write_all(&mut filler, &zeros[..size]).is_err() {
            size /= 2;
        }
    }
}

/// Runs a program, which must succeed.
fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The error's text in an answer that must be one.
fn refused(answer: &Value) -> String {
    answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("this is no error: {answer}")).to_owned()
}

/// Writes blocks until that fails, and returns the error.
fn write_until_it_fails(client: &mut Client, handle: &Value) -> String {
    for _ in 0..1000 {
        let answer = client.ask("guest-file-write", json!({"handle": handle, "buf-b64": block()}));
        if answer.get("error").is_some() {
            return refused(&answer);
        }
    }
    panic!("a full disk takes everything");
}

/// The daemon is the same process, and answers old and new clients.
fn lives(daemon: &Daemon, client: &mut Client) {
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    assert_eq!(daemon.client().call("guest-sync", json!({"id": 7})), json!(7));
    assert!(Path::new(&format!("/proc/{}", daemon.pid())).exists());
}

#[test]
fn a_full_disk_is_the_error_of_the_write() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new().start();
    let full = daemon.path("full");
    mount_tmpfs(&full, "300k");
    let mut client = daemon.client();
    let handle = client.call("guest-file-open", json!({"path": full.join("file"), "mode": "w"}));
    let error = write_until_it_fails(&mut client, &handle);
    assert!(error.contains("No space left on device"), "{error}");
    client.call("guest-file-flush", json!({"handle": handle}));
    client.call("guest-file-close", json!({"handle": handle}));
    assert_eq!(fs::metadata(full.join("file")).unwrap().len() % 4096, 0);
    lives(&daemon, &mut client);
}

#[test]
fn a_full_ext4_is_the_error_of_the_write() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new().start();
    let (image, full) = (daemon.path("image"), daemon.path("ext4"));
    fs::File::create(&image).unwrap().set_len(2 << 20).unwrap();
    fs::create_dir(&full).unwrap();
    run("mkfs.ext4", &["-q", "-F", "-m0", image.to_str().unwrap()]);
    run("mount", &["-o", "loop", image.to_str().unwrap(), full.to_str().unwrap()]);
    let mut client = daemon.client();
    let handle = client.call("guest-file-open", json!({"path": full.join("file"), "mode": "w"}));
    let error = write_until_it_fails(&mut client, &handle);
    assert!(error.contains("No space left on device"), "{error}");
    client.call("guest-file-close", json!({"handle": handle}));
    lives(&daemon, &mut client);
    run("umount", &["-l", full.to_str().unwrap()]);
}

/// Handles are numbered for good, which takes a file.
#[test]
fn a_full_state_directory_is_an_error_until_there_is_room() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new();
    mount_tmpfs(&daemon.path("state"), "64k");
    let daemon = daemon.start();
    let mut client = daemon.client();
    let filler = daemon.path("state/filler");
    fill(&filler);
    let (mut opened, mut errors) = (0, Vec::new());
    for _ in 0..200 {
        let answer = client.ask("guest-file-open", json!({"path": "/dev/null"}));
        match answer.get("return") {
            Some(handle) => {
                opened += 1;
                client.call("guest-file-close", json!({"handle": handle}));
            }
            None => errors.push(refused(&answer)),
        }
    }
    assert!(
        errors.len() >= 100 && errors.iter().all(|text| text.contains("No space left on device")),
        "{opened}, {errors:?}"
    );
    // A freeze leaves its mark there before anything is frozen; the list of file systems is empty.
    let freeze = client.error("guest-fsfreeze-freeze-list", json!({"mountpoints": []}));
    assert!(freeze.contains("No space left on device"), "{freeze}");
    assert_eq!(client.call("guest-fsfreeze-status", json!({})), "thawed");
    lives(&daemon, &mut client);
    fs::remove_file(filler).unwrap();
    let handle = client.call("guest-file-open", json!({"path": "/dev/null"}));
    client.call("guest-file-close", json!({"handle": handle}));
}

#[test]
fn a_full_log_stops_nobody_and_goes_on_when_there_is_room() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new();
    let full = daemon.path("full");
    mount_tmpfs(&full, "64k");
    let filler = full.join("filler");
    let daemon = daemon.args(&["-l", "DIR/full/log"]).start();
    daemon.wait_for("the log", || full.join("log").exists());
    fill(&filler);
    let mut client = daemon.client();
    for number in 0..2000 {
        client.error("guest-file-open", json!({"path": format!("/nonexistent/{number}")}));
    }
    lives(&daemon, &mut client);
    fs::remove_file(filler).unwrap();
    let size = || fs::metadata(full.join("log")).unwrap().len();
    let before = size();
    daemon.wait_for("a line in the log", || {
        daemon.client().error("guest-file-open", json!({"path": "/nonexistent/again"}));
        size() > before
    });
}

#[test]
fn a_read_only_file_system_is_an_error() {
    if !private::enter() {
        return;
    }
    // Nothing here can be changed, should the change of the mount not work.
    let daemon = Daemon::new();
    let (state, home) = (daemon.path("state"), Path::new("/root"));
    mount_tmpfs(home, "64k");
    mount_tmpfs(&state, "64k");
    fs::write(home.join("file"), "content").unwrap();
    let daemon = daemon.start();
    let mut client = daemon.client();
    let handle = client.call("guest-file-open", json!({"path": "/root/file", "mode": "r+"}));
    client.call("guest-file-close", json!({"handle": handle}));
    for point in [home, state.as_path()] {
        let nothing = None::<&str>;
        mount(nothing, point, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, nothing).unwrap();
        assert!(fs::write(point.join("probe"), "x").is_err());
    }
    let error = client.error("guest-file-open", json!({"path": "/root/file", "mode": "r+"}));
    assert!(error.contains("Read-only file system"), "{error}");
    let keys = json!({"username": "root", "keys": ["ssh-ed25519 AAAA test"]});
    let error = client.error("guest-ssh-add-authorized-keys", keys);
    assert!(error.contains("Read-only file system"), "{error}");
    let freeze = client.error("guest-fsfreeze-freeze-list", json!({"mountpoints": []}));
    assert!(freeze.contains("Read-only file system"), "{freeze}");
    assert_eq!(client.call("guest-fsfreeze-status", json!({})), "thawed");
    let errors: Vec<_> = (0..200)
        .map(|_| client.ask("guest-file-open", json!({"path": "/root/file"})))
        .filter(|answer| answer.get("error").is_some())
        .map(|answer| refused(&answer))
        .collect();
    assert!(!errors.is_empty() && errors.iter().all(|text| text.contains("Read-only file system")), "{errors:?}");
    lives(&daemon, &mut client);
}

#[test]
fn a_daemon_whose_state_directory_cannot_be_written_starts_and_says_so() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new();
    let state = daemon.path("state");
    mount_tmpfs(&state, "64k");
    let nothing = None::<&str>;
    mount(nothing, &state, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, nothing).unwrap();
    let daemon = daemon.start();
    daemon.wait_for_log("Read-only file system");
    let mut client = daemon.client();
    let error = client.error("guest-file-open", json!({"path": "/dev/null"}));
    assert!(error.contains("Read-only file system"), "{error}");
    let freeze = client.error("guest-fsfreeze-freeze-list", json!({"mountpoints": []}));
    assert!(freeze.contains("Read-only file system"), "{freeze}");
    lives(&daemon, &mut client);
    mount(nothing, &state, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, nothing).unwrap();
    client.call("guest-file-open", json!({"path": "/dev/null"}));
}

#[test]
fn a_broken_disk_is_the_error_of_each_operation() {
    if !private::enter() {
        return;
    }
    let daemon = Daemon::new().start();
    let point = daemon.path("broken");
    fs::create_dir(&point).unwrap();
    let _files = FaultFs::mount(&point);
    let mut client = daemon.client();
    for (fault, text) in
        [("eio", "Input/output error"), ("enospc", "No space left on device"), ("erofs", "Read-only file system")]
    {
        for operation in ["lookup", "open", "read", "write", "flush"] {
            let path = point.join(format!("{fault}-{operation}"));
            let opened = client.ask("guest-file-open", json!({"path": path, "mode": "r+"}));
            let Some(handle) = opened.get("return") else {
                assert!(["lookup", "open"].contains(&operation), "{operation}: {opened}");
                assert!(refused(&opened).contains(text), "{operation}: {opened}");
                continue;
            };
            let mut failed = Vec::new();
            for (name, command, arguments) in [
                ("read", "guest-file-read", json!({"handle": handle, "count": 100})),
                ("write", "guest-file-write", json!({"handle": handle, "buf-b64": "eHh4"})),
                // As qemu-ga's, it leaves the writing back to the kernel.
                ("nothing", "guest-file-flush", json!({"handle": handle})),
                ("flush", "guest-file-close", json!({"handle": handle})),
            ] {
                let answer = client.ask(command, arguments);
                if answer.get("error").is_some() {
                    assert!(refused(&answer).contains(text), "{operation}: {answer}");
                    failed.push(name);
                }
            }
            assert_eq!(failed, [operation], "{fault}");
        }
    }
    lives(&daemon, &mut client);
}

//! A user who wants to get at what is not the user's own by way of the daemon.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{ALICE, Guest, access, is_root};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

/// A file of root's that alice cannot read, and what it is to stay.
fn secret(guest: &Guest) -> PathBuf {
    let path = guest.path("secret");
    fs::write(&path, "root's own\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn refused(guest: &Guest, tail: &str) {
    for result in [guest.get(), guest.add(&["k"]), guest.remove(&["k"])] {
        let error = result.unwrap_err();
        assert_eq!(error, format!("failed to read '{}': {tail}", guest.keys().display()));
    }
}

#[test]
fn links_are_not_followed() {
    let guest = Guest::new();
    let secret = secret(&guest);
    guest.write_keys("k1\n");
    fs::remove_file(guest.keys()).unwrap();
    symlink(&secret, guest.keys()).unwrap();
    refused(&guest, "'authorized_keys' is a symbolic link, which is not followed, and no regular file");
    fs::remove_dir_all(guest.ssh()).unwrap();
    for target in [guest.path("etc"), guest.path("nowhere")] {
        symlink(target, guest.ssh()).unwrap();
        refused(&guest, "'.ssh' is a symbolic link, which is not followed, and no directory");
        fs::remove_file(guest.ssh()).unwrap();
    }
    assert_eq!(fs::read(secret).unwrap(), b"root's own\n");
    assert_eq!(fs::read_dir(guest.path("etc")).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let guest = Guest::new();
    guest.write_keys("");
    let replace = |kind: FileType, words: &str| {
        fs::remove_file(guest.keys()).unwrap();
        mknodat(CWD, guest.keys(), kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        guest.own(&guest.keys(), 0o600);
        refused(&guest, &format!("'authorized_keys' is a {words}, and no regular file"));
    };
    replace(FileType::Fifo, "fifo");
    replace(FileType::Socket, "socket");
    fs::remove_file(guest.keys()).unwrap();
    fs::create_dir(guest.keys()).unwrap();
    guest.own(&guest.keys(), 0o700);
    refused(&guest, "'authorized_keys' is a directory, and no regular file");
    fs::remove_dir_all(guest.ssh()).unwrap();
    fs::write(guest.ssh(), "").unwrap();
    guest.own(&guest.ssh(), 0o600);
    refused(&guest, "'.ssh' is a regular file, and no directory");
}

#[test]
fn a_huge_file_is_not_read_and_none_is_made() {
    let guest = Guest::new();
    guest.write_keys("k\n");
    fs::OpenOptions::new().write(true).open(guest.keys()).unwrap().set_len(1 << 40).unwrap();
    refused(&guest, "it is larger than 4 MiB");
    guest.write_keys("k\n");
    let long = "k".repeat(1 << 20);
    let keys: Vec<String> = (0..4).map(|number| format!("{long}{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let error = guest.add(&keys).unwrap_err();
    assert_eq!(error, format!("'{}' would be larger than 4 MiB", guest.keys().display()));
    assert_eq!(guest.text(), "k\n");
}

#[test]
fn what_waits_at_the_new_files_place_is_replaced_and_not_written_to() {
    let guest = Guest::new();
    let secret = secret(&guest);
    guest.write_keys("k1\n");
    let new = guest.ssh().join(".authorized_keys.guestd");
    symlink(&secret, &new).unwrap();
    guest.add(&["k2"]).unwrap();
    fs::hard_link(&secret, &new).unwrap();
    guest.add(&["k3"]).unwrap();
    fs::write(&new, "left by a daemon that was killed").unwrap();
    guest.add(&["k4"]).unwrap();
    assert_eq!(guest.text(), "k1\nk2\nk3\nk4\n");
    assert_eq!(guest.names(), ["authorized_keys"]);
    assert_eq!(fs::read(&secret).unwrap(), b"root's own\n");
    fs::create_dir(&new).unwrap();
    let error = guest.add(&["k5"]).unwrap_err();
    assert!(error.ends_with(": Is a directory"), "{error}");
    assert_eq!(guest.text(), "k1\nk2\nk3\nk4\n");
}

#[test]
fn files_of_others_are_neither_shown_nor_changed() {
    if !is_root() {
        guestd_sdk::testkit::skip("only root can have files of others");
        return;
    }
    let guest = Guest::new();
    let secret = secret(&guest);
    guest.write_keys("");
    fs::remove_file(guest.keys()).unwrap();
    // The kernel would not let alice make this link (protected_hardlinks in proc(5)), but it may be told to.
    fs::hard_link(&secret, guest.keys()).unwrap();
    refused(&guest, "Permission denied");
    assert_eq!(access(&secret), (0, 0, 0o600));
    guest.write_keys("k1\n");
    chown(guest.keys(), Some(77), None).unwrap();
    fs::set_permissions(guest.keys(), fs::Permissions::from_mode(0o644)).unwrap();
    let words =
        |name| Err(format!("failed to write to '{}': '{name}' belongs to another user (77)", guest.keys().display()));
    assert_eq!(guest.add(&["k2"]), words("authorized_keys"));
    assert_eq!(guest.get(), Ok(json!({"keys": ["k1"]})));
    chown(guest.keys(), Some(ALICE), None).unwrap();
    chown(guest.ssh(), Some(77), Some(ALICE)).unwrap();
    fs::set_permissions(guest.ssh(), fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(guest.add(&["k2"]), words(".ssh"));
    fs::remove_dir_all(guest.ssh()).unwrap();
    let words = |why| Err(format!("failed to create directory '{}': {why}", guest.ssh().display()));
    chown(guest.home(), Some(77), None).unwrap();
    fs::set_permissions(guest.home(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(guest.add(&["k2"]), words("'the home directory' belongs to another user (77)"));
    chown(guest.home(), Some(0), None).unwrap();
    assert_eq!(guest.add(&["k2"]), words("the home directory is root's, and others may write to it"));
    assert!(!guest.ssh().exists());
}

#[test]
fn exchanging_directories_and_links_all_the_time_gains_nothing() {
    let guest = Guest::in_memory();
    let secret = secret(&guest);
    let trap = guest.path("trap");
    fs::create_dir(&trap).unwrap();
    fs::hard_link(&secret, trap.join("authorized_keys")).unwrap();
    guest.write_keys("k1\n");
    let (ssh, aside, link) = (guest.ssh(), guest.home().join("aside"), guest.home().join("link"));
    symlink(&trap, &link).unwrap();
    let (file, link_to_file) = (guest.ssh().join("file"), guest.ssh().join("link"));
    symlink(&secret, &link_to_file).unwrap();
    let over = AtomicBool::new(false);
    let (done, shown) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Errors are of no account: who exchanges things must live with not finding them.
                let _ = fs::rename(&ssh, &aside).and_then(|()| fs::rename(&link, &ssh));
                let _ = fs::rename(&ssh, &link).and_then(|()| fs::rename(&aside, &ssh));
                let _ = fs::rename(ssh.join("authorized_keys"), &file);
                let _ = fs::rename(&link_to_file, ssh.join("authorized_keys"));
                let _ = fs::rename(ssh.join("authorized_keys"), &link_to_file);
                let _ = fs::rename(&file, ssh.join("authorized_keys"));
            }
        });
        let (mut done, mut shown) = (0, Vec::new());
        for number in 0..2000 {
            done += usize::from(guest.add(&[&format!("key-{number}")]).is_ok());
            shown.extend(guest.get().ok().filter(|keys| keys.to_string().contains("root")));
        }
        over.store(true, Ordering::Relaxed);
        (done, shown)
    });
    assert!(shown.is_empty(), "{shown:?}");
    assert!(done > 0, "no change was made at all, so nothing was tried");
    assert_eq!(fs::read(&secret).unwrap(), b"root's own\n");
    assert_eq!(access(&secret).2, 0o600);
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 1);
}

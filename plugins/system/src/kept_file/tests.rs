use std::fs;
use std::time::{Duration, Instant};

use super::*;

fn kept(candidates: &[&Path]) -> KeptFile<String> {
    let candidates = candidates.iter().map(|path| path.to_path_buf()).collect();
    KeptFile::new(candidates, 10_000, |content| String::from_utf8_lossy(content).into_owned())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Asks until the answer is this; after a change a file system without `RWF_NOWAIT` takes one call more.
fn becomes(file: &KeptFile<String>, expected: &str) {
    wait_until(expected, || *file.get() == expected);
}

fn follows(file: &KeptFile<String>, directory: &Path) {
    let (first, second) = (directory.join("first"), directory.join("second"));
    becomes(file, "");
    fs::write(&second, "two").unwrap();
    becomes(file, "two");
    for text in ["a", "b", "c"] {
        fs::write(&first, text).unwrap();
        becomes(file, text);
    }
    fs::write(directory.join("new"), "d").unwrap();
    fs::rename(directory.join("new"), &first).unwrap();
    becomes(file, "d");
    fs::write(&first, vec![b'x'; 10_000]).unwrap();
    becomes(file, &"x".repeat(10_000));
    fs::write(&first, vec![b'y'; 10_001]).unwrap();
    becomes(file, &"y".repeat(10_000));
    fs::remove_file(&first).unwrap();
    fs::create_dir(&first).unwrap();
    becomes(file, "two");
    fs::remove_file(&second).unwrap();
    becomes(file, "");
}

#[test]
fn what_is_kept_follows_the_file_watched_or_not() {
    for watchable in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let file = kept(&[&directory.path().join("first"), &directory.path().join("second")]);
        if !watchable {
            file.0.watchable.store(false, Ordering::Relaxed);
            file.0.known().watch = None;
        }
        follows(&file, directory.path());
    }
}

#[test]
fn a_file_that_is_watched_is_not_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "text").unwrap();
    let file = kept(&[&path]);
    if !file.0.watchable.load(Ordering::Relaxed) {
        guestd_sdk::testkit::not_here("files cannot be watched");
        return;
    }
    file.0.known().value = Arc::new("kept".to_owned());
    assert_eq!(*file.get(), "kept");
    fs::write(&path, "new").unwrap();
    becomes(&file, "new");
    wait_until("watched again", || file.0.known().watch.is_some());
    assert_eq!(*file.get(), "new");
}

#[test]
fn a_file_that_has_settled_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "text").unwrap();
    let file = kept(&[&path]);
    file.0.watchable.store(false, Ordering::Relaxed);
    wait_until("settled", || {
        file.0.refresh(Look::Waiting, None).unwrap();
        matches!(file.0.known().state, State::File(_))
    });
    if file.0.find(Look::CachedOnly).is_err() {
        guestd_sdk::testkit::not_here("openat2(2) knows no RESOLVE_CACHED");
        return;
    }
    file.0.known().value = Arc::new("kept".to_owned());
    assert_eq!(*file.get(), "kept");
}

#[test]
fn a_file_that_cannot_be_read_without_waiting_is_read_by_a_thread() {
    // procfs knows no RWF_NOWAIT, and nothing in it settles.
    let file = kept(&[Path::new("/proc/self/stat")]);
    *file.0.known() = Known { state: State::Unsettled, value: Arc::new("old".to_owned()), watch: None };
    assert_eq!(*file.get(), "old");
    wait_until("read", || *file.get() != "old");
}

#[test]
fn a_fifo_and_a_device_are_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(*kept(&[&fifo, Path::new("/dev/zero")]).get(), "");
}

use std::path::PathBuf;

use super::*;
use crate::filesystems::Place;
use crate::kernel::{SMART_LOG, Space, Trimmed};
use crate::mountinfo::DeviceId;

/// A kernel that notes what it is asked for. What a mount's number is tells how it can be opened.
#[derive(Default)]
struct Fake {
    /// While this is held, [`HANGING`] mounts are not opened.
    server: std::sync::Mutex<()>,
    calls: std::sync::Mutex<Vec<String>>,
    error: Option<Errno>,
}

const COVERED: u32 = 1;
const GONE: u32 = 2;
const FORBIDDEN: u32 = 3;
const HANGING: u32 = 4;

impl Fake {
    fn new(error: Option<Errno>) -> Arc<Self> {
        Arc::new(Self { error, ..Self::default() })
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Kernel for Fake {
    fn space(&self, _: &Path, _: u32) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open(&self, point: &Path, mount: u32) -> Result<OwnedFd, OpenError> {
        self.note(format!("open {}", point.display()));
        match mount {
            COVERED => Err(OpenError::Covered),
            GONE => Err(OpenError::Refused(Errno::NOENT.into())),
            FORBIDDEN => Err(OpenError::Refused(Errno::ACCESS.into())),
            HANGING => {
                drop(self.server.lock().unwrap());
                Err(OpenError::Refused(Errno::NOTCONN.into()))
            }
            _ => Ok(File::open("/dev/null").unwrap().into()),
        }
    }

    fn trim(&self, _: &OwnedFd, minimum: u64) -> io::Result<Trimmed> {
        self.note(format!("trim {minimum}"));
        match self.error {
            Some(errno) => Err(errno.into()),
            None => Ok(Trimmed { bytes: 4096, minimum }),
        }
    }

    fn smart_log(&self, _: &Path) -> io::Result<[u8; SMART_LOG]> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn system(places: &[(u32, &str)]) -> Filesystem {
    let places = places.iter().map(|(mount, point)| Place { mount: *mount, point: PathBuf::from(point) });
    Filesystem {
        device: DeviceId { major: 7, minor: 0 },
        fstype: "ext4".into(),
        source: "/dev/loop0".into(),
        prompt: true,
        places: places.collect(),
    }
}

/// Trims below /guest; `limit`: how long a file system may take to be opened.
fn trim_within(
    kernel: &Arc<Fake>,
    limit: Duration,
    places: &[(u32, &str)],
    minimum: i64,
    forbidden: Option<&'static str>,
) -> TrimResult {
    let (machine, kernel): (_, Arc<dyn Kernel>) = (Machine::below(Path::new("/guest")), Arc::<Fake>::clone(kernel));
    let opener = Opener { kernel: &kernel, machine: &machine, helpers: &Helpers::default(), limit };
    trim(&opener, &system(places), minimum, || forbidden)
}

fn trim_by(kernel: &Arc<Fake>, places: &[(u32, &str)], minimum: i64) -> TrimResult {
    trim_within(kernel, Duration::from_secs(60), places, minimum, None)
}

#[test]
fn a_file_system_is_trimmed_with_the_minimum_that_was_asked_for() {
    let kernel = Fake::new(None);
    let result = trim_by(&kernel, &[(9, "/a")], 65536);
    let expected = TrimResult { path: "/a".into(), trimmed: Some(4096), minimum: Some(65536), error: None };
    assert_eq!(result, expected);
    assert_eq!(kernel.calls(), ["open /guest/a", "trim 65536"]);
    assert_eq!(trim_by(&kernel, &[(9, "/a")], -1).minimum, Some(-1));
    assert_eq!(kernel.calls(), ["open /guest/a", "trim 18446744073709551615"]);
}

#[test]
fn failures_have_qemu_gas_words() {
    for (errno, text) in [
        (Errno::NOTTY, "trim not supported"),
        (Errno::OPNOTSUPP, "trim not supported"),
        (Errno::INVAL, "failed to trim: Invalid argument"),
        (Errno::ROFS, "failed to trim: Read-only file system"),
    ] {
        let result = trim_by(&Fake::new(Some(errno)), &[(9, "/a")], 0);
        assert_eq!(result, TrimResult { path: "/a".into(), trimmed: None, minimum: None, error: Some(text.into()) });
    }
}

#[test]
fn the_first_place_that_leads_to_it_is_taken() {
    let kernel = Fake::new(None);
    let result = trim_by(&kernel, &[(COVERED, "/a"), (GONE, "/b"), (9, "/c"), (10, "/d")], 0);
    assert_eq!((result.path.as_str(), result.trimmed), ("/a", Some(4096)));
    assert_eq!(kernel.calls(), ["open /guest/a", "open /guest/b", "open /guest/c", "trim 0"]);
}

#[test]
fn what_cannot_be_reached_is_not_trimmed() {
    let kernel = Fake::new(None);
    for (places, text) in [
        ([(COVERED, "/a"), (GONE, "/b"), (FORBIDDEN, "/c")].as_slice(), "failed to open: No such file or directory"),
        (&[(FORBIDDEN, "/a"), (GONE, "/b")], "failed to open: Permission denied"),
        (&[(COVERED, "/a")], "failed to open: something else is mounted over it"),
    ] {
        assert_eq!(trim_by(&kernel, places, 0).error.as_deref(), Some(text));
    }
    assert!(!kernel.calls().iter().any(|call| call.starts_with("trim")));
}

#[test]
fn nothing_is_trimmed_once_it_is_forbidden() {
    let kernel = Fake::new(None);
    let result = trim_within(&kernel, Duration::from_secs(60), &[(9, "/a")], 0, Some("file systems are frozen"));
    assert_eq!(result.error.as_deref(), Some("failed to trim: file systems are frozen"));
    assert_eq!(kernel.calls(), ["open /guest/a"]);
}

#[test]
fn what_does_not_answer_is_named_and_holds_up_nothing() {
    let kernel = Fake::new(None);
    let server = kernel.server.lock().unwrap();
    let result = trim_within(&kernel, Duration::from_millis(100), &[(HANGING, "/a")], 0, None);
    assert_eq!(result.error.as_deref(), Some("failed to open: no answer within 0.1 s"));
    drop(server);
    let result = trim_by(&kernel, &[(HANGING, "/a"), (9, "/b")], 0);
    assert_eq!((result.path.as_str(), result.trimmed), ("/a", Some(4096)));
}

#[test]
fn the_daemons_deadline_is_kept() {
    let request = |deadline_ms| Request { buf: Vec::new().into(), args_at: 0, args_len: 0, deadline_ms, flags: 0 };
    assert!(!Deadline::of(&request(0)).is_over());
    assert!(!Deadline::of(&request(u32::MAX)).is_over());
    let soon = Deadline::of(&request(1));
    std::thread::sleep(Duration::from_millis(2));
    assert!(soon.is_over());
}

#[test]
fn the_lock_excludes_everybody_else_who_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let first = lock(run).unwrap();
    assert!(first.is_some());
    assert!(lock(run).unwrap().is_none());
    drop(first);
    assert!(lock(run).unwrap().is_some());
    std::fs::remove_file(run.join(LOCK)).unwrap();
    std::os::unix::fs::symlink("/nonexistent", run.join(LOCK)).unwrap();
    assert_eq!(Errno::from_io_error(&lock(run).unwrap_err()), Some(Errno::LOOP));
    assert_eq!(Errno::from_io_error(&lock(&run.join("missing")).unwrap_err()), Some(Errno::NOENT));
}

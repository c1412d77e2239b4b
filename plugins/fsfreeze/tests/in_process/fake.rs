//! The double of the kernel, and a plugin that runs on it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use guestd_sdk::testkit::{Settings, TestKit};
use rustix::io::Errno;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock;
use crate::kernel::{Kernel, OpenError};
use crate::plan::mountinfo::{self, DeviceId, Mount};
use crate::recover::Surroundings;
use crate::session::Session;
use crate::state::{Patience, Shared};

thread_local! {
    static NEXT: RefCell<Option<Surroundings>> = const { RefCell::new(None) };
    static LAST: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

/// What the next plugin that is started on this thread runs in.
pub fn surroundings() -> Surroundings {
    NEXT.take().expect("a test starts the plugin by World::start")
}

/// Told of each plugin that is started.
pub fn started(shared: &Arc<Shared>) {
    LAST.set(Arc::downgrade(shared));
}

/// Waits until something is so; a minute is for ever.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

/// A kernel with a table of mounts, whose file systems freeze, fail or hang as told.
pub struct FakeKernel {
    sysfs: PathBuf,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    mountinfo: String,
    mounts: u32,
    frozen: BTreeMap<DeviceId, u32>,
    freeze_errors: BTreeMap<DeviceId, Errno>,
    thaw_errors: BTreeMap<DeviceId, Errno>,
    sync_errors: BTreeMap<DeviceId, Errno>,
    open_errors: BTreeMap<PathBuf, OpenError>,
    nodes: BTreeMap<PathBuf, DeviceId>,
    holders: BTreeMap<String, DeviceId>,
    links: BTreeMap<PathBuf, PathBuf>,
    hanging: BTreeSet<(&'static str, DeviceId)>,
    opened: BTreeMap<RawFd, DeviceId>,
    calls: Vec<String>,
    synced: Vec<String>,
    dirty: Option<u64>,
}

impl FakeKernel {
    /// Mounts a file system; the first mount of a device number is the one that it is known by.
    pub fn mount(&self, device: &str, point: &str, fstype: &str) {
        self.mount_with(device, point, fstype, "none", "rw");
    }

    /// The mount lies on the one before it whose mount point is the nearest.
    pub fn mount_with(&self, device: &str, point: &str, fstype: &str, source: &str, options: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.mounts += 1;
        let mounts = mountinfo::parse(inner.mountinfo.as_bytes());
        let plain = mountinfo::unescape(point.as_bytes());
        let above = |mount: &&Mount| Path::new(OsStr::from_bytes(&plain)).starts_with(&mount.point);
        let nearest = mounts.iter().filter(above).max_by_key(|mount| mount.point.as_os_str().len());
        let parent = nearest.map_or(1000, |mount| mount.id);
        let line = format!("{} {parent} {device} / {point} rw - {fstype} {source} {options}\n", inner.mounts);
        inner.mountinfo.push_str(&line);
    }

    /// The table as a whole.
    pub fn set_mountinfo(&self, table: &str) {
        self.inner.lock().unwrap().mountinfo = table.to_owned();
    }

    /// A link to follow.
    pub fn link(&self, path: &str, target: &str) {
        self.inner.lock().unwrap().links.insert(path.into(), target.into());
    }

    pub fn unmount_all(&self) {
        self.inner.lock().unwrap().mountinfo.clear();
    }

    pub fn node(&self, path: &str, device: &str) {
        self.inner.lock().unwrap().nodes.insert(path.into(), id(device));
    }

    /// Says which file system holds the file of a loop device.
    pub fn holder(&self, name: &str, device: &str) {
        self.inner.lock().unwrap().holders.insert(name.to_owned(), id(device));
    }

    pub fn fail_freeze(&self, device: &str, errno: Errno) {
        self.inner.lock().unwrap().freeze_errors.insert(id(device), errno);
    }

    pub fn fail_thaw(&self, device: &str, errno: Option<Errno>) {
        let mut inner = self.inner.lock().unwrap();
        match errno {
            Some(errno) => inner.thaw_errors.insert(id(device), errno),
            None => inner.thaw_errors.remove(&id(device)),
        };
    }

    pub fn fail_open(&self, point: &str, error: OpenError) {
        self.inner.lock().unwrap().open_errors.insert(point.into(), error);
    }

    pub fn fail_sync(&self, device: &str, errno: Errno) {
        self.inner.lock().unwrap().sync_errors.insert(id(device), errno);
    }

    /// Makes `open`, `sync`, `freeze` or `thaw` of a device hang until [`FakeKernel::release`].
    pub fn hang(&self, call: &'static str, device: &str) {
        self.inner.lock().unwrap().hanging.insert((call, id(device)));
    }

    pub fn release(&self, call: &'static str, device: &str) {
        self.inner.lock().unwrap().hanging.remove(&(call, id(device)));
        self.changed.notify_all();
    }

    /// Freezes a file system as another program would, `times` over.
    pub fn frozen_by_others(&self, device: &str, times: u32) {
        self.inner.lock().unwrap().frozen.insert(id(device), times);
    }

    /// Thaws it as another program would.
    pub fn thawed_by_others(&self, device: &str) {
        self.inner.lock().unwrap().frozen.remove(&id(device));
    }

    /// What is frozen.
    pub fn frozen(&self) -> Vec<String> {
        self.inner.lock().unwrap().frozen.keys().map(DeviceId::to_string).collect()
    }

    /// Takes the calls so far: `freeze 7:1`, and `thaw 7:1` where it was frozen.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().calls)
    }

    /// What was written back so far, in the order of the names: several are at a time.
    pub fn synced(&self) -> Vec<String> {
        let mut synced = self.inner.lock().unwrap().synced.clone();
        synced.sort();
        synced
    }

    /// Says how much there is to write back; at first that is not known.
    pub fn set_dirty(&self, bytes: u64) {
        self.inner.lock().unwrap().dirty = Some(bytes);
    }

    pub fn has_called(&self, call: &str) -> bool {
        self.inner.lock().unwrap().calls.iter().any(|made| made == call)
    }

    fn device(&self, mounted: BorrowedFd<'_>) -> DeviceId {
        self.inner.lock().unwrap().opened[&mounted.as_raw_fd()]
    }

    /// Notes a call, and hangs in it if told so.
    fn call(&self, call: &'static str, device: DeviceId) -> std::sync::MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap();
        let is_noted = match call {
            "freeze" => true,
            "thaw" => inner.frozen.contains_key(&device),
            _ => inner.hanging.contains(&(call, device)),
        };
        if is_noted {
            inner.calls.push(format!("{call} {device}"));
        }
        while inner.hanging.contains(&(call, device)) {
            inner = self.changed.wait(inner).unwrap();
        }
        inner
    }
}

impl Kernel for FakeKernel {
    fn mountinfo(&self) -> io::Result<Vec<u8>> {
        Ok(self.inner.lock().unwrap().mountinfo.clone().into_bytes())
    }

    fn sysfs(&self) -> &Path {
        &self.sysfs
    }

    fn block_device(&self, node: &Path) -> Option<DeviceId> {
        self.inner.lock().unwrap().nodes.get(node).copied()
    }

    fn loop_holder(&self, name: &OsStr) -> Option<DeviceId> {
        self.inner.lock().unwrap().holders.get(name.to_str().unwrap()).copied()
    }

    fn canonical(&self, path: &Path) -> Option<PathBuf> {
        self.inner.lock().unwrap().links.get(path).cloned()
    }

    fn open(&self, mount: &Mount) -> Result<OwnedFd, OpenError> {
        let mut inner = self.call("open", mount.device);
        if let Some(error) = inner.open_errors.get(&mount.point) {
            return Err(*error);
        }
        let fd = OwnedFd::from(File::open("/dev/null").unwrap());
        inner.opened.insert(fd.as_raw_fd(), mount.device);
        Ok(fd)
    }

    fn freeze(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        let device = self.device(mounted);
        let mut inner = self.call("freeze", device);
        if let Some(errno) = inner.freeze_errors.get(&device) {
            return Err(*errno);
        }
        if inner.frozen.contains_key(&device) {
            return Err(Errno::BUSY);
        }
        inner.frozen.insert(device, 1);
        Ok(())
    }

    fn thaw(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        let device = self.device(mounted);
        let mut inner = self.call("thaw", device);
        if let Some(errno) = inner.thaw_errors.get(&device) {
            return Err(*errno);
        }
        match inner.frozen.get_mut(&device) {
            None => Err(Errno::INVAL),
            Some(times) if *times > 1 => {
                *times -= 1;
                Ok(())
            }
            Some(_) => {
                inner.frozen.remove(&device);
                Ok(())
            }
        }
    }

    fn sync(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        let device = self.device(mounted);
        let mut inner = self.call("sync", device);
        inner.synced.push(device.to_string());
        inner.sync_errors.get(&device).map_or(Ok(()), |errno| Err(*errno))
    }

    fn dirty(&self) -> Option<u64> {
        self.inner.lock().unwrap().dirty
    }

    fn hold_memory(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

/// A guest: its kernel, its directories, and the configuration of the agents that are started in it.
pub struct World {
    pub kernel: Arc<FakeKernel>,
    pub config: Value,
    pub facts: Value,
    pub patience: Patience,
    /// Holds the run directory, in memory, and everything else.
    pub dir: TempDir,
}

impl World {
    /// A guest with `/` on 8:1, `/a` on 7:1 and `/b` on 7:2, and what every guest has besides.
    pub fn new() -> Self {
        let dir = TempDir::new_in("/dev/shm").unwrap();
        let sysfs = dir.path().join("sys");
        fs::create_dir_all(&sysfs).unwrap();
        let kernel = FakeKernel { sysfs, inner: Mutex::default(), changed: Condvar::new() };
        let world = Self {
            kernel: Arc::new(kernel),
            config: json!({}),
            facts: json!({"run-dir": dir.path()}),
            patience: Patience {
                stall: Duration::from_secs(3600),
                settle: Duration::from_secs(3600),
                answer: Duration::from_secs(3600),
                retry: Duration::from_millis(20),
            },
            dir,
        };
        for (device, point, fstype) in [
            ("0:20", "/proc", "proc"),
            ("8:1", "/", "ext4"),
            ("0:21", "/tmp", "tmpfs"),
            ("7:1", "/a", "ext4"),
            ("7:2", "/b", "xfs"),
        ] {
            world.kernel.mount(device, point, fstype);
        }
        world
    }

    pub fn with(config: Value) -> Self {
        Self { config, ..Self::new() }
    }

    /// Its agents pass by what hangs after a moment. Elsewhere a busy machine would look like something that hangs.
    pub fn impatient(self) -> Self {
        let (stall, settle) = (Duration::from_millis(20), Duration::from_millis(50));
        Self { patience: Patience { stall, settle, ..self.patience }, ..self }
    }

    /// Ends the lease of the freeze of the agent that this thread has started last.
    pub fn end_lease(&self) {
        Self::hurry(|session| session.lease_end = Some(clock::since_boot()));
    }

    /// Lets the time pass that the daemon of that agent waits for its freeze.
    pub fn pass_deadline(&self) {
        Self::hurry(|session| session.deadline = Some(Instant::now()));
    }

    fn hurry(change: impl FnOnce(&mut Session)) {
        let shared = LAST.with_borrow(Weak::upgrade).expect("an agent");
        shared.change(|state| change(state.session.as_mut().expect("a freeze")));
        shared.changed.notify_all();
    }

    /// Starts an agent whose daemon found no marker.
    pub fn start(&self) -> Arc<TestKit> {
        self.start_in(false).unwrap()
    }

    /// Starts an agent; `marker`: its daemon found one and has closed its gate.
    pub fn start_in(&self, marker: bool) -> Result<Arc<TestKit>, String> {
        let kernel: Arc<FakeKernel> = Arc::clone(&self.kernel);
        NEXT.set(Some(Surroundings { kernel, patience: self.patience, frozen: marker }));
        let settings = Settings { config: self.config.clone(), facts: self.facts.clone() };
        let kit = TestKit::start_with(crate::plugin_module(), settings);
        kit.map(Arc::new).map_err(|error| error.desc().to_owned())
    }

    /// An executable script in the guest's directory.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let directory = path.parent().unwrap();
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// A script that adds its name and its argument to a file, which [`World::ran`] reads.
    pub fn noting_script(&self, name: &str, more: &str) -> PathBuf {
        let line = format!("echo \"${{0##*/}} $1\" >> '{}'\n{more}", self.dir.path().join("ran").display());
        self.script(name, &line)
    }

    pub fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("ran")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn plan_file(&self) -> PathBuf {
        self.dir.path().join("fsfreeze.plan")
    }
}

/// Calls without arguments, and what comes back: the value, or the error's text as `Err`.
pub fn call(kit: &TestKit, command: &str) -> Result<Value, String> {
    kit.call(command, json!({})).map_err(|error| error.desc().to_owned())
}

pub fn freeze(kit: &TestKit) -> Result<Value, String> {
    call(kit, "guest-fsfreeze-freeze")
}

pub fn freeze_list(kit: &TestKit, names: &[&str]) -> Result<Value, String> {
    kit.call("guest-fsfreeze-freeze-list", json!({"mountpoints": names})).map_err(|error| error.desc().to_owned())
}

pub fn thaw(kit: &TestKit) -> Result<Value, String> {
    call(kit, "guest-fsfreeze-thaw")
}

pub fn status(kit: &TestKit) -> String {
    call(kit, "guest-fsfreeze-status").unwrap().as_str().unwrap().to_owned()
}

pub fn report(kit: &TestKit) -> Value {
    call(kit, "__org.guestd_fsfreeze-report").unwrap()
}

/// The report's line of a mount.
pub fn mount_of(report: &Value, point: &str) -> Value {
    let mounts = report["freeze"]["mounts"].as_array().unwrap();
    mounts.iter().find(|mount| mount["mountpoint"] == point).cloned().unwrap_or_else(|| panic!("no {point}: {report}"))
}

/// Freezes on a thread of its own, with a deadline in milliseconds.
pub fn freeze_in_background(kit: &Arc<TestKit>, deadline_ms: u32) -> thread::JoinHandle<Result<Value, String>> {
    let kit = Arc::clone(kit);
    thread::spawn(move || {
        let reply =
            kit.call_raw("guest-fsfreeze-freeze", "{}", deadline_ms).map_err(|error| error.desc().to_owned())?;
        Ok(serde_json::from_slice(&reply.body).unwrap())
    })
}

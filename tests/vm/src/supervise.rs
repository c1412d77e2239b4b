//! The QEMU process: started so that it cannot outlive its test.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Error, host};

/// A running QEMU with a time limit. It is killed by its process number on drop, at the limit, and by
/// the kernel when the test program dies.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    child: Mutex<Option<Child>>,
    done: Mutex<bool>,
    wake: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Starts `qemu-system-x86_64` with these arguments.
    pub(crate) fn start(args: Vec<String>, output: &Path, limit: Duration) -> Result<Self, Error> {
        let qemu = host::program("qemu-system-x86_64")?;
        let setpriv = host::program("setpriv")?;
        let log = std::fs::File::create(output).map_err(Error::io("creating QEMU's log"))?;
        let errors = log.try_clone().map_err(Error::io("QEMU's log"))?;
        let shared = Arc::new(Shared { child: Mutex::new(None), done: Mutex::new(false), wake: Condvar::new() });
        let directory = output.parent().map(Path::to_path_buf);
        let (sender, started) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        // The parent-death signal follows the *thread* that starts a child, so the child is started by
        // the thread that lives exactly as long as the machine, not by the test's.
        let thread = std::thread::spawn(move || {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]);
            command.arg(qemu).args(args);
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
            // A core file, if one is written, goes with the directory.
            directory.map(|directory| command.current_dir(directory));
            let child = command.spawn();
            let result = child.map(|child| *lock(&for_thread.child) = Some(child));
            let failed = result.is_err();
            // The receiver waits below; it cannot be gone.
            let _ = sender.send(result);
            if !failed {
                for_thread.guard(limit);
            }
        });
        let started = started.recv().map_err(|_| Error::Failed("QEMU's thread died".into()))?;
        started.map_err(Error::io("starting QEMU"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The exit status, if QEMU has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let mut child = lock(&self.shared.child);
        child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits for QEMU to end by itself.
    pub(crate) fn wait(&self, limit: Duration) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!("QEMU still runs after {limit:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Shared {
    /// Waits for the drop or the limit, then kills.
    fn guard(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut done = lock(&self.done);
        while !*done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                crate::note(&format!("vm: killed after its time limit of {limit:?}"));
                break;
            }
            done = match self.wake.wait_timeout(done, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if let Some(child) = lock(&self.child).as_mut() {
            // Fails only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        *lock(&self.shared.done) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

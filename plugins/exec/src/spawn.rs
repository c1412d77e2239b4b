//! Starting a program as posix_spawn(3) does, which takes as long in a large daemon as in a small one.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, io};

use guestd_guest::descriptors::{self, Limits};
use nix::errno::Errno;
use nix::libc::{self, c_char};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::Pid;

/// The `PATH` of an environment that has none: that of execvp(3).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The shell that runs scripts without a `#!` line, as execvp(3) has it.
const SHELL: &CStr = c"/bin/sh";

/// The kernel's `struct sigaction`, or more of it than there is, for SIG_DFL.
const DEFAULT_ACTION: [u64; 8] = [0; 8];
/// The size of its set of signals, in bytes (rt_sigaction(2)).
const SIGNAL_SET_SIZE: usize = 8;

/// The stack of a child until it is the program, in bytes.
const STACK_SIZE: usize = 32 << 10;

/// A program to be started.
pub(crate) struct Program {
    path: CString,
    /// All arguments, the first included.
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// A program with its arguments and its environment, the daemon's own where that is `None`. `name` is a path, or
    /// a name that is looked for in the `PATH` of the program's environment. Fails where there is no such program, or
    /// a text has a NUL in it.
    pub(crate) fn new(name: &str, args: Vec<String>, env: Option<Vec<String>>) -> io::Result<Self> {
        let env = match env {
            Some(env) => texts(env)?,
            None => own_environment()?,
        };
        let path = if name.contains('/') { text(name)? } else { find(name, &env)? };
        let mut all = vec![text(name)?];
        all.extend(texts(args)?);
        Ok(Self { path, args: all, env })
    }

    /// Starts the program in a process group of its own, with no signal blocked or ignored, with the limit on descriptors that the
    /// daemon was started with, and with these three as its stdin, stdout and stderr.
    pub(crate) fn spawn(&self, stdio: [BorrowedFd<'_>; 3]) -> io::Result<Pid> {
        let args: Vec<&CStr> = self.args.iter().map(CString::as_c_str).collect();
        let pid = match start(&self.path, &args, &self.env, stdio) {
            Err(Errno::ENOEXEC) => {
                let own = args.iter().skip(1).copied();
                let args: Vec<_> = [SHELL, self.path.as_c_str()].into_iter().chain(own).collect();
                start(SHELL, &args, &self.env, stdio)
            }
            other => other,
        };
        Pid::from_raw(pid?.as_raw()).ok_or_else(|| io::Error::other("clone returned no process"))
    }
}

/// What posix_spawn(3) does, and in addition sets a limit, which that cannot: the child shares this process's memory and this thread waits
/// until the child has become the program, or has failed to.
fn start(path: &CStr, args: &[&CStr], env: &[CString], stdio: [BorrowedFd<'_>; 3]) -> nix::Result<unistd::Pid> {
    let pointers = |texts: &mut dyn Iterator<Item = &CStr>| -> Vec<*const c_char> {
        texts.map(CStr::as_ptr).chain([std::ptr::null()]).collect()
    };
    let args = pointers(&mut args.iter().copied());
    let env = pointers(&mut env.iter().map(CString::as_c_str));
    let limits = descriptors::of_programs();
    let failure = AtomicI32::new(0);
    let mut stack = vec![0; STACK_SIZE];
    let child = Box::new(|| {
        let error = become_program(path, &args, &env, stdio, limits);
        failure.store(error as i32, Ordering::Relaxed);
        // The status of a child that never was the program; nobody sees it.
        127
    });
    // A handler of this process must not run in the child, on this process's memory.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: until it has become the program or has ended, the child makes system calls only, on a stack of its own and with what was made
    // for it here; all of that lives until then, since CLONE_VFORK keeps this thread waiting.
    let cloned = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
    let _ = mask.thread_set_mask();
    let pid = cloned?;
    match failure.load(Ordering::Relaxed) {
        0 => Ok(pid),
        error => {
            let _ = waitpid(pid, None);
            Err(Errno::from_raw(error))
        }
    }
}

/// The child's part; returns only if it fails.
fn become_program(
    path: &CStr,
    args: &[*const c_char],
    env: &[*const c_char],
    stdio: [BorrowedFd<'_>; 3],
    limits: Option<Limits>,
) -> Errno {
    let prepare = || {
        unistd::setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0))?;
        for number in 1..=libc::SIGRTMAX() {
            // By the kernel: the C library does not let go of the signals that it uses itself. A signal that has no other action is an
            // error without consequence.
            // SAFETY: zeros are the default action with no flags and an empty mask, on any machine; it runs no code.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    number,
                    DEFAULT_ACTION.as_ptr(),
                    std::ptr::null::<u64>(),
                    SIGNAL_SET_SIZE,
                )
            };
        }
        for (fd, number) in stdio.iter().zip(0..) {
            // SAFETY: both are descriptors of the child alone, which has a table of its own.
            Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
        }
        if let Some(limits) = limits {
            limits.apply()?;
        }
        SigSet::empty().thread_set_mask()
    };
    match prepare() {
        Err(error) => error,
        Ok(()) => {
            // SAFETY: the texts end with a NUL and the lists with a null pointer.
            unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
            Errno::last()
        }
    }
}

fn text(text: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL.into())
}

fn texts(all: Vec<String>) -> io::Result<Vec<CString>> {
    all.into_iter().map(text).collect()
}

fn own_environment() -> io::Result<Vec<CString>> {
    let entry = |(name, value): (OsString, OsString)| text([name.into_vec(), value.into_vec()].join(&b'='));
    env::vars_os().filter(|(name, _)| name != descriptors::VARIABLE).map(entry).collect()
}

/// Looks for a program as execvp(3) does: the first that can be executed; where there is none, the error is that of
/// one that cannot.
fn find(name: &str, env: &[CString]) -> io::Result<CString> {
    if name.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut error = Errno::ENOENT;
    for directory in path.split(|&byte| byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = text([directory, name.as_bytes()].join(&b'/'))?;
        match can_execute(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(rustix::io::Errno::ACCESS) => error = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(error.into())
}

/// execve(2) refuses a directory by EACCES, which access(2) does not know.
fn can_execute(path: &CStr) -> rustix::io::Result<()> {
    accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())?;
    let is_file = Path::new(OsStr::from_bytes(path.to_bytes())).is_file();
    if is_file { Ok(()) } else { Err(rustix::io::Errno::ACCESS) }
}

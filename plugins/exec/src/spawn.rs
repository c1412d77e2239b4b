//! Starting a program by posix_spawn(3), which takes as long in a large daemon as in a small one.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::{env, io};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::Pid;

/// The `PATH` of an environment that has none: that of execvp(3).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The shell that runs scripts without a `#!` line, as execvp(3) has it.
const SHELL: &CStr = c"/bin/sh";

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

    /// Starts the program in a process group of its own, with no signal blocked or ignored, and with these three as
    /// its stdin, stdout and stderr.
    pub(crate) fn spawn(&self, stdio: [BorrowedFd<'_>; 3]) -> io::Result<Pid> {
        let mut files = PosixSpawnFileActions::init()?;
        for (fd, number) in stdio.iter().zip(0..) {
            files.add_dup2(fd.as_raw_fd(), number)?;
        }
        let mut attr = PosixSpawnAttr::init()?;
        attr.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attr.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        attr.set_sigdefault(&SigSet::all())?;
        attr.set_sigmask(&SigSet::empty())?;
        let pid = match posix_spawn(self.path.as_c_str(), &files, &attr, &self.args, &self.env) {
            Err(Errno::ENOEXEC) => {
                let own = self.args.iter().skip(1).map(CString::as_c_str);
                let args: Vec<_> = [SHELL, self.path.as_c_str()].into_iter().chain(own).collect();
                posix_spawn(SHELL, &files, &attr, &args, &self.env)
            }
            other => other,
        };
        Pid::from_raw(pid?.as_raw()).ok_or_else(|| io::Error::other("posix_spawn returned no process"))
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
    env::vars_os().map(entry).collect()
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

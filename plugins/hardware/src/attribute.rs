//! One file of sysfs: a value as text, a page at most (the kernel's `filesystems/sysfs.rst`).

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, openat};
use rustix::io::{pread, pwrite};
use rustix::path::Arg;

/// The longest value that is looked at, a page: a mask with many gaps is long.
const LONGEST: usize = 4096;

/// Why a value was not read or written, in the words that qemu-ga has for the failed call.
#[derive(Debug)]
pub(crate) enum AttributeError {
    /// open(2) failed.
    Open(io::Error),
    /// read(2) failed.
    Read(io::Error),
    /// The file is empty.
    Empty,
    /// write(2) failed.
    Write(io::Error),
}

impl AttributeError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Open(error) if error.kind() == ErrorKind::NotFound)
    }

    /// The call that failed, and its error.
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Open(error) => ("open", guestd_sdk::errno_text(error)),
            Self::Read(error) => ("pread", guestd_sdk::errno_text(error)),
            Self::Empty => ("pread", "unexpected EOF".to_owned()),
            Self::Write(error) => ("pwrite", guestd_sdk::errno_text(error)),
        }
    }

    /// The kernel's error number. An empty file has none; EIO stands for it.
    pub fn code(&self) -> i64 {
        match self {
            Self::Open(error) | Self::Read(error) | Self::Write(error) => error.raw_os_error().unwrap_or(5).into(),
            Self::Empty => 5,
        }
    }
}

/// Opens a directory, for attributes below it to be named relative to it.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether there is an attribute `name` below `directory`.
pub(crate) fn exists(directory: impl AsFd, name: &str) -> bool {
    accessat(directory, name, Access::EXISTS, AtFlags::empty()).is_ok()
}

/// Opens the attribute `name` below `directory` for reading.
pub(crate) fn open(directory: impl AsFd, name: impl Arg) -> Result<OwnedFd, AttributeError> {
    openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .map_err(|errno| AttributeError::Open(errno.into()))
}

/// The value of the attribute `name` below `directory`, without the line feed at its end. Never empty.
pub(crate) fn get(directory: impl AsFd, name: &str) -> Result<Vec<u8>, AttributeError> {
    read_again(&open(directory, name)?)
}

/// The value of the attribute at `path`, as [`get`] returns it.
pub(crate) fn get_at(path: &Path) -> Result<Vec<u8>, AttributeError> {
    read_again(&open(CWD, path)?)
}

/// The value that an open attribute has now, as [`get`] returns it.
pub(crate) fn read_again(file: impl AsFd) -> Result<Vec<u8>, AttributeError> {
    let mut buf = [0; LONGEST];
    let len = pread(file, &mut buf, 0).map_err(|errno| AttributeError::Read(errno.into()))?;
    value(buf.get(..len).unwrap_or_default())
}

/// Writes `wanted` unless `is_it` says that the value is that already, and says whether it wrote.
pub(crate) fn change(
    directory: impl AsFd,
    name: &str,
    wanted: &str,
    is_it: impl FnOnce(&[u8]) -> bool,
) -> Result<bool, AttributeError> {
    let file = openat(directory, name, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .map_err(|errno| AttributeError::Open(errno.into()))?;
    if is_it(&read_again(&file)?) {
        return Ok(false);
    }
    match pwrite(&file, wanted.as_bytes(), 0) {
        Ok(len) if len == wanted.len() => Ok(true),
        Ok(_) => Err(AttributeError::Write(ErrorKind::WriteZero.into())),
        Err(errno) => Err(AttributeError::Write(errno.into())),
    }
}

fn value(bytes: &[u8]) -> Result<Vec<u8>, AttributeError> {
    match bytes {
        [] => Err(AttributeError::Empty),
        bytes => Ok(bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec()),
    }
}

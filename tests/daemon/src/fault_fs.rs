//! A file system whose files fail, or never answer, as their names say.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use nix::mount::{MntFlags, umount2};

/// A mounted file system, whose directory has a file of every name. One whose name begins with `FAULT-OPERATION` has that
/// fault in that operation, and all others of it succeed:
///
/// * faults: `hang` (no answer until [`FaultFs::release`], or the end), `eio`, `enospc`, `erofs`;
/// * operations: `lookup`, `open`, `read`, `write`, `flush` (close(2)), `fsync`.
///
/// With this value it is taken away, whoever uses it.
pub struct FaultFs {
    point: PathBuf,
    held: Held,
    _session: BackgroundSession,
}

/// The answers that are kept back. One that is dropped goes out as EIO.
type Held = Arc<Mutex<Vec<Box<dyn Send>>>>;

impl FaultFs {
    /// Mounts one. Needs root and `/dev/fuse`; the thread should be in a [mount namespace of its own](crate::private).
    pub fn mount(point: &Path) -> Self {
        let held = Held::default();
        let files = Files { names: Mutex::default(), held: Arc::clone(&held) };
        let session = fuser::spawn_mount(files, point, &Config::default()).expect("a FUSE mount");
        Self { point: point.to_owned(), held, _session: session }
    }

    /// How many operations wait for their answers.
    pub fn hanging(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends all waiting, with EIO.
    pub fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        // fuse.rst, "Aborting a filesystem connection": a forced unmount ends all waiting.
        umount2(&self.point, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).expect("the file system is gone already");
    }
}

struct Files {
    /// The names asked for so far; a file's number is two more than its place.
    names: Mutex<BTreeMap<String, u64>>,
    held: Held,
}

/// The number of the first file.
const FIRST: u64 = 2;
const NO_TIME: Duration = Duration::ZERO;

impl Files {
    /// The number of a file that may be new.
    fn number(&self, name: &str) -> u64 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let next = FIRST + names.len() as u64;
        *names.entry(name.to_owned()).or_insert(next)
    }

    /// What is to happen instead of this operation on this file.
    fn fault(&self, file: INodeNo, operation: &str) -> Option<Fault> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, _) = names.iter().find(|(_, number)| **number == file.0)?;
        Fault::of(name, operation)
    }

    fn hold(&self, reply: impl Send + 'static) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(reply));
    }
}

enum Fault {
    Hang,
    Fail(Errno),
}

impl Fault {
    fn of(name: &str, operation: &str) -> Option<Self> {
        let (fault, rest) = name.split_once('-')?;
        rest.starts_with(operation).then_some(match fault {
            "hang" => Self::Hang,
            "eio" => Self::Fail(Errno::EIO),
            "enospc" => Self::Fail(Errno::ENOSPC),
            "erofs" => Self::Fail(Errno::EROFS),
            _ => return None,
        })
    }
}

fn attributes(number: INodeNo) -> FileAttr {
    let is_root = number == INodeNo::ROOT;
    FileAttr {
        ino: number,
        size: 1 << 20,
        blocks: 2048,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_root { FileType::Directory } else { FileType::RegularFile },
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Does what a file's fault says, else goes on.
macro_rules! unless_faulty {
    ($files:ident, $fault:expr, $reply:ident) => {
        match $fault {
            Some(Fault::Hang) => return $files.hold($reply),
            Some(Fault::Fail(errno)) => return $reply.error(errno),
            None => {}
        }
    };
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Otherwise one look-up that hangs keeps all others in the directory waiting.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_string_lossy();
        unless_faulty!(self, Fault::of(&name, "lookup"), reply);
        reply.entry(&NO_TIME, &attributes(INodeNo(self.number(&name))), Generation(0));
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&NO_TIME, &attributes(file));
    }

    fn setattr(
        &self,
        _: &Request,
        file: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&NO_TIME, &attributes(file));
    }

    fn open(&self, _: &Request, file: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        unless_faulty!(self, self.fault(file, "open"), reply);
        // Every read and write comes here, and none is answered from the page cache.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        file: INodeNo,
        _: FileHandle,
        _: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        unless_faulty!(self, self.fault(file, "read"), reply);
        reply.data(&vec![b'x'; size as usize]);
    }

    fn write(
        &self,
        _: &Request,
        file: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        unless_faulty!(self, self.fault(file, "write"), reply);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn flush(&self, _: &Request, file: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        unless_faulty!(self, self.fault(file, "flush"), reply);
        reply.ok();
    }

    fn fsync(&self, _: &Request, file: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        unless_faulty!(self, self.fault(file, "fsync"), reply);
        reply.ok();
    }
}

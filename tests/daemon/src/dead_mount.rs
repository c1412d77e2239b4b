//! A file system that never answers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A FUSE mount whose server takes part in the opening handshake and then reads no request any more. Other than with
/// [`FaultFs`](crate::FaultFs), a process that waits for it can be killed, as with NFS: the kernel (`fs/fuse/dev.c`) waits for an answer to what
/// a server has read in any case. Dropped, it fails what hangs on it.
pub struct DeadMount {
    path: PathBuf,
    server: Option<File>,
    _dir: tempfile::TempDir,
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // Without its server nothing hangs there any more.
        self.server = None;
        umount2(&self.path, MntFlags::MNT_DETACH).unwrap();
    }
}

/// The lengths of the messages of linux/fuse.h that are exchanged.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
const INIT_OUT: usize = 64;
/// FUSE_INIT
const INIT: u32 = 26;

impl DeadMount {
    /// Mounts one. Needs root and `/dev/fuse`; the thread should be in a [mount namespace of its own](crate::private).
    #[expect(clippy::new_without_default, reason = "it does something to the world")]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        fs::create_dir(&path).unwrap();
        let mut server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("dead"), &path, Some("fuse"), flags, Some(options.as_str())).unwrap();
        shake_hands(&mut server);
        Self { path, server: Some(server), _dir: dir }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Answers FUSE_INIT with protocol 7.31: `struct fuse_out_header` and `struct fuse_init_out`.
fn shake_hands(server: &mut File) {
    let mut request = vec![0; 1 << 16];
    let length = server.read(&mut request).unwrap();
    let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
    assert!(length >= IN_HEADER && word(4) == INIT, "the kernel did not begin with FUSE_INIT");
    let mut reply = vec![0; OUT_HEADER + INIT_OUT];
    reply[..4].copy_from_slice(&u32::try_from(OUT_HEADER + INIT_OUT).unwrap().to_ne_bytes());
    reply[8..16].copy_from_slice(&request[8..16]);
    for (at, value) in [(0, 7u32), (4, 31), (20, 4096)] {
        reply[OUT_HEADER + at..OUT_HEADER + at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    server.write_all(&reply).unwrap();
}

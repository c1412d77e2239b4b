//! A guest made of files, with users whose home directories are below a temporary directory.

#![allow(dead_code, missing_docs)]

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use guestd_sdk::CommandError;
use guestd_sdk::testkit::{Settings, TestKit};
use rustix::process::geteuid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The user's number where the tests run as root; no such user has to exist.
pub const ALICE: u32 = 4242;

pub struct Guest {
    root: TempDir,
    pub kit: TestKit,
    /// Alice's number: [`ALICE`], or our own where we cannot be anybody else.
    pub uid: u32,
}

impl Guest {
    /// A guest with the user alice, whose home directory is empty, and the user ghost, who has none.
    pub fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    /// The same in memory, where there is such a place: a change waits for the disk.
    pub fn in_memory() -> Self {
        Self::in_directory(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_directory(root: TempDir) -> Self {
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (uid, gid) =
            if is_root() { (ALICE, ALICE) } else { (geteuid().as_raw(), rustix::process::getegid().as_raw()) };
        fs::create_dir_all(root.path().join("etc")).unwrap();
        let passwd = format!("alice:x:{uid}:{gid}::/home/alice:/bin/sh\nghost:x:{uid}:{gid}::/home/ghost:/bin/sh\n");
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        let home = root.path().join("home/alice");
        fs::create_dir_all(&home).unwrap();
        let settings = Settings { config: json!({"rehearsal": root.path()}), ..Settings::default() };
        let kit = TestKit::start_with(guestd_account::plugin_module(), settings).unwrap();
        let guest = Self { root, kit, uid };
        guest.own(&home, 0o755);
        guest
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home/alice")
    }

    pub fn ssh(&self) -> PathBuf {
        self.home().join(".ssh")
    }

    pub fn keys(&self) -> PathBuf {
        self.ssh().join("authorized_keys")
    }

    /// Makes the key file and its directory as the user would have.
    pub fn write_keys(&self, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.ssh()).unwrap();
        self.own(&self.ssh(), 0o700);
        fs::write(self.keys(), text).unwrap();
        self.own(&self.keys(), 0o600);
    }

    pub fn text(&self) -> String {
        fs::read_to_string(self.keys()).unwrap()
    }

    /// Gives a file or directory to alice.
    pub fn own(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        if is_root() {
            chown(path, Some(ALICE), Some(ALICE)).unwrap();
        }
    }

    pub fn get(&self) -> Result<Value, String> {
        self.kit.call("guest-ssh-get-authorized-keys", json!({"username": "alice"})).map_err(text)
    }

    pub fn add(&self, keys: &[&str]) -> Result<Value, String> {
        self.kit.call("guest-ssh-add-authorized-keys", json!({"username": "alice", "keys": keys})).map_err(text)
    }

    pub fn remove(&self, keys: &[&str]) -> Result<Value, String> {
        self.kit.call("guest-ssh-remove-authorized-keys", json!({"username": "alice", "keys": keys})).map_err(text)
    }

    /// The names in the directory `.ssh`.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.ssh()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Owner, group and mode.
pub fn access(path: &Path) -> (u32, u32, u32) {
    let metadata: Metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

pub fn text(error: CommandError) -> String {
    error.desc().to_owned()
}

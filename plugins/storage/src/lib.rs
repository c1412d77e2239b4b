#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
//! The command set `storage`: the guest's file systems and disks, and giving free space back to the host.
//!
//! * [`types`]: what goes over the wire.
//! * `fsinfo`, `disks`, `diskstats`, `fstrim`: a command each.
//! * `mountinfo`, `filesystems`: the mount table, and the local file systems in it. `pools`: those of several devices.
//! * `space`: how full a file system is, on a thread that may be left behind.
//! * `block`, `address`, `serial`, `smart`: what sysfs, udev and the disk itself say about a block device.
//! * `kernel`: the calls that can hang or change something, with a double for tests.
//! * `machine`: where `/proc`, `/sys`, `/dev` and `/run/udev` are, and in tests the directory that takes their place.
//!
//! Everything is read anew for each request: disks come and go.

mod address;
mod block;
mod config;
mod disks;
mod diskstats;
mod filesystems;
mod fsinfo;
mod fstrim;
mod kernel;
mod machine;
/// Public for the tests of what reads bytes from outside.
#[doc(hidden)]
pub mod mountinfo;
mod pools;
mod serial;
mod smart;
mod space;
mod storage;
pub mod types;

use storage::Storage;

// A disk of terabytes on a slow backend is trimmed for as long as it takes.
guestd_sdk::plugin! {
    name: "storage",
    vendor: "guestd",
    summary: "File systems, disks, and trimming free space",
    capabilities: [CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH],
    state: Storage = Storage::start,
    reload: Storage::reload,
    commands: {
        "guest-get-fsinfo" within 60 => fsinfo::get_fsinfo,
        "guest-get-disks" within 60 => disks::get_disks,
        "guest-get-diskstats" [INSTANT] => diskstats::get_diskstats,
        "guest-fstrim" within 3600 => raw fstrim::fstrim as fn(types::TrimArgs) -> types::TrimResponse,
    }
}

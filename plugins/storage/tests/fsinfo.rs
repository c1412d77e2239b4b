//! `guest-get-fsinfo` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::Path;

use common::{Guest, address, error, with};
use rustix::fs::{AtFlags, StatxFlags};
use serde_json::{Value, json};

const TABLE: &str = "proc/self/mountinfo";
const VDA: &str = "pci0000:00/0000:00:03.0/virtio1/block/vda";
const SDA: &str = "pci0000:00/0000:00:06.0/virtio3/host0/target0:0:0/0:0:0:0/block/sda";

/// The number of the mount that a path lies on.
fn mount_of(path: &Path) -> u64 {
    rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).unwrap().stx_mnt_id
}

/// The disks of the only file system, whose device is `number`.
fn disks_of(guest: &Guest, number: &str) -> Value {
    guest.file(TABLE, format!("27 1 {number} / /none rw - ext4 /dev/root rw\n"));
    let systems = guest.list("guest-get-fsinfo");
    assert_eq!(systems.len(), 1);
    systems[0]["disk"].clone()
}

#[test]
fn file_systems_are_listed_with_their_size_and_their_disk() {
    let guest = Guest::new();
    guest.device(VDA, "254:0").partition(&format!("{VDA}/vda1"), "254:1").dir("data").dir("a b");
    guest.file("run/udev/data/b254:1", "E:ID_SERIAL=SER\n");
    let id = mount_of(&guest.path(""));
    guest.file(
        TABLE,
        format!(
            "22 1 0:21 / /proc rw - proc proc rw\n\
             {id} 1 254:1 / /data rw shared:1 - ext4 /dev/vda1 rw\n\
             28 1 0:50 / /net rw - nfs4 server:/export rw\n\
             29 1 254:1 /x /bind rw - ext4 /dev/vda1 rw\n\
             {id} 1 254:0 / /a\\040b ro - xfs /dev/vda ro\n\
             31 1 8:9 / /gone rw - vfat /dev/sdx9 rw\n"
        ),
    );
    let systems = guest.list("guest-get-fsinfo");
    let [gone, space, data] = systems.as_slice() else { panic!("{systems:?}") };
    assert_eq!(*gone, json!({"name": "sdx9", "mountpoint": "/gone", "type": "vfat", "disk": []}));
    assert_eq!((&space["mountpoint"], &space["name"], &space["type"]), (&json!("/a b"), &json!("vda"), &json!("xfs")));
    assert_eq!(space["disk"], json!([address("virtio", 3, 0, 0, 0, "/dev/vda")]));
    let disk = with(address("virtio", 3, 0, 0, 0, "/dev/vda1"), "serial", "SER");
    assert_eq!((&data["name"], &data["disk"]), (&json!("vda1"), &json!([disk])));

    let stat = rustix::fs::statvfs(guest.path("data")).unwrap();
    let privileged = data["total-bytes-privileged"].as_u64().unwrap();
    assert_eq!(privileged, stat.f_blocks * stat.f_frsize);
    let (used, total) = (data["used-bytes"].as_u64().unwrap(), data["total-bytes"].as_u64().unwrap());
    assert!(used > 0 && used <= total && total <= privileged, "{data}");
    assert_eq!(data.as_object().unwrap().len(), 7);
}

#[test]
fn volumes_are_looked_through_down_to_their_disks() {
    let guest = Guest::new();
    guest.device(VDA, "254:0").partition(&format!("{VDA}/vda1"), "254:1").device(SDA, "8:0");
    guest.volume("md0", "9:0", &["vda1", "sda"]).partition("virtual/block/md0/md0p1", "259:5");
    guest.volume("dm-1", "252:1", &["md0p1"]).volume("dm-0", "252:0", &["dm-1", "sda", "missing"]);
    guest.volume("loop0", "7:0", &[]).volume("dm-2", "252:2", &["loop0"]);
    let vda1 = address("virtio", 3, 0, 0, 0, "/dev/vda1");
    let sda = address("scsi", 6, 0, 0, 0, "/dev/sda");
    assert_eq!(disks_of(&guest, "252:0"), json!([sda, vda1]));
    assert_eq!(disks_of(&guest, "252:2"), json!([]));
    assert_eq!(disks_of(&guest, "7:0"), json!([]));
}

#[test]
fn volumes_that_hold_each_other_end_somewhere() {
    let guest = Guest::new();
    guest.device(VDA, "254:0").volume("dm-0", "252:0", &["dm-1", "dm-0"]).volume("dm-1", "252:1", &["dm-0", "vda"]);
    assert_eq!(disks_of(&guest, "252:0"), json!([address("virtio", 3, 0, 0, 0, "/dev/vda")]));
}

#[test]
fn every_way_to_a_multipath_disk_is_listed() {
    let guest = Guest::new();
    let path = |host: u32, slot: u32| {
        format!("pci0000:00/0000:00:0{slot}.0/virtio3/host{host}/target{host}:0:1/{host}:0:1:0/block")
    };
    guest.device(&format!("{}/sda", path(0, 6)), "8:0").device(&format!("{}/sdb", path(1, 7)), "8:16");
    guest.volume("dm-0", "252:0", &["sdb", "sda"]);
    let expected = json!([address("scsi", 6, 0, 1, 0, "/dev/sda"), address("scsi", 7, 0, 1, 0, "/dev/sdb")]);
    assert_eq!(disks_of(&guest, "252:0"), expected);

    let guest = Guest::new();
    let subsystem = "virtual/nvme-subsystem/nvme-subsys0";
    guest
        .device(&format!("{subsystem}/nvme0n1"), "259:0")
        .partition(&format!("{subsystem}/nvme0n1/nvme0n1p2"), "259:2");
    for slot in [2, 3] {
        let target = format!("../../../pci0000:00/0000:00:0{slot}.0/nvme/nvme{slot}");
        guest.link(&format!("sys/devices/{subsystem}/nvme{slot}"), &target);
    }
    let expected =
        json!([address("nvme", 2, 0, 0, 0, "/dev/nvme0n1p2"), address("nvme", 3, 0, 0, 0, "/dev/nvme0n1p2"),]);
    assert_eq!(disks_of(&guest, "259:2"), expected);
}

#[test]
fn btrfs_has_all_its_disks() {
    let guest = Guest::new();
    guest.device(VDA, "254:0").device(SDA, "8:0");
    guest.dir("sys/fs/btrfs/features").link("sys/fs/btrfs/other/devices/vdz", "x");
    guest.link("sys/fs/btrfs/uuid/devices/vda", "x").link("sys/fs/btrfs/uuid/devices/sda", "x");
    guest.file(TABLE, "27 1 0:44 / /b rw - btrfs /dev/sda rw\n28 1 0:44 /s /s rw - btrfs /dev/sda rw\n");
    let systems = guest.list("guest-get-fsinfo");
    assert_eq!(systems.len(), 1);
    assert_eq!((&systems[0]["name"], &systems[0]["mountpoint"]), (&json!("sda"), &json!("/b")));
    let expected = json!([address("scsi", 6, 0, 0, 0, "/dev/sda"), address("virtio", 3, 0, 0, 0, "/dev/vda")]);
    assert_eq!(systems[0]["disk"], expected);
}

#[test]
fn hostile_tables_are_survived() {
    let guest = Guest::new();
    for table in [
        b"".as_slice(),
        b"\n\n\n",
        b"27 1 8:1",
        b"27 1 8:1 / / rw - ext4",
        b"99999999999 1 8:1 / / rw - ext4 /dev/x rw\n",
        b"27 1 8:1:2 / / rw - ext4 /dev/x rw\n",
    ] {
        guest.file(TABLE, table);
        assert_eq!(guest.list("guest-get-fsinfo"), [] as [Value; 0], "{table:?}");
    }
    guest.file(TABLE, b"27 1 8:1 / /\xff\\377\\012\" rw - ext\xff ../../.. rw\n");
    let systems = guest.list("guest-get-fsinfo");
    let expected =
        json!({"name": "../../..", "mountpoint": "/\u{FFFD}\u{FFFD}\n\"", "type": "ext\u{FFFD}", "disk": []});
    assert_eq!(systems, [expected]);
    std::fs::remove_file(guest.path(TABLE)).unwrap();
    let text = error(guest.kit().call("guest-get-fsinfo", json!({})));
    assert_eq!(text, "failed to open file '/proc/self/mountinfo': No such file or directory");
}

#[test]
fn the_configuration_is_checked() {
    let guest = Guest::new();
    let kit = guest.kit_with(json!({"statfs-wait-ms": 10}));
    let refused = kit.reload(json!({"statfs-wait": 10})).unwrap_err();
    assert_eq!(refused.desc(), "configuration: unknown field `statfs-wait`, expected `statfs-wait-ms` or `rehearsal`");
    assert_eq!(error(kit.call("guest-get-fsinfo", json!({"x": 1}))), "Parameter 'x' is unexpected");
    let refused = guestd_sdk::testkit::TestKit::start(guestd_storage::plugin_module()).err().unwrap();
    assert_eq!(refused.desc(), "a test must set rehearsal to a directory that stands in for the guest");
}

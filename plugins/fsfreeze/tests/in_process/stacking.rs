//! The order of freezing where file systems lie on files of others, from recorded sysfs trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::fake::{World, freeze, thaw};

/// Freezes everything and returns the order.
fn order(world: &World) -> Vec<String> {
    let kit = world.start();
    freeze(&kit).unwrap();
    let calls = world.kernel.calls();
    thaw(&kit).unwrap();
    calls.iter().map(|call| call.strip_prefix("freeze ").unwrap().to_owned()).collect()
}

impl World {
    fn sys(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("sys").join(path)
    }

    /// A block device: its directory and the link by its number.
    fn device(&self, number: &str, directory: &str) {
        let directory = self.sys(directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("dev"), format!("{number}\n")).unwrap();
        fs::create_dir_all(self.sys("dev/block")).unwrap();
        symlink(&directory, self.sys("dev/block").join(number)).unwrap();
    }

    fn loop_device(&self, number: &str, backing: &[u8]) {
        let directory = format!("devices/virtual/block/loop{}", number.replace(':', "_"));
        self.device(number, &directory);
        fs::create_dir_all(self.sys(&directory).join("loop")).unwrap();
        fs::write(self.sys(&directory).join("loop/backing_file"), [backing, b"\n"].concat()).unwrap();
    }

    fn slave(&self, upper: &str, lower: &str) {
        let slaves = self.sys("dev/block").join(upper).join("slaves");
        fs::create_dir_all(&slaves).unwrap();
        let lower_directory = fs::canonicalize(self.sys("dev/block").join(lower)).unwrap();
        symlink(lower_directory, slaves.join(lower)).unwrap();
    }
}

fn empty() -> World {
    let world = World::new();
    world.kernel.unmount_all();
    world
}

#[test]
fn a_loop_comes_before_the_file_system_that_holds_its_file_however_deep() {
    let world = empty();
    // Mounted in an order that the reverse of would freeze the lowest first.
    world.kernel.mount("7:4", "/l4", "ext4");
    world.kernel.mount("7:3", "/l3", "ext4");
    world.kernel.mount("7:2", "/l2", "xfs");
    world.kernel.mount("7:1", "/l1", "ext4");
    world.kernel.mount("8:1", "/", "ext4");
    for (number, file) in [("7:1", "/img1"), ("7:2", "/l1/img2"), ("7:3", "/l2/img3"), ("7:4", "/l3/img4")] {
        world.loop_device(number, file.as_bytes());
    }
    assert_eq!(order(&world), ["7:4", "7:3", "7:2", "7:1", "8:1"]);
}

#[test]
fn a_deleted_backing_file_and_a_hostile_name_are_found() {
    let world = empty();
    world.kernel.mount("7:1", "/m", "ext4");
    world.kernel.mount("7:2", "/n", "ext4");
    world.kernel.mount("8:2", "/a\\040b\\012c", "ext4");
    world.loop_device("7:1", b"/a b\nc/x/img (deleted)");
    world.loop_device("7:2", b"/a b\nc/\xff\n");
    assert_eq!(order(&world), ["7:2", "7:1", "8:2"]);
}

#[test]
fn a_backing_file_below_an_overmount_holds_back_both() {
    let world = empty();
    world.kernel.mount("7:1", "/m", "ext4");
    world.kernel.mount("8:2", "/data", "ext4");
    world.kernel.mount("8:3", "/data", "xfs");
    world.loop_device("7:1", b"/data/img");
    assert_eq!(order(&world), ["7:1", "8:3", "8:2"]);
}

#[test]
fn device_mapper_and_md_lead_to_their_slaves_and_partitions_to_their_disk() {
    let world = empty();
    world.kernel.mount("253:0", "/lv", "xfs");
    world.kernel.mount("8:1", "/data", "ext4");
    world.loop_device("7:0", b"/data/disk.img");
    // A partition of the loop device, in an md, under a dm.
    world.device("259:0", "devices/virtual/block/loop7_0/loop0p1");
    fs::write(world.sys("dev/block/259:0/partition"), "1\n").unwrap();
    world.device("9:0", "devices/virtual/block/md0");
    world.device("253:0", "devices/virtual/block/dm-0");
    world.slave("253:0", "9:0");
    world.slave("9:0", "259:0");
    assert_eq!(order(&world), ["253:0", "8:1"]);
}

#[test]
fn btrfs_counts_once_and_lies_on_all_its_devices() {
    let world = empty();
    world.kernel.mount_with("0:40", "/pool", "btrfs", "/dev/loop1", "rw");
    world.kernel.mount_with("0:40", "/pool/sub", "btrfs", "/dev/loop1", "rw,subvol=/sub");
    world.kernel.mount("8:1", "/one", "ext4");
    world.kernel.mount("8:2", "/two", "ext4");
    world.kernel.node("/dev/loop1", "7:1");
    world.loop_device("7:1", b"/one/img");
    world.loop_device("7:2", b"/two/img");
    for loops in ["loop7_1", "loop7_2"] {
        let devices = world.sys("fs/btrfs/3f1c/devices");
        fs::create_dir_all(&devices).unwrap();
        symlink(world.sys("devices/virtual/block").join(loops), devices.join(loops)).unwrap();
    }
    assert_eq!(order(&world), ["0:40", "8:2", "8:1"]);
}

#[test]
fn bcachefs_has_a_number_of_one_device_and_lies_on_all() {
    let world = empty();
    world.kernel.mount_with("7:1", "/pool", "bcachefs", "/dev/loop1:/dev/loop2", "rw");
    for (number, holder) in [("8:1", "/one"), ("8:2", "/two"), ("8:3", "/three")] {
        world.kernel.mount(number, holder, "ext4");
    }
    world.kernel.node("/dev/loop1", "7:1");
    world.kernel.node("/dev/loop2", "7:2");
    for (number, file) in [("7:1", "/one/img"), ("7:2", "/two/img"), ("7:3", "/three/img")] {
        world.loop_device(number, file.as_bytes());
    }
    // The third is one that the source does not name: it was added while the file system was mounted.
    for (member, device) in [("dev-0", "loop7_1"), ("dev-2", "loop7_3")] {
        let member = world.sys("fs/bcachefs/9d2a").join(member);
        fs::create_dir_all(&member).unwrap();
        symlink(world.sys("devices/virtual/block").join(device), member.join("block")).unwrap();
    }
    assert_eq!(order(&world), ["7:1", "8:3", "8:2", "8:1"]);
}

#[test]
fn an_xfs_log_on_another_device_counts() {
    let world = empty();
    world.kernel.mount_with("8:3", "/x", "xfs", "/dev/sda3", "rw,logdev=/dev/loop1,noquota");
    world.kernel.mount("8:1", "/data", "ext4");
    world.kernel.node("/dev/loop1", "7:1");
    world.loop_device("7:1", b"/data/log");
    assert_eq!(order(&world), ["8:3", "8:1"]);
}

#[test]
fn a_file_in_an_overlay_lies_on_the_overlays_layers() {
    let world = empty();
    world.kernel.mount("7:1", "/m", "ext4");
    world.kernel.mount("8:1", "/low", "ext4");
    world.kernel.mount("8:2", "/up", "ext4");
    world.kernel.mount_with(
        "0:50",
        "/merged",
        "overlay",
        "overlay",
        "rw,lowerdir=/low/a:/low/b,upperdir=/up/u,workdir=/up/w",
    );
    world.loop_device("7:1", b"/merged/img");
    assert_eq!(order(&world), ["7:1", "8:2", "8:1"]);
}

#[test]
fn an_overlay_whose_layer_is_mounted_elsewhere_by_now_may_lie_on_anything() {
    let world = empty();
    world.kernel.mount("8:1", "/", "ext4");
    world.kernel.mount("7:1", "/m", "ext4");
    // By a bind mount, after which the mount at /a was taken away: the reverse order is the deadly one.
    world.kernel.mount("8:2", "/a2", "ext4");
    let layers = "rw,lowerdir=/a/l,upperdir=/a/u,workdir=/a/w";
    world.kernel.mount_with("0:50", "/merged", "overlay", "overlay", layers);
    world.loop_device("7:1", b"/merged/img");
    world.kernel.holder("loop7_1", "0:50");
    assert_eq!(order(&world), ["7:1", "8:2", "8:1"]);
}

#[test]
fn a_link_to_a_layer_is_followed_and_layers_have_options_of_their_own() {
    for options in [
        "rw,lowerdir=/link:/low",
        "rw,lowerdir=/x\\134:y:/link",
        "rw,lowerdir+=/low,lowerdir+=/link",
        "rw,datadir+=/link",
    ] {
        let world = empty();
        world.kernel.mount("8:1", "/", "ext4");
        world.kernel.mount("7:1", "/m", "ext4");
        world.kernel.mount("7:2", "/n", "ext4");
        world.kernel.link("/link", "/n/layer");
        world.kernel.mount_with("0:50", "/merged", "overlay", "overlay", options);
        world.loop_device("7:1", b"/merged/img");
        // The other may lie on anything as well: only the layer says that it is below, and not above.
        world.loop_device("7:2", b"/other/img");
        world.kernel.mount_with("0:51", "/other", "overlay", "overlay", "rw,lowerdir=/o");
        assert_eq!(order(&world), ["7:1", "7:2", "8:1"], "{options}");
    }
}

#[test]
fn a_loop_whose_file_cannot_be_placed_comes_first() {
    let world = empty();
    world.kernel.mount("7:1", "/m", "ext4");
    world.kernel.mount("8:1", "/", "ext4");
    world.kernel.mount("8:2", "/data", "ext4");
    world.loop_device("7:1", b"/in/another/namespace");
    // The number of a file system that is not mounted here.
    world.kernel.holder("loop7_1", "0:99");
    assert_eq!(order(&world), ["7:1", "8:2", "8:1"]);
}

#[test]
fn a_file_whose_path_is_of_another_namespace_is_found_by_its_number() {
    let world = empty();
    world.kernel.mount("7:1", "/m", "ext4");
    world.kernel.mount("7:2", "/n", "ext4");
    world.kernel.mount("8:1", "/data", "ext4");
    world.kernel.mount("0:40", "/pool", "btrfs");
    world.loop_device("7:1", b"/img");
    world.loop_device("7:2", b"/img");
    world.kernel.holder("loop7_1", "8:1");
    // A subvolume's own number, which no mount shows.
    world.kernel.holder("loop7_2", "0:99");
    assert_eq!(order(&world), ["7:2", "0:40", "7:1", "8:1"]);
}

#[test]
fn loops_that_hold_each_other_still_freeze() {
    let world = empty();
    world.kernel.mount("7:1", "/a", "ext4");
    world.kernel.mount("7:2", "/b", "ext4");
    world.loop_device("7:1", b"/b/img");
    world.loop_device("7:2", b"/a/img");
    assert_eq!(order(&world), ["7:2", "7:1"]);
}

#[test]
fn a_guest_without_sysfs_freezes_in_reverse_mount_order() {
    let world = World::new();
    fs::remove_dir_all(world.sys("")).unwrap();
    assert_eq!(order(&world), ["7:2", "7:1", "8:1"]);
    assert!(!Path::new(&world.sys("")).exists());
    assert_eq!(json!(world.kernel.frozen()), json!([]));
}

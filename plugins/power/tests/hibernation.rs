//! Where the image of a guest's memory may go, on a guest made of files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Guest, error, is_silent, logged};
use guestd_sdk::LogLevel;

const UNSUPPORTED: &str = "the requested suspend mode is not supported by the guest";
const STATES: &str = "freeze mem disk\n";

/// A guest that can hibernate, with two disks, the second of them in partitions, and zram.
fn guest() -> Guest {
    let guest = Guest::new();
    offer_all(&guest);
    let vdb = "pci0000:00/0000:00:04.0/virtio2/block/vdb";
    guest.device("pci0000:00/0000:00:03.0/virtio1/block/vda", "254:0");
    guest.device(vdb, "254:16").device(&format!("{vdb}/vdb2"), "254:18");
    guest.file(&format!("sys/devices/{vdb}/vdb2/partition"), "2\n");
    guest.device("virtual/block/zram0", "253:0");
    guest
}

/// The kernel's files say that it can do everything, as they do after each sleep.
fn offer_all(guest: &Guest) {
    guest.file("sys/power/state", STATES);
    guest.file("sys/power/disk", "[platform] shutdown reboot suspend test_resume\n");
}

/// Both commands that need swap hibernate.
#[track_caller]
fn hibernates(guest: &Guest) {
    let kit = guest.kit();
    for command in ["guest-suspend-disk", "guest-suspend-hybrid"] {
        offer_all(guest);
        assert!(is_silent(&kit, command, "{}"));
        assert_eq!(guest.read("sys/power/state"), "disk", "{command}");
    }
}

/// Neither does, and the log says why.
#[track_caller]
fn is_refused(guest: &Guest, why: &str) {
    offer_all(guest);
    let kit = guest.kit();
    for (command, what) in [("guest-suspend-disk", "disk"), ("guest-suspend-hybrid", "hybrid")] {
        kit.log();
        assert_eq!(error(&kit, command, "{}"), UNSUPPORTED, "{why}");
        let line = format!("suspend ({what}): there is no place for the image of the memory: {why}");
        assert_eq!(logged(&kit, LogLevel::Warn).first(), Some(&line));
    }
    assert_eq!(guest.read("sys/power/state"), STATES);
}

#[test]
fn swap_on_a_disk_is_a_place() {
    let guest = guest();
    for (areas, resume) in [
        (["/dev/vda"].as_slice(), "0:0"),
        (&["/dev/vdb2"], "0:0"),
        (&["/dev/vdb2"], "254:18"),
        (&["/dev/zram0", "/dev/vdb2"], "254:18"),
        (&["/dev/vda", "/dev/zram0"], "0:0"),
    ] {
        hibernates(guest.swaps(areas, resume));
    }
    // A kernel without this file, and a device node that only udev knows by this name.
    std::fs::remove_file(guest.root().join("sys/power/resume")).unwrap();
    std::fs::remove_file(guest.root().join("dev/vda")).unwrap();
    hibernates(&guest);
}

#[test]
fn no_swap_is_none() {
    let guest = guest();
    is_refused(&guest, "there is no swap");
    is_refused(guest.swaps(&[], "254:0"), "there is no swap on the device of /sys/power/resume, 254:0");
    is_refused(guest.swaps(&["/dev/vda"], "254:16"), "there is no swap on the device of /sys/power/resume, 254:16");
    is_refused(guest.swaps(&["/dev/gone"], "0:0"), "it is not to be told what /dev/gone lies on");
    // What needs no swap goes on.
    assert!(is_silent(&guest.kit(), "guest-suspend-ram", "{}"));
    assert_eq!(guest.read("sys/power/state"), "mem");
}

#[test]
fn swap_in_memory_is_none_however_deep() {
    let guest = guest();
    for (areas, resume) in [
        (["/dev/zram0"].as_slice(), "0:0"),
        (&["/dev/zram0"], "253:0"),
        // The kernel takes the first, whatever else there is.
        (&["/dev/zram0", "/dev/vda"], "0:0"),
    ] {
        is_refused(guest.swaps(areas, resume), "/dev/zram0 is kept in memory");
    }
    guest.device("virtual/block/ram3", "1:3").volume("md0", "9:0", &["vda", "ram3"]).volume("dm-1", "252:1", &["md0"]);
    is_refused(guest.swaps(&["/dev/dm-1"], "0:0"), "/dev/dm-1 is kept in memory");
    guest.volume("dm-2", "252:2", &["vda", "vdb2"]).volume("dm-3", "252:3", &["dm-2", "dm-3"]);
    hibernates(guest.swaps(&["/dev/dm-3"], "0:0"));

    guest.volume("loop0", "7:0", &[]);
    guest.file("run/image", "0:25 in memory");
    guest.file("sys/devices/virtual/block/loop0/loop/backing_file", "/run/image\n");
    is_refused(guest.swaps(&["/dev/loop0"], "0:0"), "/dev/loop0 is kept in memory");
    guest.file("run/image", "254:18");
    hibernates(guest.swaps(&["/dev/loop0"], "0:0"));
    guest.file("sys/devices/virtual/block/loop0/loop/backing_file", "/run/image (deleted)\n");
    is_refused(guest.swaps(&["/dev/loop0"], "0:0"), "/dev/loop0 is kept in memory");
}

#[test]
fn swap_files_lie_on_their_file_systems() {
    let guest = guest();
    guest.file("swap file", "254:18");
    hibernates(guest.swaps(&["/swap\\040file"], "0:0"));
    hibernates(guest.swaps(&["/dev/zram0", "/swap\\040file"], "254:18"));
    // btrfs has a number of its own.
    guest.file("swap file", "0:44");
    hibernates(guest.swaps(&["/dev/zram0", "/swap\\040file"], "254:18"));
    for lies_on in ["0:25 in memory", "253:0"] {
        guest.file("swap file", lies_on);
        is_refused(guest.swaps(&["/swap\\040file"], "0:0"), "/swap file is kept in memory");
    }
}

#[test]
fn there_is_room_for_the_image() {
    let guest = guest();
    let table = |used: u64| {
        guest.swaps(&[], "0:0");
        guest.file("proc/swaps", &format!("Filename Type Size Used Priority\n/dev/vda partition 1048576 {used} -2\n"));
        &guest
    };
    // 404 MiB: what the kernel keeps the image below, and what it needs besides.
    hibernates(table(1_048_576 - 404 * 1024 - 1));
    is_refused(table(1_048_576 - 404 * 1024), "/dev/vda has 423624704 bytes left, and 423624704 may be needed");
    // 304 MiB: the memory that is used.
    guest.file("proc/meminfo", "MemTotal:  1024000 kB\nMemFree:   716800 kB\n");
    guest.file("proc/swaps", "Filename Type Size Used Priority\n/dev/vda partition 311297 0 -2\n");
    hibernates(&guest);
    guest.file("proc/swaps", "Filename Type Size Used Priority\n/dev/vda partition 311296 0 -2\n");
    is_refused(&guest, "/dev/vda has 318767104 bytes left, and 318767104 may be needed");
    // Where neither can be told the kernel decides.
    guest.file("proc/meminfo", "");
    std::fs::remove_file(guest.root().join("sys/power/image_size")).unwrap();
    hibernates(&guest);
}

#[test]
fn pm_utils_hibernate_into_the_same_swap() {
    let guest = guest();
    guest.program("pm-hibernate", "", 0).program("pm-suspend-hybrid", "", 0).program("pm-suspend", "", 0);
    is_refused(guest.swaps(&["/dev/zram0"], "0:0"), "/dev/zram0 is kept in memory");
    assert!(is_silent(&guest.kit(), "guest-suspend-ram", "{}"));
    assert_eq!(guest.ran(), ["pm-suspend"]);
    assert!(is_silent(&guest.swaps(&["/dev/vda"], "0:0").kit(), "guest-suspend-disk", "{}"));
    assert_eq!(guest.ran(), ["pm-suspend", "pm-hibernate"]);
}

#[test]
fn systemd_knows_better_what_is_a_place() {
    // It may switch swap on for the hibernation.
    let guest = guest();
    guest.systemd("", 0);
    assert!(is_silent(&guest.swaps(&["/dev/zram0"], "0:0").kit(), "guest-suspend-disk", "{}"));
    assert_eq!(guest.ran(), ["systemctl --no-ask-password hibernate"]);
}

#[test]
fn hostile_tables_are_survived() {
    let guest = guest();
    for table in ["", "\n", "Filename\n/dev/vda", "Filename\n/dev/vda partition many 0 -2\n", "Filename\n\\0 \n\\"] {
        guest.file("proc/swaps", table);
        is_refused(&guest, "there is no swap");
    }
    guest.file("proc/swaps", "Filename\n/dev/vda partition 18446744073709551615 1 0\n");
    guest.file("proc/meminfo", "MemTotal: 18446744073709551615 kB\nMemFree: -1 kB\n");
    hibernates(&guest);
}

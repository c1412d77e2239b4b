//! `guest-get-disks` on a guest made of files. The paths are those that real guests of QEMU have.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Guest, address, elsewhere, with};
use serde_json::{Value, json};

/// The address that a device gets whose directory is `path`.
fn address_of(guest: &Guest, path: &str) -> Value {
    guest.device(path, "8:0");
    let disks = guest.list("guest-get-disks");
    assert_eq!(disks.len(), 1, "{disks:?}");
    disks[0]["address"].clone()
}

#[test]
fn each_kind_of_disk_has_its_address() {
    let scsi = "pci0000:00/0000:00:06.0/virtio3/host0";
    let usb = "pci0000:00/0000:00:0d.0/usb2/2-1/2-1:1.0/host12/target12:0:0/12:0:0:0/block/sdi";
    let fibre = "pci0000:00/0000:00:03.0/host1/rport-1:0-0/target1:0:0/1:0:0:5/block/sdf";
    for (path, expected) in [
        ("pci0000:00/0000:00:03.0/virtio1/block/vda", address("virtio", 3, 0, 0, 0, "/dev/vda")),
        (&format!("{scsi}/target0:0:3/0:0:3:1/block/sdb"), address("scsi", 6, 0, 3, 1, "/dev/sdb")),
        (&format!("{scsi}/target0:0:7/0:0:7:16784/block/sdc"), address("scsi", 6, 0, 7, 400, "/dev/sdc")),
        ("pci0000:00/0000:00:08.0/host1/target1:2:1/1:2:1:0/block/sdd", address("scsi", 8, 2, 1, 0, "/dev/sdd")),
        ("pci0000:00/0000:00:0a.0/nvme/nvme0/nvme0n1", address("nvme", 10, 0, 0, 0, "/dev/nvme0n1")),
        (
            "pci0000:00/0000:00:02.0/host6/port-6:0/end_device-6:0/target6:0:4/6:0:4:0/block/sde",
            address("sas", 2, 0, 4, 0, "/dev/sde"),
        ),
        (fibre, address("fibre", 3, 0, 0, 5, "/dev/sdf")),
        ("platform/host3/session1/target3:0:0/3:0:0:2/block/sdg", with(elsewhere("iscsi", "/dev/sdg"), "unit", 2)),
        (usb, elsewhere("usb", "/dev/sdi")),
        ("pci0000:00/0000:00:0e.0/mmc_host/mmc0/mmc0:4567/block/mmcblk0", elsewhere("sd", "/dev/mmcblk0")),
        ("platform/floppy.0/block/fd0", elsewhere("fdc", "/dev/fd0")),
        ("vbd-51712/block/xvda", elsewhere("xen", "/dev/xvda")),
        ("platform/a003c00.virtio_mmio/virtio5/block/vda", elsewhere("virtio", "/dev/vda")),
        ("pseudo_0/adapter0/host14/target14:0:0/14:0:0:0/block/sdj", elsewhere("scsi", "/dev/sdj")),
        ("platform/something/block/odd0", elsewhere("unknown", "/dev/odd0")),
        ("pci0000:00/0000:00:09.0/block/odd1", elsewhere("unknown", "/dev/odd1")),
        ("pci0000:00/0000:00:09.0/virtio1/block/cciss!c0d0", address("virtio", 9, 0, 0, 0, "/dev/cciss/c0d0")),
    ] {
        assert_eq!(address_of(&Guest::new(), path), expected, "{path}");
    }
}

#[test]
fn the_controllers_driver_tells_what_the_numbers_mean() {
    let ata = "pci0000:00/0000:00:01.0";
    for (driver, expected) in [
        ("ahci", address("sata", 1, 0, 0, 2, "/dev/sda")),
        ("sata_nv", address("sata", 1, 0, 0, 2, "/dev/sda")),
        ("ata_piix", address("ide", 1, 2, 0, 1, "/dev/sda")),
    ] {
        let guest = Guest::new();
        guest.file(&format!("sys/devices/{ata}/ata5/ata_port/ata5/port_no"), "3\n");
        guest.link(&format!("sys/devices/{ata}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
        assert_eq!(
            address_of(&guest, &format!("{ata}/ata5/host3/target3:0:1/3:0:1:0/block/sda")),
            expected,
            "{driver}"
        );
    }
    let guest = Guest::new();
    guest.link("sys/devices/pci0000:00/0000:00:07.0/driver", "../../../bus/pci/drivers/sym53c8xx");
    let path = "pci0000:00/0000:00:07.0/host4/target4:0:2/4:0:2:0/block/sde";
    assert_eq!(address_of(&guest, path), address("scsi", 7, 0, 0, 2, "/dev/sde"));
}

#[test]
fn pci_bridges_and_domains_are_passed() {
    let path = "pci0000:00/0000:00:05.0/0000:01:03.1/virtio4/block/vdc";
    let pci = json!({"domain": 0, "bus": 1, "slot": 3, "function": 1});
    assert_eq!(address_of(&Guest::new(), path)["pci-controller"], pci);
    let path = "pci10000:e0/10000:e1:1f.7/nvme/nvme2/nvme2n1";
    let pci = json!({"domain": 0x10000, "bus": 0xe1, "slot": 0x1f, "function": 7});
    assert_eq!(address_of(&Guest::new(), path)["pci-controller"], pci);
}

#[test]
fn channel_devices_have_an_address_of_their_own() {
    let ccw = json!({"cssid": 0, "ssid": 1, "subchno": 0x1f, "devno": 0xab12});
    let path = "css0/0.1.001f/0.1.ab12/virtio5/block/vda";
    assert_eq!(address_of(&Guest::new(), path), with(elsewhere("virtio", "/dev/vda"), "ccw-address", ccw.clone()));
    let path = "css0/0.1.001f/0.1.ab12/virtio5/host0/target0:0:2/0:0:2:3/block/sda";
    let expected = with(with(elsewhere("scsi", "/dev/sda"), "target", 2), "unit", 3);
    assert_eq!(address_of(&Guest::new(), path), with(expected, "ccw-address", ccw));
}

#[test]
fn serial_numbers_are_udevs_or_the_disks_own() {
    let path = "pci0000:00/0000:00:03.0/virtio1/block/vda";
    let serial = |guest: &Guest| address_of(guest, path)["serial"].clone();
    let disk = format!("sys/devices/{path}");

    assert_eq!(serial(&Guest::new()), Value::Null);
    assert_eq!(serial(Guest::new().file(&format!("{disk}/serial"), "")), Value::Null);
    assert_eq!(serial(Guest::new().file(&format!("{disk}/serial"), "VB-0\n")), "VB-0");
    assert_eq!(serial(Guest::new().file(&format!("{disk}/device/serial"), "NV 0      \n")), "NV 0");
    assert_eq!(serial(Guest::new().file(&format!("{disk}/device/vpd_pg80"), b"\0\x80\0\x08  SC0  \0")), "SC0");
    assert_eq!(serial(Guest::new().file(&format!("{disk}/serial"), b"\xff\xfe\n")), "\u{FFFD}\u{FFFD}");

    let guest = Guest::new();
    guest
        .file(&format!("{disk}/serial"), "own")
        .file("run/udev/data/b8:0", "S:x\nE:ID_SERIAL=0QEMU_own\nE:ID_SERIAL_SHORT=x\n");
    assert_eq!(serial(&guest), "0QEMU_own");
    let guest = Guest::new();
    guest.file(&format!("{disk}/serial"), "own").file("run/udev/data/b8:0", b"E:ID_SERIAL=\n\xff\nID_SERIAL=x\n");
    assert_eq!(serial(&guest), "own");
}

#[test]
fn partitions_and_volumes_say_what_they_are_made_of() {
    let guest = Guest::new();
    let vda = "pci0000:00/0000:00:03.0/virtio1/block/vda";
    let nvme = "pci0000:00/0000:00:0a.0/nvme/nvme0/nvme0n1";
    guest.device(vda, "254:0").partition(&format!("{vda}/vda10"), "254:10").partition(&format!("{vda}/vda2"), "254:2");
    guest.device(nvme, "259:0").partition(&format!("{nvme}/nvme0n1p1"), "259:1");
    guest.volume("md0", "9:0", &["vda2", "nvme0n1p1"]).partition("virtual/block/md0/md0p1", "259:2");
    guest.volume("dm-0", "252:0", &["md0p1", "vda10"]).file("sys/devices/virtual/block/dm-0/dm/name", "vg-root\n");
    guest.volume("loop0", "7:0", &[]);

    let whole =
        |name: &str, dependencies: &[&str]| json!({"name": name, "partition": false, "dependencies": dependencies});
    let part = |name: &str, of: &str| json!({"name": name, "partition": true, "dependencies": [of]});
    let expected = [
        with(whole("/dev/dm-0", &["/dev/md0p1", "/dev/vda10"]), "alias", "vg-root"),
        whole("/dev/loop0", &[]),
        whole("/dev/md0", &["/dev/nvme0n1p1", "/dev/vda2"]),
        part("/dev/md0p1", "/dev/md0"),
        with(whole("/dev/nvme0n1", &[]), "address", address("nvme", 10, 0, 0, 0, "/dev/nvme0n1")),
        part("/dev/nvme0n1p1", "/dev/nvme0n1"),
        with(whole("/dev/vda", &[]), "address", address("virtio", 3, 0, 0, 0, "/dev/vda")),
        part("/dev/vda2", "/dev/vda"),
        part("/dev/vda10", "/dev/vda"),
    ];
    assert_eq!(guest.list("guest-get-disks"), expected);
}

#[test]
fn what_holds_nothing_is_not_listed() {
    let guest = Guest::new();
    guest.device("virtual/block/loop0", "7:0").file("sys/devices/virtual/block/loop0/size", "0\n");
    guest.device("virtual/block/loop1", "7:1").file("sys/devices/virtual/block/loop1/size", "many\n");
    guest.device("virtual/block/loop2", "7:2").file("sys/devices/virtual/block/loop2/size", "-1\n");
    let hidden = "pci0000:00/0000:00:0a.0/nvme/nvme0/nvme0c0n1";
    guest.device(hidden, "0:0").file(&format!("sys/devices/{hidden}/hidden"), "1\n");
    guest.link("sys/class/block/gone", "../../devices/gone").file("sys/class/block/file", "no link");
    guest.link("sys/class/block/out", "../../../../../etc").link("sys/class/block/loop9", "loop9");
    assert_eq!(guest.list("guest-get-disks"), [] as [Value; 0]);
}

#[test]
fn loop_devices_without_a_file_are_not_looked_at() {
    let guest = Guest::new();
    for (name, number) in [("loop0", "7:0"), ("loop1", "7:1"), ("zram0", "253:0")] {
        guest.device(&format!("virtual/block/{name}"), number);
    }
    guest.device("pci0000:00/0000:00:09.0/virtio1/block/cciss!c0d0", "104:0");
    guest
        .file("proc/partitions", "major minor  #blocks  name\n\n   7        1      65536 loop1\n 104 0 8 cciss/c0d0\n");
    std::fs::remove_file(guest.path("sys/devices/pci0000:00/0000:00:09.0/virtio1/block/cciss!c0d0/size")).unwrap();
    let disks = guest.list("guest-get-disks");
    let names: Vec<_> = disks.iter().map(|disk| disk["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["/dev/cciss/c0d0", "/dev/loop1", "/dev/zram0"]);
}

#[test]
fn a_virtio_disk_is_asked_for_its_serial_number_once_in_its_life() {
    let guest = Guest::new();
    let disk = "sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda";
    guest.device("pci0000:00/0000:00:03.0/virtio1/block/vda", "254:0");
    let kit = guest.kit();
    let serial = || kit.call("guest-get-disks", json!({})).unwrap()[0]["address"]["serial"].clone();
    guest.file(&format!("{disk}/serial"), "one\n");
    assert_eq!(serial(), "one");
    guest.file(&format!("{disk}/serial"), "two\n");
    assert_eq!(serial(), "two", "this kernel does not number the lives of disks");
    guest.file(&format!("{disk}/diskseq"), "7\n");
    assert_eq!(serial(), "two");
    guest.file(&format!("{disk}/serial"), "three\n");
    assert_eq!(serial(), "two");
    guest.file(&format!("{disk}/diskseq"), "8\n");
    assert_eq!(serial(), "three");
}

#[test]
fn a_namespace_with_several_controllers_has_the_address_of_the_first() {
    let guest = Guest::new();
    guest.device("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:0");
    for (name, slot) in [("nvme10", "0c"), ("nvme2", "0b")] {
        guest.link(
            &format!("sys/devices/virtual/nvme-subsystem/nvme-subsys0/{name}"),
            &format!("../../../pci0000:00/0000:00:{slot}.0/nvme/{name}"),
        );
    }
    let disks = guest.list("guest-get-disks");
    assert_eq!(disks[0]["address"], address("nvme", 11, 0, 0, 0, "/dev/nvme0n1"));
    assert_eq!(disks[0]["dependencies"], json!([]));
}

#[test]
fn a_guest_without_sysfs_has_no_disks() {
    let guest = Guest::new();
    std::fs::remove_dir_all(guest.path("sys")).unwrap();
    assert_eq!(guest.list("guest-get-disks"), [] as [Value; 0]);
}

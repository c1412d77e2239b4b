//! Free space goes back to the host: its images shrink.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use guestd_vm::{Fs, Vm, VmBuilder, boot_or_skip};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// Written to each disk and deleted; 50 MiB of it must go back.
const WRITTEN_MIB: u64 = 52;
const RETURNED: u64 = 50 * MIB;
/// Time for the guest to write it, and for QEMU to make holes.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_trim_shrinks_the_hosts_images() {
    // One more disk, which cannot discard.
    let plain = tempfile::NamedTempFile::new().unwrap();
    plain.as_file().set_len(16 * MIB).unwrap();
    let drive = format!("if=none,id=plain,file={},format=raw,cache=unsafe", plain.path().display());
    let plain_disk = ["-drive", &drive, "-device", "virtio-blk-pci,drive=plain,discard=off"];
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).program("mkfs.ext4").qemu_args(plain_disk);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    vm.run("mkfs.ext4 -q /dev/vdc && mkdir /mnt/plain && mount -t ext4 /dev/vdc /mnt/plain").unwrap();
    // What is free from the start is not to be counted.
    trim(&mut vm, 0);
    let empty = allocated(&vm);

    vm.run(&format!("yes guestd | head -c {MIB} >/tmp/mebibyte")).unwrap();
    for mount in ["/mnt/ext4", "/mnt/xfs"] {
        let fill = format!("for n in $(seq {WRITTEN_MIB}); do cat /tmp/mebibyte || exit 1; done >{mount}/file");
        assert_eq!(vm.sh_for(&format!("{fill} && sync {mount}/file"), LIMIT).unwrap().status, 0);
    }
    let full = allocated(&vm);
    vm.run("rm /mnt/ext4/file /mnt/xfs/file && sync").unwrap();
    let deleted = allocated(&vm);
    let answer = trim(&mut vm, 64 * 1024);
    let trimmed = allocated(&vm);

    for index in 0..2 {
        let mount = &vm.disks()[index].mount;
        let [empty, full, deleted, trimmed] = [&empty, &full, &deleted, &trimmed].map(|bytes| bytes[index]);
        assert!(full >= empty + RETURNED, "{mount}: {empty} bytes before the write, {full} after");
        assert!(deleted >= full, "{mount}: {full} bytes before the deletion, {deleted} after");
        assert!(trimmed + RETURNED <= deleted, "{mount}: {deleted} bytes before the trim, {trimmed} after");
        let entry = entry(&answer, mount);
        assert!(entry["trimmed"].as_u64().unwrap() >= RETURNED, "{entry}");
        assert_eq!(entry["minimum"], 64 * 1024, "{entry}");
        assert_eq!(entry.get("error"), None);
    }
    assert_eq!(*entry(&answer, "/mnt/plain"), json!({"path": "/mnt/plain", "error": "trim not supported"}));
    assert_eq!(vm.run("dmesg | grep -ci 'error'; true").unwrap(), "0");
    vm.run("umount /mnt/plain /mnt/ext4 /mnt/xfs").unwrap();
    vm.stop().unwrap().check().unwrap();
}

/// Trims, and gives the answer for each file system: that of all three and of no other.
fn trim(vm: &mut Vm, minimum: u64) -> Vec<Value> {
    let mut agent = vm.agent().unwrap();
    agent.set_timeout(LIMIT);
    let answer = agent.call("guest-fstrim", json!({"minimum": minimum})).unwrap();
    let paths = answer["paths"].as_array().unwrap().clone();
    let mut names: Vec<&str> = paths.iter().map(|path| path["path"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["/mnt/ext4", "/mnt/plain", "/mnt/xfs"]);
    paths
}

fn entry<'a>(paths: &'a [Value], mount: &str) -> &'a Value {
    paths.iter().find(|path| path["path"] == mount).unwrap()
}

/// What each image takes on the host, in bytes.
fn allocated(vm: &Vm) -> Vec<u64> {
    vm.disks().iter().map(|disk| disk.allocated().unwrap()).collect()
}

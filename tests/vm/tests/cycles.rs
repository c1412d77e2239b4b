//! Freezes and thaws, over and over, of twelve mounts that lie on each other, while eight programs write.
//!
//! `GUESTD_FREEZE_CYCLES` says how often; 1000 take half an hour by emulation.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestd_vm::{Agent, Fs, Vm, VmBuilder, boot_or_skip, note};
use serde_json::json;

/// ext4, xfs, btrfs, the xfs on device-mapper, the ext4 in a file on that, and the ext4 that is mounted over.
const FILE_SYSTEMS: u32 = 6;

/// The mounts, beside those of the disks: the third xfs is that on device-mapper.
const MOUNT: &str = "set -e
mount -t xfs /dev/mapper/data /mnt/dm
mount -t ext4 -o loop /mnt/dm/inner.img /mnt/inner
mount -t btrfs -o subvol=one /dev/vdc /mnt/sub1
mount -t btrfs -o subvol=two /dev/vdc /mnt/sub2
mount -o bind /mnt/ext4 /mnt/bind
mount -o bind /mnt/ext4-2 /mnt/alias
mount -t tmpfs over /mnt/ext4-2
mkdir -p /mnt/ext4/upper /mnt/ext4/work /mnt/xfs/lower
mount -t overlay -o lowerdir=/mnt/xfs/lower,upperdir=/mnt/ext4/upper,workdir=/mnt/ext4/work merged /mnt/merged
";

const MAKE: &str = "set -e
umount /mnt/xfs-2
DM_DISABLE_UDEV=1 dmsetup create data --table \"0 $(blockdev --getsz /dev/vdd) linear /dev/vdd 0\"
cd /mnt && mkdir dm inner sub1 sub2 bind alias merged
mount -t xfs /dev/mapper/data /mnt/dm
truncate -s 48M /mnt/dm/inner.img && mkfs.ext4 -q -F /mnt/dm/inner.img
umount /mnt/dm
btrfs subvolume create /mnt/btrfs/one && btrfs subvolume create /mnt/btrfs/two
";

const UNMOUNT: &str = "set -e
umount /mnt/merged
umount /mnt/ext4-2
umount /mnt/alias
umount /mnt/bind
umount /mnt/sub2
umount /mnt/sub1
umount /mnt/inner
e2fsck -f -n /mnt/dm/inner.img
umount /mnt/dm
";

/// Where the writers write: each through another mount, if two of them lead to the same file system.
const PLACES: [&str; 8] = ["bind", "xfs", "sub1", "sub2", "dm", "inner", "merged", "alias"];

/// Appends numbered records of 4 KiB, and begins anew after 500. When it is to stop, it notes the number of records.
const WRITER: &str = "#!/lib/guest/busybox sh
number=0
: >\"$1\" || exit 1
until [ -e /run/guest/stop ]; do
    [ $number -lt 500 ] || { number=0; : >\"$1\" || exit 1; }
    number=$((number + 1))
    printf '%04095d\\n' $number >>\"$1\" || exit 1
    echo $number >\"$2.now\"
    usleep 2000
done
echo $number >\"$2\"
";

#[test]
fn twelve_mounts_under_load_freeze_and_thaw_again_and_again() {
    let cycles = std::env::var("GUESTD_FREEZE_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let builder = [Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Xfs, Fs::Ext4].into_iter().fold(VmBuilder::new(), VmBuilder::disk);
    let builder = builder.agent(Agent::Guestd).file_with_mode("/lib/guest/records", 0o755, WRITER);
    let builder = builder.module("overlay").module("dm_mod");
    let builder = ["dmsetup", "btrfs", "mkfs.ext4", "e2fsck"].into_iter().fold(builder, VmBuilder::program);
    let Some(mut vm) = boot_or_skip(builder.limit(Duration::from_secs(240 + 8 * u64::from(cycles)))) else {
        return;
    };
    vm.run(MAKE).unwrap();
    vm.run(MOUNT).unwrap();
    for place in PLACES {
        let command = format!("/lib/guest/records /mnt/{place}/records-{place} /run/guest/{place}");
        vm.run(&format!("setsid {command} </dev/null >/dev/null 2>&1 &")).unwrap();
    }
    freeze_and_thaw(&mut vm, cycles);

    vm.run("touch /run/guest/stop").unwrap();
    let counts: Vec<usize> = PLACES.iter().map(|place| written(&mut vm, place)).collect();
    vm.run(UNMOUNT).unwrap();
    // What is read now comes from the disks.
    vm.run("echo 3 >/proc/sys/vm/drop_caches").unwrap();
    vm.run(MOUNT).unwrap();
    for (place, count) in PLACES.into_iter().zip(&counts) {
        let records = (1..=*count).map(|number| format!("{number:04095}\n"));
        let expected = checksum(records.collect::<String>().as_bytes());
        let found = vm.run(&format!("crc32 </mnt/{place}/records-{place}")).unwrap();
        assert_eq!(found, format!("{expected:08x}"), "the {count} records of {place}");
    }
    vm.run(UNMOUNT).unwrap();
    vm.run("umount /mnt/ext4 /mnt/xfs /mnt/btrfs /mnt/ext4-2 && DM_DISABLE_UDEV=1 dmsetup remove data && sync")
        .unwrap();
    vm.stop().unwrap().check().unwrap();
}

fn freeze_and_thaw(vm: &mut Vm, cycles: u32) {
    let mut agent = vm.agent().unwrap();
    // A wrong order would hang until the agent's own deadline.
    agent.set_timeout(Duration::from_secs(400));
    let since = Instant::now();
    let mut halted = Duration::ZERO;
    for cycle in 0..cycles {
        let asked = Instant::now();
        assert_eq!(agent.call("guest-fsfreeze-freeze", json!({})).unwrap(), FILE_SYSTEMS, "cycle {cycle}");
        assert_eq!(agent.call("guest-fsfreeze-thaw", json!({})).unwrap(), FILE_SYSTEMS, "cycle {cycle}");
        halted += asked.elapsed();
        if cycle % 100 == 0 {
            // Each of the writers writes between the freezes.
            let before = progress(vm);
            let moved = |vm: &mut Vm| progress(vm).iter().zip(&before).all(|(now, then)| now != then);
            while !moved(vm) {
                assert!(asked.elapsed() < Duration::from_secs(60), "a writer stands still: {before:?}");
            }
            note(&format!("cycles: {cycle} after {:.0} s", since.elapsed().as_secs_f32()));
        }
    }
    note(&format!(
        "cycles: {cycles} freezes and thaws of {FILE_SYSTEMS} file systems in {:.0} s, {:.0} ms each",
        since.elapsed().as_secs_f32(),
        halted.as_secs_f32() * 1000.0 / cycles as f32
    ));
}

/// The writers' last numbers.
fn progress(vm: &mut Vm) -> Vec<u32> {
    let files: Vec<String> = PLACES.iter().map(|place| format!("/run/guest/{place}.now")).collect();
    loop {
        // One that is about to be written anew is empty.
        let text = vm.sh(&format!("cat {}", files.join(" "))).unwrap().stdout;
        let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if numbers.len() == PLACES.len() {
            return numbers;
        }
    }
}

/// How many records a writer has written, when it has ended.
fn written(vm: &mut Vm, place: &str) -> usize {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = vm.sh(&format!("cat /run/guest/{place}")).unwrap().stdout;
        if let Ok(count) = text.trim().parse() {
            return count;
        }
        assert!(Instant::now() < deadline, "the writer of {place} has not ended, or has failed");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The checksum of busybox's `crc32`.
fn checksum(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 0 { sum >> 1 } else { (sum >> 1) ^ 0xEDB8_8320 })
    })
}

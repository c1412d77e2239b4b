//! Real file systems, frozen for real, in a private root (see `private`). Root only; skipped elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod agent;
mod private;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent::{call, start};
use private::{device_mounts, is_frozen, privately, sh_in};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

/// Waits until something is so; a minute is for ever.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Unmounts these, one after the other. A thread of the agent's may still hold one for a moment after the thaw.
fn unmount(dir: &Path, names: &[&str]) {
    for name in names {
        eventually(&format!("{name} is unmounted"), || {
            let output = Command::new("umount").arg(name).current_dir(dir).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || said.contains("busy"), "{name}: {said}");
            output.status.success()
        });
    }
}

/// How often the long test freezes; the full number is 1000.
fn cycles() -> usize {
    std::env::var("GUESTD_FREEZE_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Appends numbered records until it is told to stop; returns how many.
fn write_records(path: &Path, stop: &AtomicBool) -> u64 {
    let mut file = File::create(path).unwrap();
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        file.write_all(&record(number)).unwrap();
        number += 1;
        if number.is_multiple_of(64) {
            file.sync_data().unwrap();
        }
        if number.is_multiple_of(4096) {
            file.set_len(0).unwrap();
            file = File::create(path).unwrap();
            number = 0;
        }
    }
    file.sync_all().unwrap();
    number
}

fn record(number: u64) -> [u8; 512] {
    let mut record = [0; 512];
    for (at, byte) in record.iter_mut().enumerate() {
        *byte = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (at % 57)) as u8;
    }
    record
}

fn check_records(path: &Path, count: u64) {
    let mut text = Vec::new();
    File::open(path).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(text.len() as u64, count * 512, "{}", path.display());
    for (number, chunk) in text.chunks(512).enumerate() {
        assert!(chunk == record(number as u64), "{}: record {number} is not what was written", path.display());
    }
}

const MANY_KINDS: &str = "
truncate -s 64M ext4.img; mkfs.ext4 -q ext4.img; mkdir ext4; mount -o loop ext4.img ext4
truncate -s 600M xfs.img; mkfs.xfs -q xfs.img; mkdir xfs; mount -o loop xfs.img xfs
truncate -s 256M btrfs.img; mkfs.btrfs -q btrfs.img; mkdir btrfs sub1 sub2; mount -o loop btrfs.img btrfs
btrfs -q subvolume create btrfs/sub1; btrfs -q subvolume create btrfs/sub2
dev=$(findmnt -no SOURCE btrfs)
mount -o subvol=sub1 $dev sub1; mount -o subvol=sub2 $dev sub2
truncate -s 64M xfs/inner.img; mkfs.ext4 -q xfs/inner.img; mkdir inner; mount -o loop xfs/inner.img inner
truncate -s 64M btrfs/sub1/deep.img; mkfs.ext4 -q btrfs/sub1/deep.img; mkdir deep; mount -o loop btrfs/sub1/deep.img deep
truncate -s 32M over.img; mkfs.ext4 -q over.img; mkdir over alias; mount -o loop over.img over; mount --bind over alias; mount -t tmpfs none over
mkdir bind; mount --bind ext4 bind
mkdir ext4/upper ext4/work xfs/lower merged
mount -t overlay overlay -o lowerdir=xfs/lower,upperdir=ext4/upper,workdir=ext4/work merged
mkdir tmp; mount -t tmpfs none tmp
";

#[test]
fn many_kinds_under_load_freeze_and_thaw_again_and_again() {
    privately("many_kinds_under_load_freeze_and_thaw_again_and_again", |base| {
        sh_in(base, MANY_KINDS);
        let kit = start(base, json!({}));
        let stop = Arc::new(AtomicBool::new(false));
        let places = ["ext4", "xfs", "sub1", "sub2", "inner", "deep", "merged", "alias"];
        let writers: Vec<_> = places
            .into_iter()
            .map(|place| {
                let (path, stop) = (base.join(place).join("records"), Arc::clone(&stop));
                thread::spawn(move || {
                    let count = write_records(&path, &stop);
                    (path, count)
                })
            })
            .collect();
        for cycle in 0..cycles() {
            assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(6)), "cycle {cycle}");
            if cycle == 0 {
                for place in ["ext4", "xfs", "btrfs", "inner", "deep", "alias"] {
                    assert!(is_frozen(&base.join(place)), "{place}");
                }
                assert_eq!(call(&kit, "guest-fsfreeze-status"), Ok(json!("frozen")));
            }
            assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(6)), "cycle {cycle}");
        }
        stop.store(true, Ordering::Relaxed);
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for (path, count) in &written {
            check_records(path, *count);
        }
        drop(kit);
        unmount(
            base,
            &[
                "merged", "bind", "over", "over", "alias", "tmp", "inner", "deep", "sub1", "sub2", "btrfs", "xfs",
                "ext4",
            ],
        );
        sh_in(base, "e2fsck -fn ext4.img; e2fsck -fn over.img; xfs_repair -n xfs.img; btrfs check -q btrfs.img");
    });
}

#[test]
fn four_levels_of_loops_freeze_from_the_top_down() {
    privately("four_levels_of_loops_freeze_from_the_top_down", |base| {
        sh_in(
            base,
            "truncate -s 256M 1.img; mkfs.ext4 -q 1.img; mkdir l1 l2 l3 l4; mount -o loop 1.img l1
             truncate -s 128M l1/2.img; mkfs.ext4 -q l1/2.img; mount -o loop l1/2.img l2
             truncate -s 64M l2/3.img; mkfs.ext4 -q l2/3.img; mount -o loop l2/3.img l3
             truncate -s 32M l3/4.img; mkfs.ext4 -q l3/4.img; mount -o loop l3/4.img l4
             for dir in l1 l2 l3 l4; do echo x > $dir/unwritten; done",
        );
        freezes_in_order(base, 4, &["l4", "l3", "l2", "l1"]);
    });
}

/// The mounts by which the files of the loops were opened are gone, so that the files' paths mean nothing, and those
/// that are left came after the loops' own, the lowest last: the table's reverse order is the deadly one.
#[test]
fn four_levels_that_were_mounted_in_the_wrong_order_freeze_from_the_top_down() {
    privately("four_levels_that_were_mounted_in_the_wrong_order_freeze_from_the_top_down", |base| {
        sh_in(
            base,
            "truncate -s 256M 1.img; mkfs.ext4 -q 1.img; mkdir l1 l2 l3 l4 later1 later2 later3; mount -o loop 1.img l1
             truncate -s 128M l1/2.img; mkfs.ext4 -q l1/2.img; mount -o loop l1/2.img l2
             truncate -s 64M l2/3.img; mkfs.ext4 -q l2/3.img; mount -o loop l2/3.img l3
             truncate -s 32M l3/4.img; mkfs.ext4 -q l3/4.img; mount -o loop l3/4.img l4
             for level in 3 2 1; do mount --bind l$level later$level; umount -l l$level; done
             for dir in later1 later2 later3 l4; do echo x > $dir/unwritten; done",
        );
        let table: Vec<_> = ["l4", "later3", "later2", "later1"].map(|name| base.join(name)).to_vec();
        assert_eq!(device_mounts(), table, "the order is not the wrong one");
        freezes_in_order(base, 4, &["l4", "later3", "later2", "later1"]);
    });
}

/// Every file system is held open while frozen; the soft limit on descriptors is for other things.
#[test]
fn more_file_systems_than_descriptors_are_frozen_and_hooks_have_the_limit_that_the_agent_was_given() {
    privately(
        "more_file_systems_than_descriptors_are_frozen_and_hooks_have_the_limit_that_the_agent_was_given",
        |base| {
            sh_in(
                base,
                "truncate -s 2M seed; mkfs.ext4 -q seed
                 for n in $(seq 70); do cp --sparse=always seed $n.img; mkdir $n; mount -o loop $n.img $n; done
                 printf '#!/bin/sh\nulimit -Sn >> %s/limits\n' \"$PWD\" > hook; chmod 755 hook",
            );
            let before = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..before }).unwrap();
            let kit = start(base, json!({"hook": base.join("hook")}));
            for _ in 0..2 {
                assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(70)));
                assert!(File::open("/dev/null").unwrap().as_raw_fd() < 64, "nothing is left for others");
                assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(70)));
            }
            assert_eq!(getrlimit(Resource::Nofile).current, Some(64));
            assert_eq!(fs::read_to_string(base.join("limits")).unwrap(), "64\n".repeat(4));
        },
    );
}

fn freezes_in_order(base: &Path, count: u64, points: &[&str]) {
    let kit = start(base, json!({}));
    for _ in 0..3 {
        // A wrong order would hang here; the daemon's deadline would then undo it, and this would be an error.
        let reply = kit.call_raw("guest-fsfreeze-freeze", "{}", 60_000).map_err(|error| error.desc().to_owned());
        assert_eq!(reply.map(|reply| reply.body.to_vec()), Ok(count.to_string().into_bytes()));
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(count)));
    }
    let report = call(&kit, "__org.guestd_fsfreeze-report").unwrap();
    let mounts = report["freeze"]["mounts"].as_array().unwrap();
    let order: Vec<_> = mounts.iter().take(points.len()).map(|mount| mount["mountpoint"].as_str().unwrap()).collect();
    let expected: Vec<_> = points.iter().map(|point| format!("{}/{point}", base.display())).collect();
    assert_eq!(order, expected);
}

#[test]
fn names_of_any_bytes_are_frozen() {
    privately("names_of_any_bytes_are_frozen", |base| {
        sh_in(
            base,
            r#"truncate -s 16M a.img; mkfs.ext4 -q a.img
               name=$(printf 'a b\tc\\d"\351'); mkdir -p "$name"; mount -o loop a.img "$name""#,
        );
        let kit = start(base, json!({}));
        assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(1)));
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(1)));
        unmount(base, &["a.img"]);
    });
}

#[test]
fn a_covered_mount_without_an_alias_is_left_out() {
    privately("a_covered_mount_without_an_alias_is_left_out", |base| {
        sh_in(base, "truncate -s 16M a.img; mkfs.ext4 -q a.img; mkdir a; mount -o loop a.img a; mount -t tmpfs none a");
        let kit = start(base, json!({}));
        assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(0)));
        let report = call(&kit, "__org.guestd_fsfreeze-report").unwrap().to_string();
        assert!(report.contains("mounted over, and reachable nowhere else"), "{report}");
        assert_eq!(device_mounts().len(), 1);
    });
}

/// Whoever asked a FUSE without a server for the way would wait for ever.
#[test]
fn a_fuse_without_a_server_over_the_way_to_a_disk_is_not_asked() {
    privately("a_fuse_without_a_server_over_the_way_to_a_disk_is_not_asked", |base| {
        sh_in(
            base,
            "truncate -s 16M a.img b.img; mkfs.ext4 -q a.img; mkfs.ext4 -q b.img; mkdir -p top/mid b
             mount -o loop a.img top/mid; mount -o loop b.img b",
        );
        let server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        // The kernel takes the connection by the number of the descriptor in the process that mounts.
        rustix::io::fcntl_setfd(&server, rustix::io::FdFlags::empty()).unwrap();
        let fd = server.as_raw_fd();
        sh_in(base, &format!("mount -i -t fuse -o fd={fd},rootmode=40000,user_id=0,group_id=0 dead top"));
        let kit = start(base, json!({}));
        assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(1)));
        assert!(is_frozen(&base.join("b")));
        let report = call(&kit, "__org.guestd_fsfreeze-report").unwrap().to_string();
        assert!(report.contains("mounted over, and reachable nowhere else"), "{report}");
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(1)));
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(0)));
        drop(server);
        sh_in(base, "umount -l top");
    });
}

/// The path of the upper layer, as the table has it, leads to the directory under the mount that is gone; the reverse of
/// the table's order is the deadly one.
#[test]
fn an_image_on_an_overlay_whose_layer_is_mounted_elsewhere_by_now_is_frozen_first() {
    privately("an_image_on_an_overlay_whose_layer_is_mounted_elsewhere_by_now_is_frozen_first", |base| {
        sh_in(
            base,
            "truncate -s 128M a.img; mkfs.ext4 -q a.img; mkdir a a2 merged inner; mount -o loop a.img a
             mkdir a/lower a/upper a/work
             mount -t overlay overlay -o lowerdir=$PWD/a/lower,upperdir=$PWD/a/upper,workdir=$PWD/a/work merged
             truncate -s 32M merged/inner.img; mkfs.ext4 -q merged/inner.img; mount -o loop merged/inner.img inner
             mount --bind a a2; umount -l a; echo x > a2/unwritten; echo x > inner/unwritten",
        );
        freezes_in_order(base, 2, &["inner", "a2"]);
    });
}

#[test]
fn a_file_system_of_which_only_a_fifo_is_mounted_is_left_out() {
    privately("a_file_system_of_which_only_a_fifo_is_mounted_is_left_out", |base| {
        sh_in(
            base,
            "truncate -s 16M a.img b.img; mkfs.ext4 -q a.img; mkfs.ext4 -q b.img; mkdir a b; mount -o loop a.img a
             mount -o loop b.img b; mkfifo a/fifo; touch fifo; mount --bind a/fifo fifo; umount a",
        );
        let kit = start(base, json!({}));
        assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(1)));
        let report = call(&kit, "__org.guestd_fsfreeze-report").unwrap().to_string();
        assert!(report.contains("mounted only as a fifo, a socket or a device node"), "{report}");
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(1)));
        sh_in(base, "umount fifo");
    });
}

#[test]
fn a_bind_mount_of_a_directory_selects_its_file_system() {
    privately("a_bind_mount_of_a_directory_selects_its_file_system", |base| {
        sh_in(
            base,
            "truncate -s 16M a.img; mkfs.ext4 -q a.img; mkdir a al; mount -o loop a.img a; mkdir a/sub; mount --bind a/sub al",
        );
        let kit = start(base, json!({}));
        let names = json!({"mountpoints": [format!("{}//al/", base.display())]});
        assert_eq!(kit.call("guest-fsfreeze-freeze-list", names).unwrap(), json!(1));
        assert!(is_frozen(&base.join("a")));
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(1)));
    });
}

/// A freeze keeps the process in memory, and gives that back.
#[test]
fn memory_and_score_are_held_while_frozen_and_no_longer() {
    privately("memory_and_score_are_held_while_frozen_and_no_longer", |base| {
        sh_in(base, "truncate -s 16M a.img; mkfs.ext4 -q a.img; mkdir a; mount -o loop a.img a");
        let locked = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let score = || fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        // Whether this machine lets root lower the score (CAP_SYS_RESOURCE).
        let lowered = if fs::write("/proc/self/oom_score_adj", "-1000").is_ok() { "-1000\n" } else { "0\n" };
        fs::write("/proc/self/oom_score_adj", "0").unwrap();
        let before = (locked(), score());
        let kit = start(base, json!({"hook": "/bin/true"}));
        assert_eq!(call(&kit, "guest-fsfreeze-freeze"), Ok(json!(1)));
        assert_eq!(score(), lowered);
        assert!(locked() > 500, "{} kB", locked());
        assert_eq!(call(&kit, "guest-fsfreeze-thaw"), Ok(json!(1)));
        eventually("memory is given back", || (locked(), score()) == before);
    });
}

//! Power cuts around a freeze and a thaw: the images mount, hold what was synced, and check clean.
//!
//! Killing QEMU loses what the guest has not yet given to its disks: its page cache, its journal in memory, and
//! requests on their way. A disk that loses its own write cache besides is not played.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use guestd_vm::{
    AgentConn, Disk, Error, Fs, Recorder, StoppedDisks, Vm, VmBuilder, Writer, boot_or_skip, note, request,
};
use serde_json::json;

const KINDS: [Fs; 3] = [Fs::Ext4, Fs::Xfs, Fs::Btrfs];

/// Records that each disk has before the freeze.
const ENOUGH: usize = 12;

/// When QEMU is killed. How long a freeze takes depends on the machine, so the moments are parts of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// After the answer to guest-fsfreeze-freeze.
    Frozen,
    /// After guest-fsfreeze-thaw was sent, by so many hundredths of the time that a thaw takes.
    Thawing(u32),
    /// After guest-fsfreeze-freeze was sent, by so many hundredths of the time that a freeze takes.
    Freezing(u32),
}

/// The first one is also where the times are taken.
const MOMENTS: [Moment; 6] = [
    Moment::Frozen,
    Moment::Thawing(15),
    Moment::Freezing(0),
    Moment::Freezing(10),
    Moment::Freezing(25),
    Moment::Freezing(45),
];

/// How long the agent takes.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    freeze: Duration,
    thaw: Duration,
}

/// What a power cut left.
struct Cut {
    moment: Moment,
    stopped: StoppedDisks,
    /// By disk: the last number of the writer that syncs nothing, if the freeze has made it durable.
    frozen_at: Option<Vec<usize>>,
    console: String,
}

#[test]
fn a_power_cut_around_a_freeze_costs_nothing() {
    let mut cuts = Vec::new();
    let mut times = Times::default();
    for moment in MOMENTS {
        let builder = KINDS.into_iter().fold(VmBuilder::new(), VmBuilder::disk);
        let Some(vm) = boot_or_skip(builder) else {
            return;
        };
        cuts.push(cut(vm, moment, &mut times));
    }
    // After a power cut the guest's kernel replays the logs; so it is here, and the host's needs not know XFS.
    let Some(mut vm) = boot_or_skip(VmBuilder::new().disk(Fs::Blank)) else {
        return;
    };
    for cut in &cuts {
        for (index, disk) in cut.stopped.disks().iter().enumerate() {
            examine(&mut vm, cut, disk, cut.frozen_at.as_ref().map(|numbers| numbers[index]));
        }
    }
    for disk in cuts[0].stopped.disks() {
        damage_is_noticed(&mut vm, disk);
    }
}

/// Lets programs write, has the agent freeze, and kills QEMU at that moment.
fn cut(mut vm: Vm, moment: Moment, times: &mut Times) -> Cut {
    let mounts: Vec<(&str, String)> = vm.disks().iter().map(|disk| (disk.fs.name(), disk.mount.clone())).collect();
    let mut writers = Vec::new();
    for (name, mount) in &mounts {
        writers.push(Writer::start(&mut vm, name, &format!("{mount}/written")).unwrap());
        Recorder::start(&mut vm, name, mount).unwrap();
    }
    for (name, _) in &mounts {
        vm.wait_console(0, &format!("synced {name} {ENOUGH}\r\n"), Duration::from_secs(30)).unwrap();
    }
    let mut agent = vm.agent().unwrap();
    if moment == Moment::Frozen {
        times.freeze = timed(&mut agent, "guest-fsfreeze-freeze");
        times.thaw = timed(&mut agent, "guest-fsfreeze-thaw");
        note(&format!("power cut: {times:?}"));
    }
    let mut frozen_at = None;
    let answered = match moment {
        Moment::Freezing(percent) => answered_within(&mut agent, "guest-fsfreeze-freeze", times.freeze * percent / 100),
        Moment::Frozen | Moment::Thawing(_) => {
            timed(&mut agent, "guest-fsfreeze-freeze");
            let numbers = Writer::expect_still(&writers, &mut vm, Duration::from_millis(300)).unwrap();
            frozen_at = Some(numbers.into_iter().map(|number| usize::try_from(number).unwrap()).collect());
            match moment {
                Moment::Thawing(percent) => {
                    answered_within(&mut agent, "guest-fsfreeze-thaw", times.thaw * percent / 100)
                }
                _ => true,
            }
        }
    };
    let stopped = vm.stop().unwrap();
    let console = stopped.console().unwrap();
    note(&format!("power cut: {moment:?}, {} the answer", if answered { "after" } else { "before" }));
    Cut { moment, stopped, frozen_at, console }
}

/// Freezes or thaws all disks, and gives how long that took.
fn timed(agent: &mut AgentConn, command: &str) -> Duration {
    let sent = Instant::now();
    assert_eq!(agent.call(command, json!({})).unwrap(), KINDS.len());
    sent.elapsed()
}

/// Sends the command and waits, but not beyond its answer.
fn answered_within(agent: &mut AgentConn, command: &str, length: Duration) -> bool {
    agent.send(&request(command, json!({}))).unwrap();
    !length.is_zero() && agent.expect_silence(length).is_err()
}

/// Mounts the image in another guest, compares what it holds, and checks it.
fn examine(vm: &mut Vm, cut: &Cut, disk: &Disk, frozen_at: Option<usize>) {
    let (kind, moment) = (disk.fs.name(), cut.moment);
    if moment == Moment::Frozen && disk.fs == Fs::Ext4 {
        // A frozen ext4 needs no repair: its journal is empty.
        disk.fs.check(&disk.image).unwrap();
    }
    let spare = put_onto_spare(vm, &disk.image);
    vm.run(&format!("mkdir -p /mnt/cut && mount -t {kind} /dev/{} /mnt/cut", spare.device)).unwrap();

    let synced = Recorder::synced(&cut.console, kind);
    assert!(synced >= ENOUGH, "{moment:?}, {kind}: only {synced} records");
    let whole = |file: &str, checked: Result<usize, Error>| {
        checked.unwrap_or_else(|error| panic!("{moment:?}, {kind}, with {synced} records synced: {file}: {error}"))
    };
    let there = whole("records", Recorder::check_records(&read(vm, "records").unwrap_or_default(), synced));
    // A rename is durable some time later only.
    let copied = read(vm, "copy").map_or(0, |copy| whole("copy", Recorder::check_copy(&copy)));
    let durable = frozen_at.unwrap_or(0);
    assert!(durable > 0 || frozen_at.is_none(), "{moment:?}, {kind}: nothing was written before the freeze");
    let written = whole("written", Recorder::check_written(&read(vm, "written").unwrap_or_default(), durable));
    note(&format!(
        "power cut: {moment:?}, {kind}: {there} of {synced} synced records, {copied} in the copy; {written} of \
         {durable} frozen lines"
    ));

    vm.run("umount /mnt/cut").unwrap();
    let checked = disk.fs.check(&spare.image);
    assert!(checked.is_ok(), "{moment:?}, {kind}: {checked:?}");
}

/// A file of the mounted image, if it is there.
fn read(vm: &mut Vm, name: &str) -> Option<String> {
    let output = vm.sh(&format!("cat /mnt/cut/{name}")).unwrap();
    (output.status == 0).then_some(output.stdout)
}

/// The spare disk with the content of an image, of which it gets a larger file's worth of nothing at its end.
fn put_onto_spare(vm: &mut Vm, image: &Path) -> Disk {
    let spare = vm.disks()[0].clone();
    let size = std::fs::metadata(&spare.image).unwrap().len();
    std::fs::File::options().write(true).open(image).unwrap().set_len(size).unwrap();
    spare.restore(image).unwrap();
    vm.run(&format!("blockdev --flushbufs /dev/{}", spare.device)).unwrap();
    spare
}

/// A check that passes must be able to fail: metadata of the same image is overwritten.
fn damage_is_noticed(vm: &mut Vm, disk: &Disk) {
    let spare = put_onto_spare(vm, &disk.image);
    vm.run(&format!("mount -t {} /dev/{} /mnt/cut && umount /mnt/cut", disk.fs.name(), spare.device)).unwrap();
    disk.fs.check(&spare.image).unwrap();
    // ext4: the group descriptors, after the superblock's block of 1 KiB. XFS: the headers of the first
    // allocation group, after the superblock's sector. Btrfs: the first superblock.
    let (at, length) = match disk.fs {
        Fs::Ext4 => (2048, 1024),
        Fs::Xfs => (512, 1024),
        Fs::Btrfs => (65536, 4096),
        Fs::Blank => unreachable!(),
    };
    let image = std::fs::File::options().write(true).open(&spare.image).unwrap();
    image.write_all_at(&vec![0x5A; length], at).unwrap();
    let checked = disk.fs.check(&spare.image);
    assert!(checked.is_err(), "{:?} with damage checks clean: {checked:?}", disk.fs);
}

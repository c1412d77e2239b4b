//! Every command of core, file and fsfreeze over virtio-serial; power has a file of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use guestd_vm::{Client, Fs, Vm, VmBuilder, boot_or_skip};
use qapi::qga;

#[test]
fn every_command_over_virtio_serial() {
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    common::core_by_bytes(&mut vm.agent().unwrap(), Duration::from_millis(1));
    let mut client = vm.client().unwrap();
    common::core_by_client(&mut client);
    common::files_by_client(&mut client, &mut vm);
    common::large_file_by_client(&mut client, &mut vm, 1_500_000);
    freeze_by_client(&mut client, &mut vm);
}

/// The four freeze commands; that nothing is written meanwhile is the matter of `freeze.rs`.
fn freeze_by_client(client: &mut Client, vm: &mut Vm) {
    use qga::GuestFsfreezeStatus::{frozen, thawed};

    assert_eq!(status(client), thawed);
    assert_eq!(client.execute(&qga::guest_fsfreeze_freeze {}).unwrap(), 2);
    assert_eq!(status(client), frozen);
    assert_eq!(frozen_mounts(vm), ["/mnt/ext4", "/mnt/xfs"]);
    assert_eq!(client.execute(&qga::guest_fsfreeze_thaw {}).unwrap(), 2);
    assert_eq!(status(client), thawed);
    assert!(frozen_mounts(vm).is_empty());

    let list = |names: &[&str]| qga::guest_fsfreeze_freeze_list {
        mountpoints: Some(names.iter().map(|&name| name.to_owned()).collect()),
    };
    assert_eq!(client.execute(&list(&["/mnt/xfs", "/nowhere"])).unwrap(), 1);
    assert_eq!(status(client), frozen);
    assert_eq!(frozen_mounts(vm), ["/mnt/xfs"]);
    assert_eq!(client.execute(&qga::guest_fsfreeze_thaw {}).unwrap(), 1);

    // Nothing to freeze: the agent stays thawed.
    assert_eq!(client.execute(&list(&["/nowhere"])).unwrap(), 0);
    assert_eq!(status(client), thawed);
    assert_eq!(client.execute(&qga::guest_fsfreeze_thaw {}).unwrap(), 0);
    assert!(frozen_mounts(vm).is_empty());
}

fn status(client: &mut Client) -> qga::GuestFsfreezeStatus {
    client.execute(&qga::guest_fsfreeze_status {}).unwrap()
}

/// The disks that are frozen: those that the guest's own fsfreeze finds busy.
fn frozen_mounts(vm: &mut Vm) -> Vec<String> {
    let mounts: Vec<String> = vm.disks().iter().map(|disk| disk.mount.clone()).collect();
    let mut is_frozen = |mount: &String| {
        let freeze = vm.sh(&format!("fsfreeze --freeze {mount}")).unwrap();
        if freeze.status == 0 {
            vm.run(&format!("fsfreeze --unfreeze {mount}")).unwrap();
        } else {
            assert!(freeze.stdout.contains("busy"), "{}", freeze.stdout);
        }
        freeze.status != 0
    };
    mounts.into_iter().filter(|mount| is_frozen(mount)).collect()
}

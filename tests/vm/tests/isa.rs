//! The conversations of core and file over an ISA serial port, and a freeze.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use guestd_vm::{Channel, Fs, VmBuilder, boot_or_skip};
use qapi::qga;

#[test]
fn every_set_over_isa_serial() {
    let builder = VmBuilder::new().channel(Channel::Isa).disk(Fs::Ext4);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    common::core_by_bytes(&mut vm.agent().unwrap(), Duration::from_millis(2));
    let mut client = vm.client().unwrap();
    common::core_by_client(&mut client);
    common::files_by_client(&mut client, &mut vm);
    // Bytes that a terminal would change or act upon travel as base64; the line itself is long.
    common::large_file_by_client(&mut client, &mut vm, 20_000);

    assert_eq!(client.execute(&qga::guest_fsfreeze_freeze {}).unwrap(), 1);
    let status = client.execute(&qga::guest_fsfreeze_status {}).unwrap();
    assert_eq!(status, qga::GuestFsfreezeStatus::frozen);
    assert_eq!(client.execute(&qga::guest_fsfreeze_thaw {}).unwrap(), 1);

    // The port is raw: nothing is echoed to the host, and nothing is made CR LF.
    let tty = vm.run("stty -a -F /dev/ttyS1").unwrap();
    for setting in ["-icanon", "-echo", "-isig", "-opost", "-ixon", "-icrnl"] {
        assert!(tty.split_whitespace().any(|word| word.trim_end_matches(';') == setting), "{setting}: {tty}");
    }
}

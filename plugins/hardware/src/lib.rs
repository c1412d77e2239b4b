#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]
//! The command set `hardware`: the guest's processors and its memory, counted and switched on and off.
//!
//! * [`types`]: what goes over the wire.
//! * `vcpus`, `memory`: the files of sysfs that hold each processor's and each memory block's state.
//! * `masks`: which processors are there and online.
//! * `cpustats`: `/proc/stat`.
//! * `auto_online`: processors and memory that are added to the running guest go online by themselves, if wanted.
//! * `machine`: where `/proc` and `/sys` are, and in tests the directory that takes their place.
//! * `attribute`: one file of sysfs.
//!
//! Nothing here adds or removes hardware: that is the host's part.

mod attribute;
mod auto_online;
mod config;
mod cpustats;
mod hardware;
mod machine;
mod masks;
mod memory;
pub mod types;
mod vcpus;

use hardware::Hardware;

// Taking memory offline moves its content elsewhere, which takes the kernel as long as it takes.
guestd_sdk::plugin! {
    name: "hardware",
    vendor: "guestd",
    summary: "Processors and memory blocks, online and offline",
    state: Hardware = Hardware::start,
    reload: Hardware::reload,
    stop: Hardware::stop,
    start_if: "auto-online",
    commands: {
        "guest-get-vcpus" [INSTANT] => vcpus::get_vcpus,
        "guest-set-vcpus" within 120 => vcpus::set_vcpus,
        "guest-get-cpustats" [INSTANT] => cpustats::get_cpustats,
        "guest-get-memory-blocks" => memory::get_memory_blocks,
        "guest-set-memory-blocks" within 300 => memory::set_memory_blocks,
        "guest-get-memory-block-info" [INSTANT] => memory::get_memory_block_info,
    }
}

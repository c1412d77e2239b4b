//! Boots real virtual machines and talks to the guest agent in them.
//!
//! [`VmBuilder`] makes an initramfs with busybox, the kernel's modules and the agent, boots it under
//! QEMU, and gives a [`Vm`]: the agent's channel as raw bytes ([`AgentConn`]) or through the client of
//! the `qapi` crate ([`Client`]), QEMU's monitor ([`Qmp`]), and a root shell ([`Vm::sh`]) on a second
//! port, which works while file systems are frozen or the agent is dead.

mod accel;
mod agent;
mod builder;
mod client;
mod control;
mod cpio;
mod cpu;
mod disk;
mod error;
mod host;
mod initramfs;
mod lines;
mod lock;
mod machine;
mod programs;
mod qmp;
mod recorder;
mod skip;
mod stall;
mod supervise;
mod vm;
mod writer;

pub use agent::{AgentConn, AgentError, Flood, Line, fresh_id, request};
pub use builder::{Agent, Channel, VmBuilder};
pub use client::{Client, SentinelFilter};
pub use control::Output;
pub use cpu::CpuUse;
pub use disk::{Disk, Fs, StoppedDisks};
pub use error::Error;
pub use guestd_sdk::testkit::{not_here, note, skip};
pub use qmp::{Event, Qmp};
pub use recorder::Recorder;
pub use skip::boot_or_skip;
pub use stall::despite_stalls;
pub use vm::Vm;
pub use writer::Writer;

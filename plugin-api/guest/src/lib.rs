#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! The guest, as the daemon and its command sets share it.
//!
//! * [`trust`]: the one rule by which a file of the guest is believed, run or written,
//! * [`descriptors`]: how many descriptors the daemon may have, and the programs that it starts,
//! * [`octal`]: names in the kernel's tables,
//! * [`umask`]: what new files may be read by.

pub mod descriptors;
pub mod octal;
pub mod trust;
pub mod umask;

//! The frozen boundary between guestd and its plugins.
//!
//! Everything that crosses from the daemon into a `.so` and back is defined here and nowhere else. JSON text
//! crosses as bytes; what it means is the business of the crate `guestd-sdk`, which plugin authors use.
//!
//! # What may change
//!
//! This crate is at 1.x for as long as a plugin built against 1.0 must load. Within 1.x:
//!
//! * [`Request`], [`Reply`] and [`CallError`] never change.
//! * [`PluginMod`] and [`Command`] may gain fields at their end, [`Plugin`] and [`Host`] may gain methods at
//!   their end, each with a body; nothing is renamed, reordered, retyped or removed. Names of the parameters of
//!   function pointers are part of the layout too.
//!
//! The daemon checks the layouts of both sides against each other before it calls anything.
//!
//! # Panics, threads, memory
//!
//! * No panic may leave either side: a panic that reaches the boundary ends the process. The sdk catches
//!   panics inside the plugin; the daemon's [`Host`] methods do not panic.
//! * Every buffer carries the deallocator of the library that made it, so the receiver may drop it, grow it
//!   and write into it. Turning the other side's [`RVec`] into a `Vec` copies it.
//! * A library is never unloaded: `&'static` data of a plugin stays valid until the process ends.

// abi_stable's derive macros expand to items that these two lints complain about.
#![allow(non_local_definitions, non_camel_case_types)]
// The derive macros generate public helper items without documentation.
#![allow(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod host;
pub mod manifest;
mod module;
mod plugin;
mod values;

pub use abi_stable;
pub use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RString, RVec};

pub use host::{Host, Host_TO, HostArc, LogLevel};
pub use module::{Command, CommandRef, PluginMod, PluginModRef, command_flags};
pub use plugin::{Plugin, Plugin_TO, PluginBox};
pub use values::{CallError, PANIC_CLASS, Reply, Request, reply_flags, request_flags};

/// The boundary's version, as the manifest in a plugin's ELF note spells it: `major.minor`.
///
/// A macro because the manifest is put together by `concat!`, which takes literals only. It equals the first two
/// numbers of this crate's version, which a test checks.
#[macro_export]
macro_rules! version {
    () => {
        "1.0"
    };
}

/// The boundary's version as numbers: `(major, minor)`.
pub const VERSION: (u32, u32) = (1, 0);

#[cfg(test)]
mod tests {
    #[test]
    fn the_three_spellings_of_the_version_agree() {
        let (major, minor) = crate::VERSION;
        assert_eq!(crate::version!(), format!("{major}.{minor}"));
        assert!(env!("CARGO_PKG_VERSION").starts_with(&format!("{major}.{minor}.")));
    }
}

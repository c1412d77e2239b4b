#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! Everything the author of a guestd plugin needs: typed commands, one macro, and a test kit.
//!
//! A plugin is a crate of type `cdylib` that depends on this crate and on serde:
//!
//! ```
//! use guestd_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct HelloArgs<'a> {
//!     /// Arguments may borrow from the request.
//!     name: &'a str,
//! }
//!
//! #[derive(Serialize)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! fn hello(_: &Ctx<()>, args: HelloArgs<'_>) -> Result<Greeting, CommandError> {
//!     if args.name.is_empty() {
//!         return Err(CommandError::new("nobody to greet"));
//!     }
//!     Ok(Greeting { text: format!("Hello, {}", args.name) })
//! }
//!
//! guestd_sdk::plugin! {
//!     name: "hello",
//!     vendor: "Example Ltd",
//!     summary: "Says hello",
//!     state: () = |_| Ok(()),
//!     commands: { "__com.example_hello" [FREEZE_SAFE] => hello }
//! }
//! # fn main() {}
//! ```
//!
//! What is not here: the layout of what crosses to the daemon (`guestd-abi`), and the daemon itself.
//!
//! * [`plugin!`] declares a plugin and exports it.
//! * [`Ctx`] is what a command gets: the plugin's state and the daemon.
//! * [`args`] turns arguments into types, with QEMU's words for what is wrong with them.
//! * [`answer`] turns results into replies.
//! * [`helpers`] makes calls that may hang for ever.
//! * [`locks`] keeps apart what may hang.
//! * `base64` (a feature) decodes as QEMU's commands do.
//! * `testkit` (a feature) runs a plugin in process, without a daemon.
//! * `schema` (a feature) describes the commands' arguments and answers.

pub mod answer;
pub mod args;
#[cfg(feature = "base64")]
pub mod base64;
mod ctx;
mod daemon;
mod error;
#[doc(hidden)]
pub mod export;
pub mod helpers;
pub mod locks;
#[doc(hidden)]
pub mod root;
#[cfg(feature = "schema")]
pub mod schema;
#[doc(hidden)]
pub mod steps;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use ctx::Ctx;
pub use daemon::{CommandInfo, Daemon, HostFacts, MemoryShare};
pub use error::{CommandError, errno_text, head, quoted};
pub use guestd_abi as abi;
pub use guestd_abi::{LogLevel, Reply, Request, command_flags as flags, request_flags};

/// Nothing, without the feature `schema`: a plugin is described by a build of its own and carries no description.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! schemas {
    ($($tokens:tt)*) => {};
}

/// What a plugin's source begins with: `use guestd_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::answer::{Delimited, Silent};
    pub use crate::args::NoArgs;
    pub use crate::{CommandError, Ctx, Daemon, Reply, Request};
    pub use serde::{Deserialize, Serialize};
}

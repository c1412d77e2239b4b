//! Runs a program to its end, or to its time limit: for command sets that leave work to a program of the guest.
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//! use guestd_program::{End, Program, one_line, system};
//!
//! let mut command = system::command(Path::new("/bin/sh"));
//! command.args(["-c", "cat; exit 3"]);
//! let ended = Program::new(command).input(b"no space\n").run(Duration::from_secs(60))?;
//! assert!(matches!(ended.end, End::Exited(status) if status.code() == Some(3)));
//! assert_eq!(one_line(&ended.output), "no space");
//! # std::io::Result::Ok(())
//! ```
//!
//! A call gives a limit that ends before its deadline (`Request::deadline_ms` of `guestd-sdk`), so that nothing happens
//! that the client was told has failed. The program has a process group of its own, which is killed at the limit, and is waited for:
//! there is no zombie. What it leaves running when it ends in time goes on, and nobody waits for that.
//!
//! * [`Program`] says what is run, and runs it; `process` waits for its end and kills it,
//! * [`Output`] says where its output goes and how much of it may be: [`Together`], [`Apart`] or into [`Memory`],
//! * [`Ended`] is the outcome,
//! * [`Stop`] ends programs from another thread,
//! * [`User`] is whom a confined program runs as,
//! * [`system`] finds programs of the guest and gives them a clean environment.
//!
//! All functions are `#[inline]`: a plugin then has the code of what it uses alone, and no second copy of what that uses of
//! the standard library.
//!
//! What is not here: programs that outlive the call that starts them (the set `exec`).

mod confine;
mod ended;
mod output;
mod process;
mod program;
mod stop;
pub mod system;
mod wait;

pub use confine::User;
pub use ended::{End, Ended, one_line};
pub use output::{Apart, Memory, Output, Together};
pub use program::Program;
pub use stop::Stop;

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]
//! The command set `script`: the operator's own commands, each a program of the guest.
//!
//! A table of the configuration maps a command's name to a program, its arguments and their types. No shell comes in
//! between, and what a client sends is checked before the program is started.
//!
//! * `table` turns the configuration into `CommandSpec`s; `config` is its form, `arguments` the types of arguments,
//!   `parameters` the way from arguments to a program's parameters,
//! * `script` is the state, `run` one call from its arguments to its answer,
//! * `identity` looks up whom a program runs as,
//! * `answer` turns a program's output into an answer.

mod answer;
mod arguments;
mod command;
mod config;
mod identity;
mod parameters;
mod run;
mod script;
mod table;

use script::Script;

guestd_sdk::plugin! {
    name: "script",
    vendor: "guestd",
    summary: "The operator's own commands, made of programs",
    capabilities: [CAP_SETGID, CAP_SETUID],
    state: Script = Script::start,
    reload: Script::reload,
    stop: Script::stop,
    by_name: ("commands", Script::call),
    commands: {}
}

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]
//! The command set `file`: a client opens files of the guest and reads and writes them by handle.
//!
//! * `handles`: the files that are open, by number. A lock for each, so that one on a dead server holds up no other.
//! * `open_file`: one open file, its position and what was read ahead.
//! * `open`, `read`, `write`, `seek`, `close`: the commands; `close` has `guest-file-flush` as well.
//! * `place`: which mount an open has to wait for.
//! * `in_place`: what can be read and written without waiting.
//! * `mode`, `base64`, `deadline`, `huge_pages`: the modes of `fopen(3)`, base64 in a request's own buffer, how long a
//!   client waits, memory for large answers.

mod base64;
mod close;
mod deadline;
mod handles;
mod huge_pages;
mod in_place;
mod mode;
mod open;
mod open_file;
mod place;
mod read;
mod seek;
mod write;

use handles::Files;

guestd_sdk::plugin! {
    name: "file",
    vendor: "guestd",
    summary: "Reads and writes the guest's files by handle",
    // Root reaches every file by this one. Without it the set is bound by the permissions of whom the daemon runs as.
    capabilities: [CAP_DAC_OVERRIDE],
    state: Files = Files::start,
    reload: Files::reload,
    overdue_limit: 8,
    commands: {
        "guest-file-open" within 10 => raw open::open as fn(open::OpenArgs) -> i64,
        "guest-file-close" within 60 => close::close,
        "guest-file-read" [OFTEN_INSTANT] within 60 => raw read::read as fn(read::ReadArgs) -> read::FileRead,
        "guest-file-write" [OFTEN_INSTANT] within 60 => raw write::write as fn(write::WriteArgs<'_>) -> write::Written,
        "guest-file-seek" within 10 => seek::seek,
        "guest-file-flush" [INSTANT] => close::flush,
    }
}

//! Two programs about a staged daemon (`make build`) under a load that nobody should send it:
//!
//! * `soak`: millions of requests, half of them bad, over connections that come and go, with calls that hang; what the daemon has
//!   at the end beside what it had after the first ten thousand. It fails where something grew.
//! * `soak --latency`: how long a ping on another channel takes meanwhile.
//!
//! Both are figures of one machine, and no tests: `make soak`. Root's, for the mount that hangs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bad;
mod connection;
mod good;
mod latency;
mod loads;
mod process;
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

const USAGE: &str =
    "soak [--requests N] [--connections N] [--hung N] [--seed N]\nsoak --latency [--seconds N] [--only LOAD]";

/// What is asked for.
struct Options {
    latency: bool,
    seconds: Duration,
    only: Option<String>,
    soak: soak::Plan,
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options =
        Options { latency: false, seconds: Duration::from_secs(5), only: None, soak: soak::Plan::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(word) = parser.next()? {
        match word {
            Long("latency") => options.latency = true,
            Long("seconds") => options.seconds = Duration::from_secs(parser.value()?.parse()?),
            Long("only") => options.only = Some(parser.value()?.string()?),
            Long("requests") => options.soak.requests = parser.value()?.parse()?,
            Long("connections") => options.soak.connections = parser.value()?.parse()?,
            Long("hung") => options.soak.hung = parser.value()?.parse()?,
            Long("seed") => options.soak.seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let good =
        if options.latency { latency::run(options.seconds, options.only.as_deref()) } else { soak::run(&options.soak) };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `conformance` replays recorded conversations with the QEMU guest agent against
//! any agent that takes the same command line, and compares the answers.
//!
//! See `README.md` of this crate for the use, and the module `cases` for the format.

mod agent;
mod cases;
mod channel;
mod cli_case;
mod json;
mod lenient;
mod matcher;
mod normal;
mod pending;
mod private_root;
mod process;
mod report;
mod run;
mod sandbox;
mod scene;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use regex::Regex;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::agent::Template;
use crate::cases::Case;
use crate::run::Options;
use crate::suite::Selection;

/// Replay recorded guest agent conversations and compare the answers.
///
/// Exit status: 0 if all cases that ran passed, 1 if one failed, 2 for a usage error
/// or if no case ran, 130 if interrupted.
#[derive(Parser)]
#[command(name = "conformance", version)]
struct Args {
    /// Command line of the agent; {sock}, {state}, {dir} and {extra} are filled in.
    #[arg(long, value_name = "TEMPLATE")]
    agent: Template,
    /// Only cases whose id matches.
    #[arg(long, value_name = "REGEX")]
    only: Option<Regex>,
    /// Only cases of this area; may be repeated.
    #[arg(long, value_name = "NAME")]
    area: Vec<String>,
    /// Run the quirk cases too.
    #[arg(long)]
    quirks: bool,
    /// Text and number of JSON parse errors must be the same too.
    #[arg(long)]
    strict: bool,
    /// Object keys must come in the same order too.
    #[arg(long)]
    key_order: bool,
    /// Cases that run at a time.
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// List each pending case and what it waits for.
    #[arg(long, conflicts_with = "no_pending")]
    pending: bool,
    /// Run the cases whose commands the agent does not list, too.
    #[arg(long)]
    no_pending: bool,
    /// Directory of the case files if none are given.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Run the case on standard input in a private namespace kept in this directory.
    #[arg(long, value_name = "BASE", hide = true)]
    inside: Option<PathBuf>,
    /// Case files, or directories of them.
    #[arg(value_name = "CASES", conflicts_with = "cases")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match work(&args) {
        Ok(status) => ExitCode::from(status),
        Err(err) => {
            eprintln!("conformance: {err:#}");
            ExitCode::from(2)
        }
    }
}

fn work(args: &Args) -> Result<u8> {
    sandbox::disarm().context("the agent cannot be made harmless")?;
    let options = Options { template: args.agent.clone(), strict: args.strict, key_order: args.key_order };
    if let Some(base) = &args.inside {
        suite::inside(base, &options)?;
        return Ok(0);
    }
    let cases = chosen(args)?;
    let stop = stop_on_signals()?;
    let listed = if args.no_pending {
        None
    } else {
        let listed = suite::listed_commands(&options);
        Some(listed.context("cannot ask the agent for its commands (--no-pending does without)")?)
    };
    let selection = Selection { quirks: args.quirks, listed };
    let outcomes = suite::run_all(&cases, &selection, &options, args.jobs.into(), &stop)?;
    let (text, count) = report::report(&cases, &outcomes, args.pending);
    if count.exit_status() == 2 {
        eprintln!("conformance: no case ran");
    }
    print!("{text}");
    Ok(if stop.load(Ordering::Relaxed) { 130 } else { count.exit_status() })
}

/// The cases that the arguments ask for.
fn chosen(args: &Args) -> Result<Vec<Case>> {
    let default = || vec![args.cases.clone().unwrap_or_else(default_cases)];
    let paths = if args.files.is_empty() { default() } else { args.files.clone() };
    let mut cases = cases::load(&paths)?;
    for area in &args.area {
        ensure!(cases.iter().any(|case| case.area == *area), "there is no area {area}");
    }
    cases.retain(|case| {
        let area = args.area.is_empty() || args.area.contains(&case.area);
        area && args.only.as_ref().is_none_or(|only| only.is_match(&case.id))
    });
    Ok(cases)
}

/// The cases beside this crate's manifest or, elsewhere, in a checkout.
fn default_cases() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    if built.is_dir() { built } else { PathBuf::from("tests/conformance/cases") }
}

/// A flag that an interruption sets, so that running cases are ended properly.  A
/// second interruption ends the program at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("signal handlers")?;
    }
    Ok(stop)
}

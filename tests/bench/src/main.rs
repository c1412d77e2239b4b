//! guestd measured beside qemu-ga: both in turn in the same run, and a bare echo server as the floor.
//!
//! Nothing here is a test: a number is reported with the target that it is held against, whatever it is.

mod affinity;
mod client;
mod commands;
mod disk;
mod floor;
mod home;
mod machine;
mod measure;
mod options;
mod process;
mod report;
mod results;
mod rows;
mod server;
mod vm;

use std::fs;

use anyhow::{Context, Result};

use commands::Commands;
use measure::Plan;
use options::Options;
use report::Report;
use results::{Placement, Results};

fn main() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    // This program is its own floor: it runs itself as an echo server.
    if let Some(lexopt::Arg::Long("floor")) = arguments.next()? {
        return floor::serve(arguments.value()?.as_ref());
    }
    let Some(options) = Options::read(lexopt::Parser::from_env())? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    let commands = Commands::read(&options.commands)?;
    let placements = match (options.here, options.unpinned) {
        (true, true) => &[Placement::Pinned, Placement::Unpinned][..],
        (true, false) => &[Placement::Pinned],
        (false, _) => &[],
    };
    let mut results = Results::default();
    for &placement in placements {
        affinity::place(placement, options.cpu)?;
        let plan = Plan { options: &options, commands: &commands, placement };
        for round in 0..options.rounds {
            eprintln!("{placement}, round {} of {}", round + 1, options.rounds);
            plan.round(round, &mut results)?;
        }
    }
    affinity::place(Placement::Unpinned, options.cpu)?;
    if options.here {
        disk::measure(&options, &mut results)?;
    }
    let guest = if options.vm { vm::measure(&options, &commands, &mut results)? } else { None };
    let rows = rows::rows(&commands, disk::sets(&options.guestd)?);
    let report = Report::new(&options, &rows, &results, guest.as_ref())?;
    print!("{}", report.text());
    let write = |path: &Option<std::path::PathBuf>, text: &dyn Fn() -> Result<String>| match path {
        Some(path) => fs::write(path, text()?).with_context(|| format!("{} cannot be written", path.display())),
        None => Ok(()),
    };
    write(&options.markdown, &|| Ok(report.markdown()))?;
    write(&options.json, &|| report.json())?;
    write(&options.svg, &|| report::plot(&results))
}

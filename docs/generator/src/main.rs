//! Writes `docs/commands`; `make reference` calls it.

use anyhow::Context;
use guestd_reference::{files, tree, workspace};

fn main() -> anyhow::Result<()> {
    let folder = workspace().join("docs/commands");
    let files = files()?;
    let differences = tree::differences(&folder, &files).context("docs/commands cannot be compared")?;
    for difference in &differences {
        println!("docs/commands/{difference}");
    }
    tree::write(&folder, &files)
}

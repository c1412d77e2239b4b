//! Sizes on disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::options::Options;
use crate::results::{Placement, Results};
use crate::server::Kind;

/// The agents with what they need: guestd with its plugins, qemu-ga with its shared libraries; and both without the
/// libraries that guestd needs too, which are its C library's.
pub fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let plugins = plugins(&options.guestd)?;
    let mut common = libraries(&options.guestd)?;
    for plugin in &plugins {
        common.extend(libraries(plugin)?);
    }
    let theirs = libraries(&options.qemu_ga)?;
    let own: BTreeSet<_> = theirs.difference(&common).cloned().collect();
    let guestd = size(&options.guestd)? + sizes(&plugins)?;
    let qemu_ga = size(&options.qemu_ga)?;
    let mut add = |row, kind, value| results.add(Placement::Pinned, row, kind, value);
    add("disk", Kind::Guestd, guestd);
    add("disk", Kind::QemuGa, qemu_ga + sizes(&theirs)?);
    add("disk-own", Kind::Guestd, guestd);
    add("disk-own", Kind::QemuGa, qemu_ga + sizes(&own)?);
    Ok(())
}

/// How many command sets a staged guestd has.
pub fn sets(guestd: &Path) -> Result<usize> {
    plugins(guestd).map(|plugins| plugins.len())
}

fn plugins(guestd: &Path) -> Result<BTreeSet<PathBuf>> {
    let prefix = guestd.ancestors().nth(2).context("guestd lies in no tree")?;
    let directory = prefix.join("lib/guestd/plugins");
    let mut plugins = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        plugins.insert(entry?.path());
    }
    Ok(plugins)
}

/// The files of the shared libraries that `ldd(1)` lists.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8(output.stdout)?;
    let paths = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    paths.map(|path| fs::canonicalize(path).with_context(|| path.to_owned())).collect()
}

fn sizes<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<f64> {
    paths.into_iter().map(|path| size(path)).sum()
}

/// A file's size in kilobytes of 1024 bytes.
fn size(path: &Path) -> Result<f64> {
    let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.len() as f64 / 1024.0)
}

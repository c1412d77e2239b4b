//! Everything in guestd that takes bytes from outside, with inputs that nobody meant.
//!
//! A [`Target`] is one reader of bytes: a check that must hold for any input, and a generator of inputs that come close to what
//! it understands. The same targets run twice:
//!
//! * `tests/seeded.rs`, on stable, in `make test`: the corpus, made inputs and mutated ones, always the same;
//! * `fuzz/`, by cargo-fuzz on nightly, which looks for new paths: `make fuzz`.
//!
//! | module | what reads |
//! |---|---|
//! | [`stream`] | the daemon's framer and envelope, and the sdk's arguments behind them |
//! | [`arguments`] | the sdk's arguments alone |
//! | [`reply`] | what the daemon checks of a plugin's answer |
//! | [`library`], [`manifest`] | the note in an ELF file, and the text in the note |
//! | [`mounts`] | the mount tables of fsfreeze and storage |
//! | [`settings`] | `guestd.toml` and `qemu-ga.conf` |
//!
//! An input that has found something is kept in `corpus/TARGET`. [`json`] and [`mutate`] make inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod arguments;
pub mod json;
pub mod library;
pub mod manifest;
pub mod mounts;
pub mod mutate;
pub mod reply;
pub mod settings;
pub mod stream;

use std::fs;
use std::path::{Path, PathBuf};

pub use fastrand::Rng;

/// A reader of bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its corpus, too.
    pub name: &'static str,
    /// Panics where something does not hold that must hold for any input.
    pub check: fn(&[u8]),
    /// Makes an input like those that it understands.
    pub make: fn(&mut Rng) -> Vec<u8>,
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    stream::TARGET,
    arguments::TARGET,
    reply::TARGET,
    library::TARGET,
    manifest::TARGET,
    mounts::TARGET,
    settings::TOML,
    settings::KEY_FILE,
];

impl Target {
    /// The inputs that are kept, by their paths.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    #[must_use]
    pub fn corpus(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

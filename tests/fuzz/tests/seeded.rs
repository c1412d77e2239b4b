//! The targets on stable: what has been found before, what generators make, and mutations of both. The seeds are always the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use guestd_fuzz::mutate::mutate;
use guestd_fuzz::{Rng, TARGETS, Target};

/// Inputs a target; `GUESTD_FUZZ_ROUNDS` wants another number.
const ROUNDS: u64 = 400;

/// Checks an input, and keeps one that fails.
fn check(target: &Target, input: &[u8], what: &str) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input))) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-found", target.name));
        fs::write(&kept, input).unwrap();
        eprintln!("{}: {what} has failed; it is kept in {}", target.name, kept.display());
        panic::resume_unwind(panic);
    }
}

fn run(target: &Target) {
    let rounds = std::env::var("GUESTD_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let corpus = target.corpus();
    assert!(corpus.len() >= 3, "{} has no corpus", target.name);
    for (path, input) in &corpus {
        check(target, input, &path.display().to_string());
    }
    for seed in 0..rounds {
        let mut rng = Rng::with_seed(seed);
        let made = (target.make)(&mut rng);
        check(target, &made, &format!("what seed {seed} makes"));
        let base = if rng.bool() { &made } else { &corpus[rng.usize(0..corpus.len())].1 };
        check(target, &mutate(target, &mut rng, base), &format!("a mutation by seed {seed}"));
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                run(TARGETS.iter().find(|target| target.name == $name).unwrap());
            }
        )*

        #[test]
        fn every_target_is_run_and_has_a_fuzzer() {
            assert_eq!(TARGETS.map(|target| target.name), [$($name),*]);
            for name in [$($name),*] {
                let fuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(fuzzer.exists(), "{} is missing", fuzzer.display());
            }
        }
    };
}

targets! {
    a_stream_of_messages: "stream",
    arguments: "arguments",
    a_reply: "reply",
    a_library: "library",
    a_manifest: "manifest",
    a_mount_table: "mounts",
    a_toml_file: "toml",
    a_key_file: "key-file",
}

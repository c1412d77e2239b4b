//! From a request to its outcome, in place and by way of a worker. It needs the staged plugins (`GUESTD_STAGE`, else
//! `target/stage`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use divan::Bencher;
use guestd::cli::Flags;
use guestd::config::{self, Settings, Sources};
use guestd::core::{Core, View};
use guestd::dispatch::{Begun, Dispatcher, Outcome};
use guestd::registry::Registry;
use guestd::state::State;
use guestd::wire::{Envelope, Frame, Framer};
use guestd::workers::{Claim, Workers};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// The settings of a daemon that has the staged plugins and nothing else.
fn settings(dir: &Path) -> Settings {
    let stage = std::env::var_os("GUESTD_STAGE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/stage"), PathBuf::from);
    let file = dir.join("guestd.toml");
    let plugins = stage.join("lib/guestd/plugins").canonicalize().expect("run `make build` first");
    std::fs::write(&file, format!("[plugins]\ndirectories = [{plugins:?}]\n")).unwrap();
    let flags = Flags { config: Some(file.to_str().unwrap().to_owned()), ..Flags::default() };
    config::load(&Sources { flags: &flags, as_qemu_ga: false, purpose: config::Purpose::Run }).unwrap()
}

struct Host {
    dispatcher: Dispatcher,
    runtime: Runtime,
    _state: TempDir,
}

impl Host {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let view = View::new(settings(state.path()), &Registry::default());
        let core = Arc::new(Core::new(view, State::open(state.path(), false).unwrap(), 0o022));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dispatcher: Dispatcher::new(core), runtime, _state: state }
    }

    fn outcome(&self, envelope: Envelope) -> Outcome {
        self.runtime.block_on(async {
            match self.dispatcher.begin(envelope) {
                Begun::Done(outcome) => outcome,
                Begun::Running(running) => running.outcome().await,
            }
        })
    }
}

fn envelope(text: &str) -> Envelope {
    let mut framer = Framer::new();
    framer.space().extend_from_slice(text.as_bytes());
    match framer.next_frame() {
        Some(Frame::Message(message)) => Envelope::read(message).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn bench(bencher: Bencher<'_, '_>, request: &str) {
    let host = Host::new();
    // The first call opens the plugin.
    assert!(host.outcome(envelope(request)).result.is_ok());
    bencher.with_inputs(|| envelope(request)).bench_local_values(|envelope| host.outcome(envelope).result.is_ok());
}

#[divan::bench]
fn instant(bencher: Bencher<'_, '_>) {
    bench(bencher, r#"{"execute":"guest-ping"}"#);
}

#[divan::bench]
fn instant_with_arguments(bencher: Bencher<'_, '_>) {
    bench(bencher, r#"{"execute":"guest-sync","arguments":{"id":1234567}}"#);
}

#[divan::bench]
fn instant_with_a_long_answer(bencher: Bencher<'_, '_>) {
    bench(bencher, r#"{"execute":"guest-info"}"#);
}

#[divan::bench]
fn on_a_worker(bencher: Bencher<'_, '_>) {
    bench(bencher, r#"{"execute":"guest-get-users"}"#);
}

/// The way to a worker and back alone.
#[divan::bench]
fn worker(bencher: Bencher<'_, '_>) {
    let workers = Arc::new(Workers::default());
    let claim = Claim { set: 1, client: 1, own_thread: None };
    bencher.bench_local(|| workers.run(claim, || 1).1.blocking_recv());
}

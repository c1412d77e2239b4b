#!/bin/sh
# Format, lints, documentation, licences.
set -eu

cargo fmt --all -- --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --log-level error check licenses bans sources
else
    echo "SKIPPED: licences, bans and sources: cargo-deny is not installed (cargo install cargo-deny --locked)"
fi

#!/bin/sh
# Format, lints, documentation, licences, the systemd unit.
set -eu

skip() {
    echo "SKIPPED: $1"
    [ "${GUESTD_NO_SKIPS-}" != 1 ] || exit 1
    [ -z "${GUESTD_SKIPS-}" ] || echo "tests/check.sh: $1" >>"$GUESTD_SKIPS"
}

cargo fmt --all -- --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --log-level error check licenses bans sources
else
    skip "licences, bans and sources: cargo-deny is not installed (cargo install cargo-deny --locked)"
fi

# The units of the tree, with a program that exists: an unknown key is no more than a line of output.
service() {
    sed -n '/^\[Service\]/,/^$/p' "packaging/systemd/$1"
}
[ "$(service guestd.service)" = "$(service guestd-channels.service)" ] ||
    { echo "packaging/systemd: the two units differ in their [Service]"; exit 1; }
if command -v systemd-analyze >/dev/null 2>&1; then
    units=$(mktemp -d)
    trap 'rm -rf "$units"' EXIT
    for unit in guestd.service guestd-channels.service; do
        sed 's#^ExecStart=.*#ExecStart=/bin/true#' "packaging/systemd/$unit" >"$units/$unit"
        said=$(systemd-analyze verify --man=no "$units/$unit" 2>&1) && [ -z "$said" ] || { echo "$unit: $said"; exit 1; }
    done
else
    skip "packaging/systemd: systemd-analyze is not installed"
fi

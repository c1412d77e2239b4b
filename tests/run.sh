#!/bin/bash
# Runs all tests against the staged tree $1; `make test` calls it. Each part is run even if one before it fails, and the last
# line counts the parts.
set -u

# A checkout may lie where a group can write, as with the umask 002: from there the daemon believes nothing.
umask 022
own=$(mktemp -d)
chmod 755 "$own"
cp -R "$1" "$own/stage"
stage=$own/stage
export GUESTD_STAGE=$stage
# What does not run is listed at the end; where everything can be installed it is a failure. Some tests run as another user.
GUESTD_SKIPS=$(mktemp)
export GUESTD_SKIPS
chmod 666 "$GUESTD_SKIPS"
trap 'rm -rf "$GUESTD_SKIPS" "$own"' EXIT
if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
    export GUESTD_NO_SKIPS=1
fi
passed=0
failed=0
skipped=0
failures=

part() {
    local name=$1 since=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures="$failures; $name"
    fi
    echo "== $name: $((SECONDS - since)) s"
}

skip() {
    echo "== $1: SKIPPED: $2"
    if [ "${GUESTD_NO_SKIPS-}" = 1 ]; then
        failed=$((failed + 1))
        failures="$failures; $1"
    else
        skipped=$((skipped + 1))
        echo "$1: $2" >>"$GUESTD_SKIPS"
    fi
}

conformance() {
    cargo run --quiet --release -p guestd-conformance -- -j 2 --agent "$stage/sbin/guestd -m unix-listen -p {sock} -t {state} {extra}"
}

# With their schemas, so that the test kit compares each call with them.
sets() {
    local set packages=() features=guestd-sdk/schema-check
    for set in plugins/*/; do
        set=guestd-$(basename "$set")
        packages+=(-p "$set")
        features+=,$set/schema
    done
    cargo test --quiet -p guestd-sdk "${packages[@]}" --features "$features"
}

# Clients that others have written, from PyPI; where they cannot be had they are listed among what did not run.
clients() {
    tests/clients/run.sh "$stage/sbin/guestd"
    local status=$?
    if [ "$status" = 3 ]; then
        echo "other people's clients: Python, pip or PyPI is missing" >>"$GUESTD_SKIPS"
        return 0
    fi
    return "$status"
}

vendor() {
    (cd examples/vendor-plugin && CARGO_TARGET_DIR=../../target/test-plugins/vendor-tests cargo test --quiet)
}

# The servers that are missing are skipped one by one, with a line each.
hooks() {
    local said status
    said=$(mktemp)
    examples/fsfreeze-hooks/test.sh "$stage/sbin/guestd" | tee "$said"
    status=${PIPESTATUS[0]}
    if grep '^skipped: ' "$said" | sed 's/^skipped: /examples\/fsfreeze-hooks: not installed: /' >>"$GUESTD_SKIPS" &&
        [ "${GUESTD_NO_SKIPS-}" = 1 ] && grep -q '^skipped: ' "$said"; then
        status=1
    fi
    rm -f "$said"
    return "$status"
}

has_server() {
    [ -d /usr/lib/postgresql ] || command -v mariadbd >/dev/null || command -v redis-server >/dev/null
}

part "format, lints, documentation, licences" tests/check.sh
part "unit tests of the daemon, trust in files, programs with a time limit, guests as test data" cargo test --quiet -p guestd -p guestd-abi -p guestd-guest -p guestd-program -p guestd-test-guests
part "the sdk, and the command sets in the test kit" sets
part "readers of bytes from outside, with made inputs" cargo test --quiet -p guestd-fuzz
part "the command reference" cargo test --quiet -p guestd-reference
part "fsfreeze killed at each of its steps" cargo test --quiet -p guestd-fsfreeze --features stop-points --test crash
if [ "$(id -u)" = 0 ] && has_server; then
    part "fsfreeze hooks with PostgreSQL, MariaDB and Redis" hooks
else
    skip "fsfreeze hooks with PostgreSQL, MariaDB and Redis" "it takes root and at least one of the servers"
fi
part "a vendor's plugin outside of the workspace" vendor
part "the staged daemon" cargo test --quiet --no-fail-fast -p guestd-daemon-tests
part "other people's clients" clients
part "the conformance runner itself" cargo test --quiet --release -p guestd-conformance
part "conformance with qemu-ga 10.2" conformance
if command -v qemu-system-x86_64 >/dev/null && ls /boot/vmlinuz-*-cloud-* >/dev/null 2>&1; then
    part "in a virtual machine" cargo test --quiet --no-fail-fast -p guestd-vm
else
    skip "in a virtual machine" "qemu-system-x86_64 or Debian's cloud kernel is not installed"
fi

if [ -s "$GUESTD_SKIPS" ]; then
    echo "not run here:"
    sort "$GUESTD_SKIPS" | uniq -c
fi
[ -z "$failures" ] || echo "failed: ${failures#; }"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

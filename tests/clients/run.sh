#!/bin/bash
# Runs other people's clients from PyPI against the agent $1: `run.sh target/stage/sbin/guestd`. They are installed in
# target/clients. The status is 0 when all is well, 1 when a client was not content, 3 when they cannot be had here.
set -u

agent=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
target=$(cd "$here/../.." && realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/clients

missing() {
    echo "SKIPPED: $1"
    exit 3
}

command -v python3 >/dev/null || missing "python3 is not installed"
if ! cmp -s "$here/requirements.txt" "$venv/installed"; then
    rm -rf "$venv"
    python3 -m venv "$venv" >/dev/null 2>&1 || missing "python3 -m venv does not work (Debian: python3-venv)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
        missing "the clients cannot be installed from PyPI"
    cp "$here/requirements.txt" "$venv/installed"
fi

dir=$(mktemp -d)
mkdir "$dir/state"
"$agent" -m unix-listen -p "$dir/s" -t "$dir/state" &
pid=$!
trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 600); do
    [ -S "$dir/s" ] && break
    kill -0 "$pid" 2>/dev/null || exit 1
    sleep 0.1
done
HOME=$dir "$venv/bin/python" "$here/clients.py" "$dir/s" "$dir"

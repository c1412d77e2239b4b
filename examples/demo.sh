#!/bin/sh
# Starts the staged guestd on a socket of its own, has a conversation with it and ends it: `make demo`.
set -eu

# A checkout may lie where a group can write, as with the umask 002: from there the daemon believes nothing.
umask 022
dir=$(mktemp -d)
pid=
# The daemon writes its state at its end, so that the directory can only go behind it.
trap 'kill $pid; wait $pid; rm -rf "$dir"' EXIT
mkdir "$dir/state"
cp -R "$1" "$dir/stage"
guestd=$dir/stage/sbin/guestd

"$guestd" -m unix-listen -p "$dir/socket" -t "$dir/state" &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -S "$dir/socket" ] && break
    sleep 0.1
done

ask() {
    echo "> $*"
    "$guestd" call --socket "$dir/socket" "$@" 2>&1 | tr -s ' \n' ' ' | cut -c 1-110
}

echo "The command sets:"
"$guestd" plugins | cut -c 1-110
echo "A conversation by guestd call:"
ask guest-ping
ask guest-sync '{"id": 1234}'
ask guest-info
handle=$("$guestd" call --socket "$dir/socket" guest-file-open "{\"path\": \"$dir/hello\", \"mode\": \"w+\"}")
ask guest-file-write "{\"handle\": $handle, \"buf-b64\": \"SGVsbG8sIHdvcmxkIQo=\"}"
ask guest-file-seek "{\"handle\": $handle, \"offset\": 0, \"whence\": \"set\"}"
ask guest-file-read "{\"handle\": $handle}"
ask guest-fsfreeze-status
ask guest-shutdown '{"mode": "sideways"}'
printf 'In the guest, %s now says: ' "$dir/hello"
cat "$dir/hello"

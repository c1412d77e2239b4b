#!/lib/guest/busybox sh
# recorder DIRECTORY NAME: appends records to DIRECTORY/records and makes each durable by fsync(2) before it
# prints "synced NAME NUMBER" on the console, which outlives the guest. After every eighth, DIRECTORY/copy is
# replaced by a synced copy, so that names change too.
cd "$1" || exit 1
number=0
while :; do
    number=$((number + 1))
    printf '%08d %0120d\n' "$number" "$number" >>records || exit 1
    sync records || exit 1
    echo "synced $2 $number" >/dev/console
    if [ $((number % 8)) -eq 0 ]; then
        cp records new && sync new && mv new copy || exit 1
    fi
done

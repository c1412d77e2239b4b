#!/lib/guest/busybox sh
# writer FILE NOTE: appends 1, 2, 3 ... to FILE, and to NOTE each number that is written.
number=0
while :; do
    number=$((number + 1))
    echo "$number" >>"$1" || exit 1
    echo "$number" >>"$2" || exit 1
    usleep 20000
done

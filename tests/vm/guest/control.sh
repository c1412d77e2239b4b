#!/lib/guest/busybox sh
# The root shell on the second port. A request is a line "ID SECONDS HEX" (HEX: the
# command line); the answer is "R ID STATUS LENGTH" and LENGTH bytes of output.
# Commands run in the background, so one that hangs on a frozen disk blocks nothing.
# The last directory is for guests with another userland.
PATH=/sbin:/bin:/usr/sbin:/usr/bin:/lib/guest/bin
export PATH
mkdir -p /run/guest/control
rmdir /run/guest/control/lock 2>/dev/null

exec 3<>/dev/virtio-ports/org.guestd.test.control || { sleep 1; exit 1; }

one() {
    file=/run/guest/control/$1
    printf %s "$3" | xxd -r -p >"$file.cmd"
    timeout -s KILL "$2" sh "$file.cmd" </dev/null >"$file.out" 2>&1 3>&-
    status=$?
    until mkdir /run/guest/control/lock 2>/dev/null; do usleep 10000; done
    {
        echo "R $1 $status $(stat -c %s "$file.out")"
        cat "$file.out"
    } >&3
    rmdir /run/guest/control/lock
    rm -f "$file.cmd" "$file.out"
}

echo "H $(cat /proc/sys/kernel/random/boot_id)" >&3
while :; do
    while read -r id seconds hex <&3; do
        one "$id" "$seconds" "$hex" &
    done
    usleep 200000
done

#!/lib/guest/busybox sh
# First program of the guest: mounts, modules, ports, disks, then busybox init.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p /run/guest /run/guestd /run/beside
ip link set lo up

while read -r module; do
    insmod "$module" || echo "guest: insmod $module failed"
done </lib/guest/modules

# Where the memory of a guest that hibernated may be; from there on it is that guest that runs.
if [ -s /lib/guest/resume ]; then
    cat "/sys/class/block/$(cat /lib/guest/resume)/dev" >/sys/power/resume
fi

# No udev here: the named ports are links made by hand, when the last of them has come.
while read -r name; do
    tries=100
    while [ "$tries" -gt 0 ] && ! grep -qsx "$name" /sys/class/virtio-ports/*/name; do
        usleep 50000
        tries=$((tries - 1))
    done
done </lib/guest/ports
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    [ -s "$port/name" ] && ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

while read -r device kind where; do
    mkdir -p "$where"
    mount -t "$kind" "/dev/$device" "$where" || echo "guest: no $kind on $device"
done </lib/guest/disks

exec /sbin/init

#!/lib/guest/busybox sh
# First program of a guest with systemd: loads the modules, puts the agent, its units and the control shell into the image that
# systemd-image.sh has made, and makes that the root.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "$module" || echo "guest: insmod $module failed"
done </lib/guest/modules
until [ -b /dev/vda ]; do usleep 50000; done
mkdir /root.new
mount -t ext4 /dev/vda /root.new
cd /root.new || exit 1

mkdir -p usr/lib/guestd etc/guestd
cp -a /usr/sbin/guestd usr/sbin/
cp -a /usr/lib/guestd/plugins usr/lib/guestd/
cp -a /lib/guest usr/lib/
# What the control shell uses and this system may lack.
mkdir usr/lib/guest/bin
for applet in $(/lib/guest/busybox --list); do
    ln -s ../busybox "usr/lib/guest/bin/$applet"
done
cp /lib/guest/units/*.service usr/lib/systemd/system/
cp /lib/guest/units/*.rules usr/lib/udev/rules.d/
[ ! -e /lib/guest/guestd.toml ] || cp /lib/guest/guestd.toml etc/guestd/
mkdir -p etc/systemd/system/multi-user.target.wants
while read -r unit; do
    ln -s "/usr/lib/systemd/system/$unit" etc/systemd/system/multi-user.target.wants/
done </lib/guest/enabled
echo 6d1c0f0e5a0b4c5f9a4d2f6f1c3b7a90 >etc/machine-id
exec switch_root /root.new /sbin/init

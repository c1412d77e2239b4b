#!/lib/guest/busybox sh
# Makes the guest of the differential run out of the machine that guest.rs describes: udev, file systems, a volume group
# with mounted volumes and one for swap, addresses and routes, and two users who are logged in.
set -e
hostname node7.example.org
# Memory that was plugged in holds only what can be moved then (the kernel's admin-guide/mm/memory-hotplug.rst), so that
# taking it offline cannot fail by chance.
echo auto-movable >/sys/module/memory_hotplug/parameters/online_policy
ln -sfn /run /var/run
ln -s /usr/share/zoneinfo/Asia/Kolkata /etc/localtime
mkdir -p /etc/lvm /run/lock /run/lvm /home/alice/.ssh /home/bob

# Names by which udev and its rules know things; here /lib and /sbin are no links to those below /usr.
ln -s /usr/lib/udev /lib/udev
ln -s /usr/sbin/dmsetup /sbin/dmsetup
ln -s "$(command -v udevadm)" /run/systemd-udevd
/run/systemd-udevd --daemon
udevadm trigger --action=add
# SCSI and NVMe disks come in their own time.
until [ -b /dev/sda ] && [ -b /dev/sr0 ] && [ -b /dev/nvme0n1p1 ]; do usleep 50000; done
udevadm settle --timeout=60

mkfs.ext4 -q /dev/nvme0n1p1
mkdir -p /mnt/nvme
mount /dev/nvme0n1p1 /mnt/nvme

# A volume group over the SCSI disk and one virtio disk: a volume on each, and one that lies on both.
lvm pvcreate -q /dev/sda /dev/vdb
lvm vgcreate -q vg0 /dev/sda /dev/vdb
lvm lvcreate -q -y -n data -L 64M vg0 /dev/sda
lvm lvcreate -q -y -n swap -L 32M vg0 /dev/vdb
lvm lvcreate -q -y -i 2 -n wide -L 64M vg0
udevadm settle --timeout=60
mkfs.ext4 -q /dev/vg0/data
mkfs.ext4 -q /dev/vg0/wide
mkdir -p /mnt/data '/mnt/with a space'
mount /dev/vg0/data /mnt/data
mount /dev/vg0/wide '/mnt/with a space'
mkswap /dev/vg0/swap
swapon /dev/vg0/swap

# A bind mount of a part, and a loop device over a file.
mkdir -p /mnt/data/part /mnt/part
mount --bind /mnt/data/part /mnt/part
dd if=/dev/zero of=/mnt/data/image bs=1M count=8
mkfs.ext4 -q /mnt/data/image
mkdir -p /mnt/loop
mount -o loop /mnt/data/image /mnt/loop
udevadm settle --timeout=60

ip address add 192.0.2.10/24 dev eth0
ip address add 192.0.2.11/24 dev eth0
ip address add 2001:db8::10/64 dev eth0
ip link set eth0 up
ip address add 198.51.100.5/28 dev eth1
ip link set eth1 up
ip link set eth1 mtu 1400
ip route add default via 192.0.2.1 dev eth0
ip route add 203.0.113.0/24 via 198.51.100.1 dev eth1 metric 50
ip -6 route add default via 2001:db8::1 dev eth0
# Addresses are on trial for a second (RFC 4862, 5.4), and have no route of their own until it is over.
for nic in eth0 eth1; do
    until ip -6 address show dev "$nic" | grep fe80 | grep -qv tentative; do usleep 50000; done
done
while ip -6 address | grep -q tentative; do usleep 50000; done

chown -R 1000:1000 /home/alice

# Two users log in, each on a terminal; busybox' login writes their records to utmp.
: >/run/utmp
terminal=5
for who in alice bob; do
    openvt -c "$terminal" -- login -f "$who"
    terminal=$((terminal + 1))
    until who | grep -q "^$who "; do usleep 50000; done
done

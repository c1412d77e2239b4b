#!/bin/sh
# record.sh [ROOT]: the block devices of the guest that it runs in, or of the one below ROOT, as lines of a case's `devices`.
root=${1-}
cd "$root/sys/class/block" || exit 1

# A file that has something in it, line by line.
text() {
    [ -s "$root$1" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s = %s\n' "$1" "$line"
    done <"$root$1" 2>/dev/null
}

# A link as it is.
link() {
    [ ! -L "$root$1" ] || printf '%s -> %s\n' "$1" "$(readlink "$root$1")"
}

# The file of each directory on the way to a device.
upwards() {
    path=$1
    while [ "$path" != /sys/devices ] && [ -n "$path" ]; do
        link "$path/driver"
        for file in "$root$path"/ata_port/*/port_no; do
            [ ! -e "$file" ] || text "${file#"$root"}"
        done
        # The card of a card reader.
        case ${path%/*} in
        */mmc_host/mmc*) text "$path/type" && text "$path/serial" ;;
        esac
        path=${path%/*}
    done
}

for name in *; do
    path=$(readlink -f "$name") || continue
    path=${path#"$(readlink -f "$root/")"}
    path=/${path#/}
    [ -e "$root$path/size" ] || continue
    kind=disk
    [ ! -e "$root$path/partition" ] || kind=part
    number=$(cat "$root$path/dev" 2>/dev/null)
    echo "$kind $path ${number:-0:0} $(cat "$root$path/size")"
    for file in hidden serial device/serial dm/name loop/backing_file; do
        text "$path/$file"
    done
    for slave in "$root$path"/slaves/*; do
        link "${slave#"$root"}"
    done
    [ ! -e "$root/run/udev/data/b$number" ] ||
        sed -n "s|^E:ID_SERIAL=|/run/udev/data/b$number = &|p" "$root/run/udev/data/b$number"
    [ $kind = part ] || upwards "$path"
done | awk '!seen[$0]++'
# The ways to NVMe namespaces that have several, and the devices of file systems that have several.
for entry in "$root"/sys/devices/virtual/nvme-subsystem/*/nvme* "$root"/sys/fs/btrfs/*/devices/* "$root"/sys/fs/bcachefs/*/dev-*/block; do
    link "${entry#"$root"}"
done
text /proc/partitions

#!/bin/sh
# Installs the packages that building (`build`) and testing (`test`, `test-systemd`) need, on Debian and its kin as root; elsewhere says what
# is missing and goes on, so that what can be done is done.
set -eu

packages=
need() {
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || packages="$packages $2"
}

for what in "$@"; do
    case $what in
    build)
        need cc gcc
        need ld binutils
        ;;
    test)
        PATH=$PATH:/usr/sbin:/sbin
        need qemu-system-x86_64 qemu-system-x86
        need busybox busybox-static
        need mkfs.ext4 e2fsprogs
        need mkfs.xfs xfsprogs
        need mkfs.btrfs btrfs-progs
        need mkfs.vfat dosfstools
        need mksquashfs squashfs-tools
        need rpc.nfsd nfs-kernel-server
        need mount.nfs4 nfs-common
        need automount autofs
        need mkfs.jfs jfsutils
        need modprobe kmod
        need unshare util-linux
        need ip iproute2
        need dmsetup dmsetup
        need chpasswd passwd
        need ssh openssh-client
        need sshd openssh-server
        need qemu-ga qemu-guest-agent
        need udevadm udev
        need systemd-analyze systemd
        need lvm lvm2
        need /usr/share/zoneinfo/UTC tzdata
        # The hooks of a freeze are tried with these; the tests start them, the system must not.
        need /usr/lib/postgresql postgresql
        need mariadbd mariadb-server
        need redis-server redis-server
        # Another compiler than rustup's, for the tests of the boundary.
        need /usr/bin/rustc rustc-web
        need /usr/bin/cargo cargo-web
        ls /boot/vmlinuz-*-cloud-* >/dev/null 2>&1 || packages="$packages linux-image-cloud-$(dpkg --print-architecture 2>/dev/null || echo amd64)"
        # With the file systems that the kernel for clouds does not have.
        [ -e "$(find /boot -name 'vmlinuz-*-amd64' ! -name '*-cloud-*' | head -n 1)" ] || packages="$packages linux-image-amd64"
        ;;
    test-systemd)
        need qemu-system-x86_64 qemu-system-x86
        need busybox busybox-static
        need /sbin/modprobe kmod
        need /sbin/mkfs.ext4 e2fsprogs
        need mmdebstrap mmdebstrap
        ;;
    esac
done

if [ -z "$packages" ]; then
    :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$packages"
    # invoke-rc.d(8): while this says 101, no package starts its service.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq
    # One at a time: what one distribution does not have must not keep the rest away.
    for package in $packages; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || echo "could not be installed: $package"
    done
    # Only the program is wanted, in the guests.
    case $packages in
    *openssh-server*) systemctl disable --now ssh.service ssh.socket >/dev/null 2>&1 || : ;;
    esac
else
    echo "not installed, and this is not root on Debian:$packages"
    echo "tests that need them are skipped"
fi

for what in "$@"; do
    if [ "$what" = test ] && ! cargo deny --version >/dev/null 2>&1; then
        echo "installing: cargo-deny (some minutes)"
        cargo install --quiet --locked cargo-deny || echo "could not be installed: cargo-deny"
    fi
done

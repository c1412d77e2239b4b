//! Freezes of a guest with mounts as people's machines have them: what cannot be frozen, servers that die, devices that hang.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guestd_vm::{Agent, AgentConn, Fs, Vm, VmBuilder, boot_or_skip, not_here};
use serde_json::{Value, json};

const DEADLINES: &str =
    "[commands]\ndeadline = { guest-fsfreeze-freeze = 20, guest-fsfreeze-freeze-list = 20, guest-fsfreeze-thaw = 5 }\n";

fn call(agent: &mut AgentConn, command: &str) -> Value {
    agent.call(command, json!({})).unwrap()
}

/// The text of the error that a command is answered with.
fn error(agent: &mut AgentConn, command: &str, arguments: Value) -> String {
    agent.call(command, arguments).unwrap_err().to_string()
}

/// The report's line of a mount.
fn mount_of(agent: &mut AgentConn, point: &str) -> Value {
    let report = call(agent, "__org.guestd_fsfreeze-report");
    let mounts = report["freeze"]["mounts"].as_array().unwrap();
    mounts.iter().find(|mount| mount["mountpoint"] == point).cloned().unwrap_or_else(|| panic!("no {point}: {report}"))
}

/// Waits until a command of the guest's shell succeeds.
fn until(vm: &mut Vm, command: &str) {
    let lines =
        format!("tries=600; until {command}; do tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1; usleep 100000; done");
    vm.sh_for(&lines, Duration::from_secs(90)).unwrap().check();
}

trait Check {
    fn check(self);
}

impl Check for guestd_vm::Output {
    fn check(self) {
        assert_eq!(self.status, 0, "{}", self.stdout);
    }
}

/// The lines that the guest writes to its EFI partition right before the freeze.
const LINES: usize = 2000;

/// An image such as those of snaps, made here: mksquashfs does not run in the guest.
fn squashfs() -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (content, image) = (dir.path().join("content"), dir.path().join("snap"));
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("file"), "x").unwrap();
    let made = Command::new("mksquashfs").args([&content, &image]).args(["-quiet", "-no-progress"]).output();
    if made.is_err() {
        not_here("there is no mksquashfs");
        return None;
    }
    Some(std::fs::read(image).unwrap())
}

#[test]
fn what_cannot_be_frozen_is_in_the_copy_and_swap_goes_on() {
    let builder =
        VmBuilder::new().disk(Fs::Blank).disk(Fs::Ext4).agent(Agent::Guestd).module("vfat").module("squashfs");
    let builder = builder.module("nls_cp437").module("nls_ascii").module("loop");
    let Some(snap) = squashfs() else { return };
    let builder = builder.program("mkfs.vfat").file("/lib/guest/x.snap", snap);
    let Some(mut vm) = boot_or_skip(builder) else { return };
    vm.run(
        "set -e; mkfs.vfat /dev/vda >/dev/null; mkdir -p /mnt/efi /mnt/snap
         mount -t vfat -o iocharset=ascii /dev/vda /mnt/efi
         cp /lib/guest/x.snap /mnt/ext4; mount -t squashfs -o loop,ro /mnt/ext4/x.snap /mnt/snap
         dd if=/dev/zero of=/mnt/ext4/swap bs=1M count=24 2>/dev/null; mkswap /mnt/ext4/swap >/dev/null; swapon /mnt/ext4/swap
         seq -f 'line of the EFI partition %04g' 2000 >/mnt/efi/lines 2>/dev/null ||
             for n in $(seq 2000); do printf 'line of the EFI partition %04d\n' $n; done >/mnt/efi/lines",
    )
    .unwrap();
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 1);
    let image = vm.disks()[0].snapshot("frozen").unwrap();
    let output =
        Command::new("grep").args(["-a", "-z", "-o", "-E", "line of the EFI partition [0-9]{4}"]).arg(image).output();
    let output = output.unwrap().stdout;
    let lines: BTreeSet<&[u8]> =
        output.split(|byte| matches!(byte, 0 | b'\n')).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), LINES, "lines that were written before the freeze");
    assert_eq!(mount_of(&mut agent, "/mnt/efi")["outcome"], "synced");
    assert_eq!(mount_of(&mut agent, "/mnt/snap")["outcome"], "not-freezable");

    // The kernel writes to the blocks of a swap file past its file system, frozen or not.
    let swapped =
        "awk '/^SwapFree/ { free = $2 } /^SwapTotal/ { total = $2 } END { print total - free }' /proc/meminfo";
    let free = "awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo";
    vm.run(&format!(
        "mount -o remount,size=100% /tmp; dd if=/dev/zero of=/tmp/fill bs=1M count=$(($({free}) + 4)) 2>/dev/null"
    ))
    .unwrap();
    let pages: u64 = vm.run(swapped).unwrap().trim().parse().unwrap();
    assert!(pages > 0, "nothing went to the swap file");
    assert_eq!(call(&mut agent, "guest-fsfreeze-status"), "frozen");
    vm.run("rm /tmp/fill").unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 1);
}

/// Stops the server when it is asked to, in the middle of a freeze.
const HOOK: &str = "#!/lib/guest/busybox sh
[ \"$1\" = freeze ] && [ -e /run/guest/end-server ] && rpc.nfsd 0
exit 0
";

/// A server with one export, mounted at /net, and a disk that is mounted on a directory of it.
const NFS: &str = "set -e
mkdir -p /export/disk /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /net /etc/exports.d
mount -t tmpfs none /export; mkdir /export/disk
mount -t nfsd nfsd /proc/fs/nfsd
echo '/export *(rw,fsid=0,no_root_squash,insecure,no_subtree_check)' >/etc/exports
: >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab
exportfs -a
rpc.nfsd --no-nfs-version 3 --no-udp 4
rpc.mountd --no-nfs-version 3
mount -t nfs4 -o vers=4.2,hard,proto=tcp 127.0.0.1:/ /net
mount /dev/vdb /net/disk
";

#[test]
fn a_server_that_dies_in_mid_freeze_and_before_one_holds_up_nothing() {
    let config = format!("{DEADLINES}[plugins.fsfreeze]\nhook = \"/lib/guest/hook\"\n");
    let builder =
        VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).agent(Agent::Guestd).file("/etc/guestd/guestd.toml", config);
    let builder = builder.file_with_mode("/lib/guest/hook", 0o755, HOOK).module("nfsd").module("nfsv4");
    let builder = ["rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs4"].into_iter().fold(builder, VmBuilder::program);
    let builder = builder
        .file("/etc/netconfig", "tcp tpi_cots_ord v inet tcp - -\nudp tpi_clts v inet udp - -\n")
        .file("/etc/protocols", "tcp 6 TCP\nudp 17 UDP\n")
        .file("/etc/services", "nfs 2049/tcp\n");
    let Some(mut vm) = boot_or_skip(builder) else { return };
    vm.run("umount /mnt/xfs").unwrap();
    vm.sh_for(NFS, Duration::from_secs(60)).unwrap().check();
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(mount_of(&mut agent, "/net")["outcome"], "left-out");
    assert_eq!(mount_of(&mut agent, "/net/disk")["outcome"], "frozen");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);

    // What was opened before the server ended is frozen and thawed without it.
    vm.run("touch /run/guest/end-server").unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(vm.run("cat /proc/fs/nfsd/threads").unwrap().trim(), "0");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);

    // Then nothing leads to it; the other is not held up, and nothing is busy. The client trusts what it knows for a while.
    let list = json!({"mountpoints": ["/net/disk"]});
    vm.run("echo 3 >/proc/sys/vm/drop_caches; sleep 65").ok();
    let told = error(&mut agent, "guest-fsfreeze-freeze-list", list.clone());
    assert!(told.contains("failed to open /net/disk: no answer within 10 s, through /net (nfs4)"), "{told}");
    let told = error(&mut agent, "guest-fsfreeze-freeze", json!({}));
    assert!(told.contains("failed to open /net/disk: no answer since an earlier request"), "{told}");
    assert_eq!(call(&mut agent, "guest-fsfreeze-status"), "thawed");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 0);
    assert_eq!(agent.call("guest-fsfreeze-freeze-list", json!({"mountpoints": ["/mnt/ext4"]})).unwrap(), 1);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 1);

    // The server is back.
    vm.run("rm /run/guest/end-server; rpc.nfsd --no-nfs-version 3 --no-udp 4").unwrap();
    until(&mut vm, "ls /net >/dev/null");
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);
}

#[test]
fn a_device_that_is_suspended_or_fails_is_named_and_the_others_are_thawed() {
    let builder =
        VmBuilder::new().disk(Fs::Ext4).disk(Fs::Ext4).agent(Agent::Guestd).module("dm_mod").program("dmsetup");
    let Some(mut vm) = boot_or_skip(builder.file("/etc/guestd/guestd.toml", DEADLINES)) else { return };
    vm.run(
        "set -e; umount /mnt/ext4-2; export DM_DISABLE_UDEV=1
         dmsetup create data --table \"0 $(blockdev --getsz /dev/vdb) linear /dev/vdb 0\"
         mkdir -p /mnt/dm; mount -t ext4 /dev/mapper/data /mnt/dm; echo x >/mnt/dm/unwritten",
    )
    .unwrap();
    let mut agent = vm.agent().unwrap();
    // Without its own freeze: all that is written to it waits.
    vm.run("dmsetup suspend --nolockfs --noflush data").unwrap();
    let told = error(&mut agent, "guest-fsfreeze-freeze", json!({}));
    assert!(told.contains("not frozen within 18 s (/mnt/dm had not answered); the freeze was undone"), "{told}");
    assert!(error(&mut agent, "guest-fsfreeze-thaw", json!({})).contains("the thaw is not complete yet"));
    vm.run("echo x >/mnt/ext4/written; sync /mnt/ext4/written").unwrap();
    vm.run("dmsetup resume data").unwrap();
    until(&mut vm, "[ ! -e /run/guestd/fsfreeze.plan ]");
    call(&mut agent, "guest-fsfreeze-thaw");
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);

    // dmsetup(8) freezes the file system itself: it is found frozen.
    vm.run("dmsetup suspend data").unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 1);
    assert_eq!(mount_of(&mut agent, "/mnt/dm")["outcome"], "already-frozen");
    vm.run("dmsetup resume data").unwrap();
    call(&mut agent, "guest-fsfreeze-thaw");

    // A device that fails while it is frozen.
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    vm.run("size=$(blockdev --getsz /dev/vdb); dmsetup suspend --nolockfs --noflush data; dmsetup load data --table \"0 $size error\"; dmsetup resume data")
        .unwrap();
    let thawed = agent.call("guest-fsfreeze-thaw", json!({})).map_err(|error| error.to_string());
    let status = call(&mut agent, "guest-fsfreeze-status");
    assert_eq!((thawed, status), (Ok(json!(2)), json!("thawed")), "{}", vm.console());
    vm.run("touch /mnt/ext4/free").unwrap();
}

/// The kernel asks the automounter when nothing is mounted yet, and nobody afterwards.
#[test]
fn what_an_automounter_has_mounted_is_frozen_also_when_it_has_died() {
    let builder =
        VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).agent(Agent::Guestd).module("autofs4").program("automount");
    let builder =
        ["lookup_file.so", "lookup_files.so", "parse_sun.so", "mount_generic.so", "mount_bind.so", "mount_nfs.so"]
            .into_iter()
            .fold(builder, |builder, module| builder.program(&format!("/usr/lib/x86_64-linux-gnu/autofs/{module}")));
    let builder = builder
        .file("/etc/auto.master", "/auto file:/etc/auto.disks --timeout=3600\n")
        .file("/etc/auto.disks", "disk -fstype=xfs :/dev/vdb\nnothing -fstype=xfs :/dev/vdz\n")
        .file("/etc/autofs.conf", "[ autofs ]\nmaster_map_name = /etc/auto.master\n")
        .file("/etc/nsswitch.conf", "automount: files\n");
    let Some(mut vm) = boot_or_skip(builder.file("/etc/guestd/guestd.toml", DEADLINES)) else { return };
    vm.run("umount /mnt/xfs; mkdir -p /var/run; setsid automount --foreground --verbose </dev/null >/run/guest/automount 2>&1 &").unwrap();
    until(&mut vm, "grep -q ' /auto .* autofs ' /proc/self/mountinfo");
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 1, "nobody has asked for the disk");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 1);
    until(&mut vm, "ls /auto/disk >/dev/null");
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(mount_of(&mut agent, "/auto/disk")["outcome"], "frozen");
    assert_eq!(mount_of(&mut agent, "/auto")["outcome"], "left-out");
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);
    vm.run("kill -9 $(pidof automount)").unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);
}

/// Debian's virtiofsd; it ends with the test.
struct Virtiofsd(Child);

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

#[test]
fn a_virtiofs_server_that_dies_holds_up_nothing() {
    if !Path::new(VIRTIOFSD).exists() {
        not_here(&format!("there is no {VIRTIOFSD}"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (socket, share) = (dir.path().join("socket"), dir.path().join("share"));
    std::fs::create_dir_all(share.join("disk")).unwrap();
    let mut server = Command::new(VIRTIOFSD);
    server.arg(format!("--socket-path={}", socket.display())).args(["-o", &format!("source={}", share.display())]);
    let mut server = Virtiofsd(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let give_up = Instant::now() + Duration::from_secs(30);
    while !socket.exists() {
        assert!(Instant::now() < give_up, "virtiofsd does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let builder = VmBuilder::new().disk(Fs::Ext4).disk(Fs::Xfs).agent(Agent::Guestd).module("virtiofs").qemu_args([
        "-object".to_owned(),
        "memory-backend-memfd,id=memory,size=384M,share=on".to_owned(),
        "-numa".to_owned(),
        "node,memdev=memory".to_owned(),
        "-chardev".to_owned(),
        format!("socket,id=share,path={}", socket.display()),
        "-device".to_owned(),
        "vhost-user-fs-pci,chardev=share,tag=share".to_owned(),
    ]);
    let Some(mut vm) = boot_or_skip(builder.file("/etc/guestd/guestd.toml", DEADLINES)) else { return };
    vm.run(
        "set -e; umount /mnt/xfs; mkdir /mnt/share; mount -t virtiofs share /mnt/share; mount /dev/vdb /mnt/share/disk",
    )
    .unwrap();
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    assert_eq!(mount_of(&mut agent, "/mnt/share")["outcome"], "left-out");
    server.0.kill().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);
    // What the kernel knows of the directory it knows for a second.
    vm.run("sleep 2").unwrap();
    let told = error(&mut agent, "guest-fsfreeze-freeze", json!({}));
    assert!(
        told.contains("failed to open /mnt/share/disk: no answer within 10 s, through /mnt/share (virtiofs)"),
        "{told}"
    );
    assert_eq!(agent.call("guest-fsfreeze-freeze-list", json!({"mountpoints": ["/mnt/ext4"]})).unwrap(), 1);
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 1);
}

/// The thaw of a JFS reads its journal anew, which fails when the device does.
#[test]
fn a_file_system_that_cannot_be_thawed_is_an_error_until_it_can() {
    let builder = VmBuilder::new().disk(Fs::Blank).disk(Fs::Ext4).agent(Agent::Guestd).full_kernel();
    let builder = builder.module("dm_mod").module("jfs").program("dmsetup").program("mkfs.jfs");
    let Some(mut vm) = boot_or_skip(builder.file("/etc/guestd/guestd.toml", DEADLINES)) else { return };
    vm.run(
        "set -e; export DM_DISABLE_UDEV=1
         dmsetup create data --table \"0 $(blockdev --getsz /dev/vda) linear /dev/vda 0\"
         mkfs.jfs -q /dev/mapper/data >/dev/null; mkdir -p /mnt/jfs; mount -t jfs /dev/mapper/data /mnt/jfs; echo x >/mnt/jfs/file",
    )
    .unwrap();
    let mut agent = vm.agent().unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-freeze"), 2);
    let load = |target: &str| {
        format!(
            "size=$(blockdev --getsz /dev/vda); dmsetup suspend --nolockfs --noflush data
             dmsetup load data --table \"0 $size {target}\"; dmsetup resume data"
        )
    };
    vm.run(&load("error")).unwrap();
    let told = error(&mut agent, "guest-fsfreeze-thaw", json!({}));
    assert!(told.contains("failed to thaw /mnt/jfs: "), "{told}");
    assert_eq!(call(&mut agent, "guest-fsfreeze-status"), "error");
    vm.run("touch /mnt/ext4/thawed").unwrap();
    assert!(error(&mut agent, "guest-get-osinfo", json!({})).contains("disabled"), "the gate is closed");
    vm.run(&load("linear /dev/vda 0")).unwrap();
    assert_eq!(call(&mut agent, "guest-fsfreeze-thaw"), 2);
    assert_eq!(call(&mut agent, "guest-fsfreeze-status"), "thawed");
}

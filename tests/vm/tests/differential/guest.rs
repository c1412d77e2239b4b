//! The guest in which both agents run.

use std::fs::DirEntry;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use guestd_vm::{Agent, Fs, Vm, VmBuilder, boot_or_skip, skip};
use tempfile::TempDir;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
bob:x:1001:1001:Bob:/home/bob:/bin/sh
";
const GROUP: &str = "root:x:0:\nalice:x:1000:\nbob:x:1001:\ndisk:x:6:\ntty:x:5:\n";
const OS_RELEASE: &str = "\
PRETTY_NAME=\"Example Linux 12 (bookworm) \\\"quoted\\\"\"
NAME=\"Example Linux\"
VERSION_ID=\"12\"
VERSION=\"12 (bookworm)\"
# A comment, and a line without a value.

ID=example
VARIANT=Server
VARIANT_ID=server
HOME_URL=https://example.org/
";
const KEYS: &str = "\
# the laptop
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample1 alice@laptop
  ssh-rsa AAAAB3NzaC1yc2EAAAADAQABExample2 alice@desk

from=\"192.0.2.0/24\",no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample3
";
/// A zone without summer time, so that its offset does not depend on the day.
const ZONE: &str = "/usr/share/zoneinfo/Asia/Kolkata";

/// The size of the SCSI and of the NVMe disk: 128 MiB.
const SECTORS: u32 = 128 << 11;

/// What `guest.sh` runs, and what udev's rules run.
const PROGRAMS: [&str; 6] = ["udevadm", "lvm", "dmsetup", "mkfs.ext4", "/usr/lib/udev/scsi_id", "/usr/lib/udev/ata_id"];
/// Where this machine and the guest have udev's rules.
const RULES: &str = "/usr/lib/udev/rules.d";

/// The running guest; the images of its SCSI and NVMe disks vanish with it.
pub struct Guest {
    pub vm: Vm,
    _images: TempDir,
}

/// Boots the guest and makes it what `guest.sh` says; `None` if this machine lacks something, which is said.
pub fn boot() -> Option<Guest> {
    let Ok(zone) = std::fs::read(ZONE) else {
        skip(&format!("no {ZONE} (tzdata)"));
        return None;
    };
    let Ok(rules) = std::fs::read_dir(RULES) else {
        skip(&format!("no {RULES} (udev)"));
        return None;
    };
    let images = tempfile::tempdir().unwrap();
    let mut vm = boot_or_skip(rules.flatten().fold(builder(zone, images.path()), with_rule))?;
    let made = vm.sh_for("/lib/guest/differential 2>&1", Duration::from_secs(120)).unwrap();
    assert_eq!(made.status, 0, "the guest could not be made: {}", made.stdout);
    Some(Guest { vm, _images: images })
}

/// An ext4 disk, two for LVM (one of them virtio-scsi), an NVMe, an empty CD drive, two NICs, four processors, and memory that was
/// plugged in.
fn builder(zone: Vec<u8>, images: &Path) -> VmBuilder {
    let drive = |id: &str, first_sector: &[u8]| {
        let image = images.join(id);
        let mut file = std::fs::File::create(&image).unwrap();
        file.write_all(first_sector).unwrap();
        file.set_len(u64::from(SECTORS) * 512).unwrap();
        ["-drive".to_owned(), format!("if=none,id={id},file={},format=raw,cache=unsafe", image.display())]
    };
    PROGRAMS
        .iter()
        .fold(VmBuilder::new(), |builder, program| builder.program(program))
        .agent(Agent::Guestd)
        .beside(Agent::QemuGa)
        .module("virtio_scsi")
        .module("sd_mod")
        .module("sr_mod")
        // Block devices without a size.
        .module("nbd")
        .module("zram")
        .module("dm_mod")
        .disk(Fs::Ext4)
        .disk(Fs::Blank)
        .cpus(4)
        .memory(384)
        .limit(Duration::from_secs(400))
        .qemu_args(["-m", "slots=2,maxmem=1G", "-object", "memory-backend-ram,id=more,size=128M"])
        .qemu_args(["-device", "pc-dimm,id=dimm0,memdev=more"])
        .qemu_args(drive("scsi", &[]))
        .qemu_args(["-device", "virtio-scsi-pci,id=scsi0"])
        .qemu_args(["-device", "scsi-hd,bus=scsi0.0,channel=0,scsi-id=3,lun=1,drive=scsi,serial=scsi-serial-1"])
        // A CD drive without a CD.
        .qemu_args(["-device", "scsi-cd,bus=scsi0.0,channel=0,scsi-id=5,lun=0"])
        .qemu_args(drive("nvme", &partition_table()))
        .qemu_args(["-device", "nvme,drive=nvme,serial=nvme-serial-1"])
        .qemu_args(["-netdev", "user,id=net0,ipv6=off,restrict=on", "-netdev", "user,id=net1,ipv6=off,restrict=on"])
        .qemu_args(["-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01"])
        .qemu_args(["-device", "virtio-net-pci,netdev=net1,mac=52:54:00:00:00:02"])
        .file("/etc/passwd", PASSWD)
        .file("/etc/group", GROUP)
        .file("/etc/os-release", OS_RELEASE)
        .file(ZONE, zone)
        .file("/home/alice/.ssh/authorized_keys", KEYS)
        .file_with_mode("/lib/guest/no-interpreter", 0o755, "echo \"run by a shell\"\n")
        .file_with_mode("/lib/guest/differential", 0o755, include_str!("guest.sh"))
}

fn with_rule(builder: VmBuilder, rule: DirEntry) -> VmBuilder {
    let name = rule.file_name().into_string().unwrap();
    builder.file(&format!("{RULES}/{name}"), std::fs::read(rule.path()).unwrap())
}

/// A sector with a partition table of the kind that a PC's BIOS knows: one Linux partition from 1 MiB to the end. Were it
/// made in the guest, udev would read it again when it likes, while the partition is used.
fn partition_table() -> [u8; 512] {
    let first: u32 = 2048;
    let mut sector = [0; 512];
    // Type 0x83; the addresses by cylinder are no longer used.
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&first.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&(SECTORS - first).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

//! QEMU's command line.

use std::path::Path;

use crate::accel::Accel;
use crate::builder::{Channel, PORT_BESIDE};
use crate::disk::Disk;
use crate::host::Kernel;

/// The hardware of one machine.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) accel: Accel,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) channel: Channel,
    /// Whether there is a port for a second agent.
    pub(crate) beside: bool,
    pub(crate) disks: &'a [Disk],
    pub(crate) extra: &'a [String],
}

impl Machine<'_> {
    /// The arguments, with every file in `directory`.
    pub(crate) fn args(&self, directory: &Path) -> Vec<String> {
        let file = |name: &str| directory.join(name).display().to_string();
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));

        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        // The last word is the name of the machine in process lists.
        add(&["-M", "q35", "-global", "ICH9-LPC.disable_s3=0", "-name", "guestd-vm"]);
        add(&self.accel.args());
        add(&["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()]);
        add(&["-kernel", &self.kernel.image.display().to_string()]);
        add(&["-initrd", &file("initramfs")]);
        add(&["-append", "console=ttyS0 quiet loglevel=4"]);
        add(&["-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))]);
        add(&["-serial", &format!("file:{}", file("console"))]);
        add(&["-chardev", &socket("ga", &file("ga"))]);
        add(&["-chardev", &socket("control", &file("control"))]);
        // Two controllers: the ports of one share an interrupt, which wakes whoever waits on any of them,
        // and the control shell's traffic would show as processor time of the agent.
        add(&["-device", "virtio-serial-pci,id=for-control"]);
        add(&["-device", "virtserialport,bus=for-control.0,chardev=control,name=org.guestd.test.control"]);
        match self.channel {
            Channel::Virtio => {
                add(&["-device", "virtio-serial-pci,id=for-agent"]);
                add(&["-device", "virtserialport,bus=for-agent.0,chardev=ga,name=org.qemu.guest_agent.0"]);
            }
            Channel::Isa => add(&["-serial", "chardev:ga"]),
        }
        if self.beside {
            add(&["-chardev", &socket("beside", &file("beside")), "-device", "virtio-serial-pci,id=for-beside"]);
            add(&["-device", &format!("virtserialport,bus=for-beside.0,chardev=beside,name={PORT_BESIDE}")]);
        }
        for disk in self.disks {
            let (name, image) = (&disk.device, disk.image.display());
            // cache=unsafe: the host will not lose its power during a test.
            add(&[
                "-drive",
                &format!("if=none,id={name},file={image},format=raw,cache=unsafe,discard=unmap"),
                "-device",
                &format!("virtio-blk-pci,drive={name},serial={name}"),
            ]);
        }
        args.extend(self.extra.iter().cloned());
        args
    }
}

fn socket(id: &str, path: &str) -> String {
    format!("socket,id={id},path={path},server=on,wait=off")
}

//! Describing a machine and booting it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::accel::Accel;
use crate::control::Control;
use crate::disk::{Disk, Fs};
use crate::host::Kernel;
use crate::initramfs::{Guest, stage};
use crate::lock::BootLock;
use crate::machine::Machine;
use crate::qmp::Qmp;
use crate::supervise::Process;
use crate::vm::{Parts, Vm};
use crate::{Error, note};

/// How the host reaches the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A named virtio-serial port.
    Virtio,
    /// The second serial port, `/dev/ttyS1`.
    Isa,
}

impl Channel {
    fn method(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-serial",
            Self::Isa => "isa-serial",
        }
    }

    /// The virtio-serial ports of the machine.
    fn ports(self) -> &'static str {
        match self {
            Self::Virtio => "org.guestd.test.control\norg.qemu.guest_agent.0\n",
            Self::Isa => "org.guestd.test.control\n",
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "/dev/virtio-ports/org.qemu.guest_agent.0",
            Self::Isa => "/dev/ttyS1",
        }
    }
}

/// The port of [`VmBuilder::beside`]'s agent.
pub(crate) const PORT_BESIDE: &str = "org.guestd.test.beside";

/// Which agent runs in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// guestd with its plugins, from the staged install tree.
    Guestd,
    /// The host's own qemu-ga, to compare with and to try the harness on.
    QemuGa,
}

impl Agent {
    /// By `GUESTD_VM_AGENT` (guestd or qemu-ga); guestd by default.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("GUESTD_VM_AGENT").as_deref() {
            Ok("qemu-ga") => Self::QemuGa,
            _ => Self::Guestd,
        }
    }

    /// Where the guest has it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Guestd => "/usr/sbin/guestd",
            Self::QemuGa => "/usr/sbin/qemu-ga",
        }
    }
}

/// A machine to be.
#[derive(Debug, Clone)]
pub struct VmBuilder {
    channel: Channel,
    agent: Agent,
    agent_args: Option<Vec<String>>,
    disks: Vec<Fs>,
    files: Vec<(String, u32, Vec<u8>)>,
    programs: Vec<String>,
    beside: Option<Agent>,
    modules: Vec<String>,
    stage: Option<PathBuf>,
    full_kernel: bool,
    cpus: u32,
    memory_mib: u32,
    qemu_args: Vec<String>,
    limit: Duration,
}

impl Default for VmBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl VmBuilder {
    /// Two processors, 384 MiB, no disk, the agent of [`Agent::from_env`] on virtio-serial.
    #[must_use]
    pub fn new() -> Self {
        Self {
            channel: Channel::Virtio,
            agent: Agent::from_env(),
            agent_args: None,
            disks: Vec::new(),
            files: Vec::new(),
            programs: Vec::new(),
            beside: None,
            modules: Vec::new(),
            stage: None,
            full_kernel: false,
            cpus: 2,
            memory_mib: 384,
            qemu_args: Vec::new(),
            limit: Duration::from_secs(240),
        }
    }

    /// The agent's channel.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// The agent, whatever the environment says.
    #[must_use]
    pub fn agent(mut self, agent: Agent) -> Self {
        self.agent = agent;
        self
    }

    /// The agent's arguments, instead of `-m METHOD -p DEVICE -t /run/guestd -v`.
    #[must_use]
    pub fn agent_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.agent_args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// One more disk, mounted at `/mnt/` and the name of its file system.
    #[must_use]
    pub fn disk(mut self, fs: Fs) -> Self {
        self.disks.push(fs);
        self
    }

    /// A file of the guest, with mode 0644; it may take the place of one of the harness.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(path, 0o644, content)
    }

    /// A file of the guest.
    #[must_use]
    pub fn file_with_mode(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, content.into()));
        self
    }

    /// A program of this machine, by its name or path, in the same place and with what it loads; it takes the place of
    /// busybox's. The test is skipped where it is not installed.
    #[must_use]
    pub fn program(mut self, name: &str) -> Self {
        self.programs.push(name.to_owned());
        self
    }

    /// A second agent in the same guest, on a virtio-serial port and a controller of its own; see
    /// [`Vm::agent_beside`].
    #[must_use]
    pub fn beside(mut self, agent: Agent) -> Self {
        self.beside = Some(agent);
        self
    }

    /// The install tree that guestd is taken from, instead of `GUESTD_STAGE` or `target/stage`.
    #[must_use]
    pub fn stage(mut self, stage: &Path) -> Self {
        self.stage = Some(stage.to_path_buf());
        self
    }

    /// Debian's kernel with all its file systems (`linux-image-amd64`), not the one for clouds. The test is skipped where it
    /// is not installed.
    #[must_use]
    pub fn full_kernel(mut self) -> Self {
        self.full_kernel = true;
        self
    }

    /// One more module that the guest loads.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Number of processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory_mib = mebibytes;
        self
    }

    /// More words for QEMU's command line.
    #[must_use]
    pub fn qemu_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.qemu_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// How long the machine may live; it is killed after that. 240 s by default.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Boots, and waits for the control shell. The agent has been started then, but may not answer yet:
    /// [`Vm::agent`] waits for that.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if this machine lacks something, anything else if the boot fails.
    pub fn boot(self) -> Result<Vm, Error> {
        let kernel = Kernel::newest(self.full_kernel)?;
        std::fs::File::open(&kernel.image)
            .map_err(|error| Error::Unavailable(format!("{}: {error}", kernel.image.display())))?;
        let lock = BootLock::take()?;
        let accel = Accel::choose(&kernel);
        let started = Instant::now();
        let directory = tempfile::Builder::new()
            .prefix("guestd-vm-")
            .tempdir()
            .map_err(Error::io("making a temporary directory"))?;
        let disks = Disk::make_all(&self.disks, directory.path())?;
        self.write_initramfs(&kernel, &disks, directory.path())?;
        let args = Machine {
            kernel: &kernel,
            accel,
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            channel: self.channel,
            beside: self.beside.is_some(),
            disks: &disks,
            extra: &self.qemu_args,
        }
        .args(directory.path());
        let (process, qmp, control) = power_on(&args, directory.path(), self.limit)?;
        let mut vm = Vm::new(Parts {
            agent: self.agent,
            device: self.channel.device(),
            accel,
            args,
            limit: self.limit,
            process,
            qmp,
            control,
            disks,
            directory,
            _lock: lock,
        });
        vm.wait_for_boot()?;
        note(&format!(
            "vm: {:?} on {:?} booted in {:.1} s ({})",
            self.agent,
            self.channel,
            started.elapsed().as_secs_f32(),
            accel.name()
        ));
        Ok(vm)
    }

    fn write_initramfs(&self, kernel: &Kernel, disks: &[Disk], directory: &Path) -> Result<(), Error> {
        let standard = || {
            let (method, device) = (self.channel.method(), self.channel.device());
            ["-m", method, "-p", device, "-t", "/run/guestd", "-v"].map(str::to_owned).to_vec()
        };
        let mut ports = self.channel.ports().to_owned();
        let beside = self.beside.map(|agent| {
            let device = format!("/dev/virtio-ports/{PORT_BESIDE}");
            let words = [agent.path(), "-m", "virtio-serial", "-p", &device, "-t", "/run/beside"];
            ports.extend([PORT_BESIDE, "\n"]);
            (agent, words.map(str::to_owned).to_vec())
        });
        let mut command = vec![self.agent.path().to_owned()];
        command.extend(self.agent_args.clone().unwrap_or_else(standard));
        let guest = Guest {
            kernel,
            agent: self.agent,
            command: &command,
            beside,
            ports: &ports,
            disks,
            files: &self.files,
            programs: &self.programs,
            modules: &self.modules,
            stage: self.stage.clone().unwrap_or_else(stage),
        };
        let archive = guest.archive()?;
        std::fs::write(directory.join("initramfs"), archive).map_err(Error::io("writing the initramfs"))
    }
}

/// Starts QEMU, and connects to its monitor and to the control port.
pub(crate) fn power_on(args: &[String], directory: &Path, limit: Duration) -> Result<(Process, Qmp, Control), Error> {
    let process = Process::start(args.to_vec(), &directory.join("qemu.log"), limit)?;
    let socket = |name: &str| directory.join(name);
    let connected =
        Qmp::connect(&socket("qmp"), &process).and_then(|qmp| Ok((qmp, Control::connect(&socket("control"))?)));
    let (qmp, control) = connected.map_err(|error| {
        let said = std::fs::read_to_string(socket("qemu.log")).unwrap_or_default();
        Error::Failed(format!("{error}\n{}", said.trim()))
    })?;
    Ok((process, qmp, control))
}

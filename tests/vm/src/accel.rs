//! KVM where it really runs a guest, else emulation.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::cpio::Archive;
use crate::host::{self, Kernel};
use crate::supervise::Process;
use crate::{Error, note};

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// By the machine's own processor.
    Kvm,
    /// By QEMU's translator.
    Tcg,
}

const PROBE_LIMIT: Duration = Duration::from_secs(15);
const PROBE_LINE: &str = "guestd-vm probe";

impl Accel {
    /// QEMU's options for it.
    pub(crate) fn args(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // A larger translation buffer makes the boot after a reset take 90 s.
            Self::Tcg => ["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max"],
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "kvm" => Some(Self::Kvm),
            "tcg" => Some(Self::Tcg),
            _ => None,
        }
    }

    /// Its name, as in `GUESTD_VM_ACCEL`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// `GUESTD_VM_ACCEL` (kvm or tcg), else what a probe boot found. The result is kept for the
    /// process, and beside the test programs until the next boot of the host.
    pub(crate) fn choose(kernel: &Kernel) -> Self {
        static CHOSEN: OnceLock<Accel> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            if let Ok(name) = std::env::var("GUESTD_VM_ACCEL")
                && let Some(accel) = Self::from_name(&name)
            {
                return accel;
            }
            if let Some(accel) = remembered(kernel) {
                return accel;
            }
            let accel = match probe(kernel) {
                Ok(()) => Self::Kvm,
                Err(error) => {
                    note(&format!("vm: no KVM ({error}); the guests are emulated"));
                    Self::Tcg
                }
            };
            remember(kernel, accel);
            accel
        })
    }
}

/// Boots a guest that prints one line, under KVM.
fn probe(kernel: &Kernel) -> Result<(), Error> {
    if !std::path::Path::new("/dev/kvm").exists() {
        return Err(Error::Unavailable("no /dev/kvm".into()));
    }
    let busybox = std::fs::read(host::program("busybox")?).map_err(Error::io("reading busybox"))?;
    let mut archive = Archive::default();
    archive.directory("/dev");
    archive.file("/bin/busybox", 0o755, &busybox);
    let script = format!(
        "#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n\
         echo '{PROBE_LINE}' >/dev/ttyS0\n/bin/busybox poweroff -f\n"
    );
    archive.file("/init", 0o755, script.as_bytes());

    let directory = tempfile::tempdir().map_err(Error::io("a temporary directory"))?;
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("initramfs"), archive.finish()).map_err(Error::io("writing the probe"))?;
    let mut args: Vec<String> =
        ["-nodefaults", "-no-user-config", "-display", "none", "-M", "q35"].map(str::to_owned).to_vec();
    args.extend(Accel::Kvm.args().map(str::to_owned));
    args.extend(["-m", "256", "-no-reboot", "-append", "console=ttyS0 quiet"].map(str::to_owned));
    args.extend([
        "-kernel".into(),
        kernel.image.display().to_string(),
        "-initrd".into(),
        file("initramfs").display().to_string(),
        "-serial".into(),
        format!("file:{}", file("console").display()),
    ]);
    let process = Process::start(args, &file("qemu.log"), PROBE_LIMIT * 2)?;
    let deadline = Instant::now() + PROBE_LIMIT;
    while Instant::now() < deadline {
        let ended = process.ended();
        let console = std::fs::read(file("console")).unwrap_or_default();
        if String::from_utf8_lossy(&console).contains(PROBE_LINE) {
            return Ok(());
        }
        if let Some(status) = ended {
            let said = std::fs::read_to_string(file("qemu.log")).unwrap_or_default();
            return Err(Error::Failed(format!("QEMU {status}: {}", said.trim())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Error::Timeout(format!("no guest within {PROBE_LIMIT:?}")))
}

/// What the remembered result holds for: this boot of the host and this kernel.
fn key(kernel: &Kernel) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {}", boot.trim(), kernel.release))
}

fn memory_file() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.join("guestd-vm-accel"))
}

fn remembered(kernel: &Kernel) -> Option<Accel> {
    let text = std::fs::read_to_string(memory_file()?).ok()?;
    let (name, held_for) = text.split_once(' ')?;
    (held_for == key(kernel)?).then(|| Accel::from_name(name))?
}

fn remember(kernel: &Kernel, accel: Accel) {
    if let (Some(file), Some(key)) = (memory_file(), key(kernel)) {
        // Only saves time; a directory that cannot be written means a probe per process.
        let _ = std::fs::write(file, format!("{} {key}", accel.name()));
    }
}

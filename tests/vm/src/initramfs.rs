//! The guest's whole userland: busybox, modules, the agent, and the scripts in `guest/`.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::builder::Agent;
use crate::cpio::Archive;
use crate::disk::{Disk, Fs};
use crate::host::{self, Kernel};
use crate::programs;

/// Modules without which there is no guest.
const REQUIRED: [&str; 3] = ["virtio_pci", "virtio_console", "virtio_blk"];
/// Modules that some kernels lack.
const OPTIONAL: [&str; 9] = [
    "virtio_net",
    "ext4",
    "xfs",
    "btrfs",
    "loop",
    "vsock_loopback",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
    "fuse",
];

const BUSYBOX: &str = "/lib/guest/busybox";

/// Where each script of `guest/` goes.
const SCRIPTS: [(&str, &str); 8] = [
    ("/init", include_str!("../guest/init.sh")),
    ("/lib/guest/agentctl", include_str!("../guest/agentctl.sh")),
    ("/lib/guest/control", include_str!("../guest/control.sh")),
    ("/lib/guest/recorder", include_str!("../guest/recorder.sh")),
    ("/lib/guest/unmount", include_str!("../guest/unmount.sh")),
    ("/lib/guest/writer", include_str!("../guest/writer.sh")),
    ("/sbin/shutdown", include_str!("../guest/shutdown.sh")),
    ("/etc/inittab", include_str!("../guest/inittab")),
];

/// Small files that libraries look for.
const ETC: [(&str, &str); 5] = [
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\n"),
    ("/etc/hostname", "guest\n"),
    ("/etc/os-release", "ID=guestd-test\nNAME=\"guestd test guest\"\nVERSION_ID=1\n"),
];

/// What goes into one guest.
pub(crate) struct Guest<'a> {
    /// The kernel whose modules it loads.
    pub(crate) kernel: &'a Kernel,
    /// The agent it carries.
    pub(crate) agent: Agent,
    /// The agent's command line, as words.
    pub(crate) command: &'a [String],
    /// A second agent with its command line.
    pub(crate) beside: Option<(Agent, Vec<String>)>,
    /// The names of its virtio-serial ports, each with a newline.
    pub(crate) ports: &'a str,
    /// The disks it mounts.
    pub(crate) disks: &'a [Disk],
    /// Files of the test: path, permissions, content.
    pub(crate) files: &'a [(String, u32, Vec<u8>)],
    /// Programs of this machine that it carries, by name or path.
    pub(crate) programs: &'a [String],
    /// Modules beyond the usual ones.
    pub(crate) modules: &'a [String],
    /// The install tree of guestd.
    pub(crate) stage: PathBuf,
}

impl Guest<'_> {
    /// The archive for `-initrd`.
    pub(crate) fn archive(&self) -> Result<Vec<u8>, Error> {
        let mut archive = Archive::default();
        for directory in ["/dev", "/proc", "/sys", "/run", "/tmp", "/mnt", "/root", "/var"] {
            archive.directory(directory);
        }
        // The test's files come first: the first of two entries with one name stays.
        for (path, mode, data) in self.files {
            archive.file(path, *mode, data);
        }
        for (path, text) in SCRIPTS {
            archive.file(path, 0o755, text.as_bytes());
        }
        for (path, text) in ETC {
            archive.file(path, 0o644, text.as_bytes());
        }
        archive.file("/lib/guest/agent.cmd", 0o644, start(self.command).as_bytes());
        if let Some((_, command)) = &self.beside {
            archive.file("/lib/guest/beside.cmd", 0o644, start(command).as_bytes());
        }
        let mounted = self.disks.iter().filter(|disk| disk.fs != Fs::Blank);
        let table: String = mounted.map(table_line).collect();
        archive.file("/lib/guest/disks", 0o644, table.as_bytes());
        archive.file("/lib/guest/ports", 0o644, self.ports.as_bytes());

        programs::add(&mut archive, self.programs)?;
        add_busybox(&mut archive, self.programs)?;
        self.add_modules(&mut archive)?;
        // guestd brings a link by qemu-ga's name, which must not be in the way of qemu-ga itself.
        let mut agents = vec![self.agent];
        agents.extend(self.beside.as_ref().map(|(agent, _)| *agent));
        agents.sort_by_key(|agent| *agent == Agent::Guestd);
        for agent in agents {
            self.add_agent(&mut archive, agent)?;
        }
        Ok(archive.finish())
    }

    fn add_modules(&self, archive: &mut Archive) -> Result<(), Error> {
        let mut modules = self.kernel.modules(&REQUIRED, true)?;
        for module in self.kernel.modules(&OPTIONAL, false)? {
            if !modules.contains(&module) {
                modules.push(module);
            }
        }
        let more: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        for module in self.kernel.modules(&more, true)? {
            if !modules.contains(&module) {
                modules.push(module);
            }
        }
        let mut list = String::new();
        for module in modules {
            let path = module.display().to_string();
            list.push_str(&path);
            list.push('\n');
            archive.file(&path, 0o644, &host::read(&module)?);
        }
        archive.file("/lib/guest/modules", 0o644, list.as_bytes());
        Ok(())
    }

    fn add_agent(&self, archive: &mut Archive, agent: Agent) -> Result<(), Error> {
        let mut loaded = Vec::new();
        match agent {
            Agent::QemuGa => {
                let program = host::program("qemu-ga")?;
                archive.file("/usr/sbin/qemu-ga", 0o755, &host::read(&program)?);
                loaded.push(program);
            }
            Agent::Guestd => {
                let program = self.stage.join("sbin/guestd");
                if !program.is_file() {
                    return Err(Error::Unavailable(format!(
                        "no {} (build the stage, or set GUESTD_STAGE)",
                        program.display()
                    )));
                }
                archive.file("/usr/sbin/guestd", 0o755, &host::read(&program)?);
                archive.symlink("/usr/sbin/qemu-ga", "guestd");
                loaded.push(program);
                let plugins = self.stage.join("lib/guestd/plugins");
                for plugin in files_of(&plugins)? {
                    let name = plugin.file_name().unwrap_or_default().to_string_lossy();
                    let path = format!("/usr/lib/guestd/plugins/{name}");
                    archive.file(&path, 0o644, &host::read(&plugin)?);
                    loaded.push(plugin);
                }
            }
        }
        programs::add_libraries(archive, &loaded)
    }
}

/// Busybox stands in a directory of its own with links from the usual places, so that a test may take
/// `/sbin/poweroff` away without breaking the guest's scripts. What one of `programs` does, busybox does not.
fn add_busybox(archive: &mut Archive, programs: &[String]) -> Result<(), Error> {
    let busybox = host::program("busybox")?;
    if !host::shared_libraries(&busybox)?.is_empty() {
        return Err(Error::Unavailable("busybox is not static (busybox-static)".into()));
    }
    archive.file(BUSYBOX, 0o755, &host::read(&busybox)?);
    archive.symlink("/bin/busybox", BUSYBOX);
    for applet in host::run("busybox", ["--list-full"])?.lines() {
        let name = applet.rsplit('/').next().unwrap_or_default();
        if !programs.iter().any(|program| program == name) {
            archive.symlink(applet, BUSYBOX);
        }
    }
    Ok(())
}

/// The staged install tree: `GUESTD_STAGE`, else `target/stage` of the workspace.
pub(crate) fn stage() -> PathBuf {
    std::env::var_os("GUESTD_STAGE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/stage"), PathBuf::from)
}

fn table_line(disk: &Disk) -> String {
    format!("{} {} {}\n", disk.device, disk.fs.name(), disk.mount)
}

/// The regular files of a directory, in order; none if there is no such directory.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(format!("reading {}", directory.display()))(error)),
    };
    files.sort();
    Ok(files)
}

/// The shell's line that becomes a program.
fn start(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// A word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}

//! What the host machine offers: programs, kernel, shared libraries.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// Directories that an ordinary user's PATH may lack.
const SYSTEM_DIRS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// Finds a program by PATH and the system directories.
pub(crate) fn program(name: &str) -> Result<PathBuf, Error> {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{SYSTEM_DIRS}")
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::Unavailable(format!("the program {name} is not installed")))
}

/// A command for a program that [`program`] found, with PATH including the system directories.
pub(crate) fn command(name: &str) -> Result<Command, Error> {
    let mut command = Command::new(program(name)?);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{SYSTEM_DIRS}"));
    command.env("LC_ALL", "C").stdin(Stdio::null());
    Ok(command)
}

/// Runs a program and gives its standard output; a status other than 0 is an error with what it said.
pub(crate) fn run<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Result<String, Error> {
    let output = command(name)?.args(args).output().map_err(Error::io(format!("running {name}")))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed(format!("{name} ended with {}:\n{stdout}{stderr}", output.status)))
}

/// A whole file of this machine.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(Error::io(format!("reading {}", file.display())))
}

/// A guest kernel of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// Its release, as in `/lib/modules/RELEASE`.
    pub(crate) release: String,
}

impl Kernel {
    /// The newest `/boot/vmlinuz-*-cloud-amd64` that has modules, or, with all of Debian's drivers and file systems
    /// (`is_full`), the newest without `-cloud`.
    pub(crate) fn newest(is_full: bool) -> Result<Self, Error> {
        let mut found: Vec<Self> = std::fs::read_dir("/boot")
            .map_err(|_| no_kernel(is_full))?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let release = name.strip_prefix("vmlinuz-")?;
                let usable = release.ends_with("-amd64")
                    && release.contains("-cloud-") != is_full
                    && Path::new("/lib/modules").join(release).is_dir();
                usable.then(|| Self { image: entry.path(), release: release.to_owned() })
            })
            .collect();
        found.sort_by_key(|kernel| version_key(&kernel.release));
        found.pop().ok_or_else(|| no_kernel(is_full))
    }

    /// The files of these modules and of what they need, in the order in which to load them.
    /// A module that this kernel does not have is left out, or is an error if `required`.
    pub(crate) fn modules(&self, names: &[&str], required: bool) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for name in names {
            let listed = run("modprobe", ["-S", &self.release, "--show-depends", name]);
            let listed = match listed {
                Ok(listed) => listed,
                Err(Error::Failed(_)) if !required => continue,
                Err(error) => return Err(error),
            };
            // "builtin NAME" lines need no file.
            for line in listed.lines() {
                if let Some(file) = line.strip_prefix("insmod ") {
                    let file = PathBuf::from(file.trim());
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
        }
        Ok(files)
    }
}

fn no_kernel(is_full: bool) -> Error {
    let flavour = if is_full { "" } else { "cloud-" };
    Error::Unavailable(format!("no /boot/vmlinuz-*-{flavour}amd64 with modules (linux-image-{flavour}amd64)"))
}

/// The numbers of a release, so that 6.1.0-56 comes after 6.1.0-9.
fn version_key(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The shared libraries that a program or a plugin loads, by `ldd`; none if it is static.
pub(crate) fn shared_libraries(file: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = match run("ldd", [file]) {
        Ok(listed) => listed,
        // ldd ends with 1 for a static executable.
        Err(Error::Failed(text)) if text.contains("not a dynamic executable") => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if let Some(line) = listed.lines().find(|line| line.contains("=> not found")) {
        return Err(Error::Failed(format!("{}: {}", file.display(), line.trim())));
    }
    Ok(listed
        .lines()
        .filter_map(|line| {
            let path = line.split_once("=>").map_or(line, |(_, path)| path);
            let path = path.split_whitespace().next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::version_key;

    #[test]
    fn releases_are_ordered_by_number() {
        assert!(version_key("6.1.0-56-cloud-amd64") > version_key("6.1.0-9-cloud-amd64"));
        assert!(version_key("6.12.1-cloud-amd64") > version_key("6.1.0-56-cloud-amd64"));
    }
}

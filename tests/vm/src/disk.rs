//! Disk images: made by mkfs, copied while the guest runs, checked when it is gone.

use std::path::{Path, PathBuf};

use crate::{Error, host};

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fs {
    /// ext4, 64 MiB.
    Ext4,
    /// XFS, 320 MiB (mkfs.xfs makes none below 300).
    Xfs,
    /// Btrfs, 128 MiB.
    Btrfs,
    /// None, 320 MiB: a disk that the guest does not mount by itself.
    Blank,
}

impl Fs {
    /// Its name for `mount -t`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Blank => "blank",
        }
    }

    fn size(self) -> u64 {
        let mebibytes = match self {
            Self::Ext4 => 64,
            Self::Xfs | Self::Blank => 320,
            Self::Btrfs => 128,
        };
        mebibytes << 20
    }

    fn format(self, image: &Path) -> Result<(), Error> {
        let (program, options): (_, &[&str]) = match self {
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f"]),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f"]),
            Self::Blank => return Ok(()),
        };
        let image = image.display().to_string();
        let args = options.iter().copied().chain([image.as_str()]);
        host::run(program, args).map(drop)
    }

    /// Checks an image without changing it: an error unless it is entirely clean.
    ///
    /// # Errors
    ///
    /// With what the checker says, or when it is not installed.
    pub fn check(self, image: &Path) -> Result<String, Error> {
        let image = image.display().to_string();
        match self {
            Self::Ext4 => host::run("e2fsck", ["-f", "-n", &image]),
            Self::Xfs => host::run("xfs_repair", ["-f", "-n", &image]),
            Self::Btrfs => host::run("btrfs", ["check", "--readonly", &image]),
            Self::Blank => Ok(String::new()),
        }
    }
}

/// One disk of a machine: a raw, sparse image. Discarded blocks become holes in it.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its file system.
    pub fs: Fs,
    /// The image on the host.
    pub image: PathBuf,
    /// Where the guest mounts it.
    pub mount: String,
    /// Its name in the guest's `/dev`.
    pub device: String,
}

impl Disk {
    /// Makes the images of a machine in its directory: `/mnt/ext4`, and `/mnt/ext4-2` for a second one.
    pub(crate) fn make_all(kinds: &[Fs], directory: &Path) -> Result<Vec<Self>, Error> {
        let mut disks: Vec<Self> = Vec::new();
        for (fs, letter) in kinds.iter().copied().zip('a'..='z') {
            let device = format!("vd{letter}");
            let image = directory.join(format!("{device}.img"));
            let file = std::fs::File::create(&image).map_err(Error::io("creating a disk image"))?;
            file.set_len(fs.size()).map_err(Error::io("sizing a disk image"))?;
            drop(file);
            fs.format(&image)?;
            let before = disks.iter().filter(|disk| disk.fs == fs).count();
            let mount = match before {
                0 => format!("/mnt/{}", fs.name()),
                number => format!("/mnt/{}-{}", fs.name(), number + 1),
            };
            disks.push(Self { fs, image, mount, device });
        }
        Ok(disks)
    }

    /// Copies the image as it stands, as a snapshot on the host would, and gives the copy's path.
    ///
    /// # Errors
    ///
    /// If `cp` fails.
    pub fn snapshot(&self, name: &str) -> Result<PathBuf, Error> {
        let copy = self.image.with_extension(name);
        copy_image(&self.image, &copy)?;
        Ok(copy)
    }

    /// Puts the content of another image of the same size onto this disk, behind the guest's back: the
    /// guest must not have it mounted, and must forget what it has read (`blockdev --flushbufs`).
    ///
    /// # Errors
    ///
    /// If the sizes differ, or `cp` fails.
    pub fn restore(&self, snapshot: &Path) -> Result<(), Error> {
        let size = |path: &Path| std::fs::metadata(path).map(|data| data.len());
        let sizes = (size(&self.image), size(snapshot));
        match sizes {
            (Ok(mine), Ok(other)) if mine == other => copy_image(snapshot, &self.image),
            _ => Err(Error::Failed(format!("images that do not fit: {sizes:?}"))),
        }
    }

    /// Bytes that the image takes on the host.
    ///
    /// # Errors
    ///
    /// If the image cannot be looked at.
    pub fn allocated(&self) -> Result<u64, Error> {
        use std::os::unix::fs::MetadataExt;
        let data = std::fs::metadata(&self.image).map_err(Error::io("looking at an image"))?;
        Ok(data.blocks() * 512)
    }
}

fn copy_image(from: &Path, to: &Path) -> Result<(), Error> {
    let paths = [from.display().to_string(), to.display().to_string()];
    let options = ["--sparse=always", "--"].map(str::to_owned);
    host::run("cp", options.into_iter().chain(paths)).map(drop)
}

/// A file of an ext4 image that no guest has mounted.
///
/// # Errors
///
/// If `debugfs` fails.
pub(crate) fn read_from_ext4(image: &Path, file: &str) -> Result<String, Error> {
    let command = format!("cat {file}");
    host::run("debugfs", ["-R", &command, &image.display().to_string()])
}

/// The disks of a machine that is gone. Their images vanish with this value.
#[derive(Debug)]
pub struct StoppedDisks {
    pub(crate) disks: Vec<Disk>,
    pub(crate) directory: tempfile::TempDir,
}

impl StoppedDisks {
    /// The disks, in the order in which the builder named them.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// Everything that the guest had written to its console, to the moment of its end.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn console(&self) -> Result<String, Error> {
        let bytes = std::fs::read(self.directory.path().join("console")).map_err(Error::io("reading the console"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Checks every disk.
    ///
    /// # Errors
    ///
    /// With the first disk that is not clean, and what its checker says.
    pub fn check(&self) -> Result<(), Error> {
        for disk in &self.disks {
            disk.fs.check(&disk.image)?;
        }
        Ok(())
    }
}

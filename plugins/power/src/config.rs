//! The set's section of the configuration, `[plugins.power]`.

use std::fmt;
use std::path::PathBuf;

use guestd_sdk::prelude::*;

/// `[plugins.power]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The means of `guest-shutdown`, the first to be tried first.
    pub shutdown_means: Vec<ShutdownMeans>,
    /// The means of the `guest-suspend-*` commands, the first to be tried first.
    pub suspend_means: Vec<SuspendMeans>,
    /// A directory to act on instead of the guest; see [`crate::rehearsal`].
    pub rehearsal: Option<PathBuf>,
}

/// A way to shut the guest down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ShutdownMeans {
    /// systemctl(1), which asks systemd-logind and then systemd itself.
    Systemctl,
    /// shutdown(8) of whatever init there is.
    Shutdown,
    /// busybox's applets, for busybox's own init and OpenWrt's.
    Busybox,
    /// reboot(2), which stops no service.
    RebootSyscall,
}

/// A way to send the guest to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SuspendMeans {
    /// systemctl(1), which asks systemd-logind and then systemd itself.
    Systemctl,
    /// The programs of pm-utils.
    PmUtils,
    /// `/sys/power`, the kernel's own files.
    Sysfs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shutdown_means: vec![
                ShutdownMeans::Systemctl,
                ShutdownMeans::Shutdown,
                ShutdownMeans::Busybox,
                ShutdownMeans::RebootSyscall,
            ],
            suspend_means: vec![SuspendMeans::Systemctl, SuspendMeans::PmUtils, SuspendMeans::Sysfs],
            rehearsal: None,
        }
    }
}

impl Config {
    /// Reads the section. Fails on an unknown key, an unknown means and an empty list: a command that may use no
    /// means is one that should be blocked.
    pub(crate) fn read(daemon: &Daemon) -> Result<Self, CommandError> {
        let config: Self = daemon.config()?;
        for (key, empty) in
            [("shutdown-means", config.shutdown_means.is_empty()), ("suspend-means", config.suspend_means.is_empty())]
        {
            if empty {
                return Err(CommandError::new(format!("configuration: {key} is empty")));
            }
        }
        Ok(config)
    }
}

impl fmt::Display for ShutdownMeans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemctl => "systemctl",
            Self::Shutdown => "shutdown",
            Self::Busybox => "busybox",
            Self::RebootSyscall => "reboot-syscall",
        })
    }
}

impl fmt::Display for SuspendMeans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemctl => "systemctl",
            Self::PmUtils => "pm-utils",
            Self::Sysfs => "sysfs",
        })
    }
}

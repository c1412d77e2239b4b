//! `--dump-conf`: the configuration in the form of `qemu-ga.conf`.

use std::process::ExitCode;

use guestd_abi::LogLevel;

use super::say::say;
use crate::config::{ListEntry, Settings};
use crate::logging::LogTarget;

/// Prints what `qemu-ga.conf` can say of the configuration.
pub fn print(settings: &Settings) -> Result<ExitCode, String> {
    let channel = settings.channels.first();
    let list = |entries: &[ListEntry]| entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(",");
    let hook = settings.plugins.sections.get("fsfreeze").and_then(|section| section.get("hook")?.as_str());
    let logfile = match &settings.log.target {
        LogTarget::File(path) => Some(path.display().to_string()),
        LogTarget::Stderr | LogTarget::Syslog => None,
    };
    let lines = [
        ("daemon", Some(settings.daemonize.to_string())),
        ("method", channel.map(|channel| channel.method.to_string())),
        ("path", channel.map(|channel| channel.path.clone())),
        ("logfile", logfile),
        ("pidfile", Some(settings.pid_file.display().to_string())),
        ("fsfreeze-hook", hook.map(str::to_owned)),
        ("statedir", Some(settings.state_dir.display().to_string())),
        ("verbose", Some((settings.log.level >= LogLevel::Debug).to_string())),
        ("retry-path", Some(settings.retry_path.to_string())),
        ("block-rpcs", Some(list(&settings.commands.block))),
        ("allow-rpcs", Some(list(&settings.commands.allow))),
    ];
    say!("[general]");
    for (key, value) in lines {
        if let Some(value) = value {
            say!("{key}={value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

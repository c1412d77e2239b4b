//! `--dump-conf`: the configuration in the form of `qemu-ga.conf`.

use guestd_abi::LogLevel;

use crate::config::{ListEntry, Settings, key_file_text};
use crate::logging::LogTarget;

/// What `qemu-ga.conf` can say of the configuration: the keys that qemu-ga shows, in its order.
pub fn text(settings: &Settings) -> String {
    let channel = settings.channels.first();
    let unknown_method = settings.unknown_method.as_ref().map(|(_, name)| name.clone());
    let list = |entries: &[ListEntry]| entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(",");
    let hook = settings.plugins.sections.get("fsfreeze").and_then(|section| section.get("hook")?.as_str());
    let logfile = match &settings.log.target {
        LogTarget::File(path) => Some(path.display().to_string()),
        LogTarget::Stderr | LogTarget::Syslog => None,
    };
    let values = [
        ("daemon", Some(settings.daemonize.to_string())),
        ("method", unknown_method.or(channel.map(|channel| channel.method.to_string()))),
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
    key_file_text(values.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

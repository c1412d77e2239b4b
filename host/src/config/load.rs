//! Puts the sources of the configuration together.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guestd_abi::LogLevel;
use guestd_guest::trust::{Trust, Untrusted};
use nix::unistd::User;
use serde_json::{Map, Value};

use super::key_file;
use super::toml_file::{self, TomlFile};
use super::{
    ChannelSettings, CommandSettings, ConfigError, ListEntry, LogSettings, Method, PluginSettings, ProtocolSettings,
    Settings,
};
use crate::cli::Flags;
use crate::logging::LogTarget;

/// The daemon's own file.
const TOML_PATH: &str = "/etc/guestd/guestd.toml";
/// qemu-ga's, which is read under that name.
const KEY_FILE_PATH: &str = "/etc/qemu/qemu-ga.conf";
/// Where plugins are installed, if not beside the executable.
const PLUGIN_DIR: &str = "/usr/lib/guestd/plugins";
/// The script that qemu-ga runs around a freeze, if `-F` names none.
const HOOK_PATH: &str = "/etc/qemu/fsfreeze-hook";

/// The longest wrong word that is compared with known ones, in bytes.
const MAX_SUGGESTED: usize = 64;

/// Where the configuration is to be looked for.
pub struct Sources<'a> {
    /// The command line.
    pub flags: &'a Flags,
    /// Whether the program was called as `qemu-ga`.
    pub as_qemu_ga: bool,
    /// What it is wanted for.
    pub purpose: Purpose,
}

/// What a configuration is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run by it, or to say how that would be.
    Run,
    /// To show it: a method that is none is shown as well, as qemu-ga does.
    Dump,
}

/// Reads all sources. Fails at the first thing that is not understood.
pub fn load(sources: &Sources<'_>) -> Result<Settings, ConfigError> {
    let mut settings = defaults(sources.as_qemu_ga);
    let named = sources.flags.config.as_deref().map(Path::new);
    let named_toml = named.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    for (path, required) in toml_files(named_toml)? {
        if let Some(text) = read(&path, required)? {
            let name = path.display().to_string();
            apply_toml(&mut settings, toml_file::parse(&name, &text)?, &name)?;
            settings.files.push(name);
        }
    }
    if let Some((path, required)) = key_file_path(named, sources.as_qemu_ga)
        && let Some(text) = read(&path, required)?
    {
        let name = path.display().to_string();
        apply_flags(&mut settings, &key_file::parse(&name, &text)?)?;
        settings.files.push(name);
    }
    apply_flags(&mut settings, sources.flags)?;
    finish(&mut settings, sources.purpose)?;
    Ok(settings)
}

/// What one file says over the built-in values: `guestd.toml`, or `qemu-ga.conf` where its name has another ending. Fails at the
/// first thing that is not understood.
pub fn from_text(name: &str, text: &str) -> Result<Settings, ConfigError> {
    let mut settings = defaults(false);
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        apply_toml(&mut settings, toml_file::parse(name, text)?, name)?;
    } else {
        apply_flags(&mut settings, &key_file::parse(name, text)?)?;
    }
    Ok(settings)
}

/// A hint at the known word that is nearest to a wrong one: `; did you mean "x"?`, or nothing.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // No known word is near one of this length, and comparing them would take long.
    if wrong.len() > MAX_SUGGESTED {
        return String::new();
    }
    let best = known.into_iter().map(|word| (strsim::damerau_levenshtein(wrong, word), word)).min();
    match best {
        Some((distance, word)) if distance <= wrong.len().max(word.len()) / 3 + 1 => {
            format!("; did you mean {word:?}?")
        }
        _ => String::new(),
    }
}

fn defaults(as_qemu_ga: bool) -> Settings {
    let (state_dir, pid_file) =
        if as_qemu_ga { ("/run", "/run/qemu-ga.pid") } else { ("/run/guestd", "/run/guestd.pid") };
    Settings {
        channels: Vec::new(),
        plugins: PluginSettings { directories: vec![plugin_dir()], ..PluginSettings::default() },
        commands: CommandSettings::default(),
        log: LogSettings { level: LogLevel::Info, target: LogTarget::Stderr },
        protocol: ProtocolSettings::default(),
        state_dir: state_dir.into(),
        state_dir_is_default: true,
        pid_file: pid_file.into(),
        daemonize: false,
        retry_path: false,
        files: Vec::new(),
        warnings: Vec::new(),
        unknown_method: None,
    }
}

/// The plugins beside the running executable, in a tree like `/usr`, else the installed ones.
fn plugin_dir() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("lib/guestd/plugins")));
    beside.filter(|path| path.is_dir()).unwrap_or_else(|| PLUGIN_DIR.into())
}

/// The daemon's files in their order, and whether each has to exist.
fn toml_files(named: Option<&Path>) -> Result<Vec<(PathBuf, bool)>, ConfigError> {
    let main = named.unwrap_or(Path::new(TOML_PATH));
    let mut files = vec![(main.to_owned(), named.is_some())];
    let drop_ins = main.parent().unwrap_or(Path::new("")).join("guestd.d");
    // A file that a stranger has put there could make the daemon run anything. To leave it out would be wrong as well, since
    // it may be one that forbids something.
    let directory = match Trust::of_agent().directory(&drop_ins) {
        Err(error) if error.is_absent() => return Ok(files),
        directory => directory.map_err(|error| cannot_read(&drop_ins, &error))?,
    };
    let names = directory.names().map_err(|error| cannot_read(&drop_ins, &error))?;
    let paths = names.into_iter().map(|name| drop_ins.join(name));
    files.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "toml")).map(|path| (path, true)));
    Ok(files)
}

/// qemu-ga's file and whether it has to exist: the one named, else the one of `QGA_CONF`, else, under qemu-ga's
/// name, the usual one.
fn key_file_path(named: Option<&Path>, as_qemu_ga: bool) -> Option<(PathBuf, bool)> {
    match named {
        Some(path) if path.extension().is_none_or(|extension| extension != "toml") => Some((path.to_owned(), true)),
        _ => {
            let variable: Option<OsString> = env::var_os("QGA_CONF");
            let usual = as_qemu_ga.then(|| KEY_FILE_PATH.into());
            Some((variable.map(PathBuf::from).or(usual)?, false))
        }
    }
}

fn read(path: &Path, required: bool) -> Result<Option<String>, ConfigError> {
    match Trust::of_agent().text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_absent() && !required => Ok(None),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

fn cannot_read(path: &Path, error: &Untrusted) -> ConfigError {
    ConfigError(match error.errno() {
        Some(errno) => format!("{}: cannot be read: {}", path.display(), errno.desc()),
        None => format!("{} {}", path.display(), error.about(path)),
    })
}

fn entries(names: impl IntoIterator<Item = String>, source: &str) -> impl Iterator<Item = ListEntry> {
    names.into_iter().map(move |name| ListEntry { name: name.trim().to_owned(), source: source.to_owned() })
}

fn apply_toml(settings: &mut Settings, file: TomlFile, name: &str) -> Result<(), ConfigError> {
    for channel in file.channel {
        settings.channels.push(channel_settings(channel).map_err(|what| ConfigError(format!("{name}: {what}")))?);
    }
    let plugins = &mut settings.plugins;
    plugins.directories.extend(file.plugins.directories);
    plugins.enable.extend(file.plugins.enable);
    plugins.disable.extend(file.plugins.disable);
    plugins.overrides.extend(file.plugins.overrides);
    plugins.max_faults = file.plugins.max_faults.unwrap_or(plugins.max_faults);
    for (set, section) in file.plugins.sections {
        merge(plugins.sections.entry(set).or_default(), section);
    }
    settings.commands.allow.extend(entries(file.commands.allow, name));
    settings.commands.block.extend(entries(file.commands.block, name));
    settings.commands.deadline.extend(file.commands.deadline);
    if let Some(level) = file.log.level {
        settings.log.level = match level {
            toml_file::Level::Error => LogLevel::Error,
            toml_file::Level::Warn => LogLevel::Warn,
            toml_file::Level::Info => LogLevel::Info,
            toml_file::Level::Debug => LogLevel::Debug,
            toml_file::Level::Trace => LogLevel::Trace,
        };
    }
    if let Some(target) = file.log.target {
        settings.log.target = LogTarget::from_text(&target);
    }
    if let Some(toml_file::Compat::V0_15) = file.protocol.compat {
        settings.protocol.compat = "0.15".to_owned();
    }
    if let Some(version) = file.protocol.reported_version {
        settings.protocol.reported_version = version;
    }
    if let Some(size) = file.protocol.memory_limit {
        settings.protocol.memory_limit = usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    }
    if let Some(seconds) = file.protocol.message_timeout {
        settings.protocol.message_timeout = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
    }
    if let Some(directory) = file.daemon.state_dir {
        settings.state_dir = directory;
        settings.state_dir_is_default = false;
    }
    if let Some(path) = file.daemon.pid_file {
        settings.pid_file = path;
    }
    Ok(())
}

fn channel_settings(channel: toml_file::Channel) -> Result<ChannelSettings, String> {
    let toml_file::Channel { method, path, users, cids } = channel;
    for (key, is_given, belongs_to) in
        [("users", !users.is_empty(), Method::UnixListen), ("cids", !cids.is_empty(), Method::VsockListen)]
    {
        if is_given && method != belongs_to {
            return Err(format!("[[channel]] {key} is for the method {belongs_to}, and not for {method}"));
        }
    }
    let users = users.into_iter().map(user_number).collect::<Result<_, _>>()?;
    let usual = ChannelSettings::new(method, path);
    Ok(ChannelSettings { users, cids: if cids.is_empty() { usual.cids } else { cids }, ..usual })
}

fn user_number(user: toml_file::User) -> Result<u32, String> {
    match user {
        toml_file::User::Number(uid) => Ok(uid),
        toml_file::User::Name(name) => match User::from_name(&name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(format!("[[channel]] users names {name:?}, and there is no such user")),
            Err(error) => Err(format!("[[channel]] users names {name:?}, who cannot be looked up: {error}")),
        },
    }
}

/// Puts a later file's section over an earlier one's: tables are merged, anything else is replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// What the command line says, or `qemu-ga.conf` in the same words.
fn apply_flags(settings: &mut Settings, flags: &Flags) -> Result<(), ConfigError> {
    if flags.method.is_some() || flags.path.is_some() {
        apply_channel(settings, flags)?;
    }
    if let Some(path) = &flags.logfile {
        settings.log.target = LogTarget::at_path(path);
    }
    if let Some(verbose) = flags.verbose {
        settings.log.level = if verbose { LogLevel::Debug } else { settings.log.level };
    }
    if let Some(path) = &flags.pidfile {
        settings.pid_file = path.into();
    }
    if let Some(hook) = &flags.fsfreeze_hook {
        let hook = hook.as_deref().unwrap_or(HOOK_PATH);
        settings.plugins.sections.entry("fsfreeze".to_owned()).or_default().insert("hook".to_owned(), hook.into());
    }
    if let Some(directory) = &flags.statedir {
        settings.state_dir = directory.into();
        settings.state_dir_is_default = false;
    }
    settings.daemonize = flags.daemonize.unwrap_or(settings.daemonize);
    settings.retry_path = flags.retry_path.unwrap_or(settings.retry_path);
    settings.commands.block.extend(entries(flags.block_rpcs.iter().cloned(), &flags.source));
    settings.commands.allow.extend(entries(flags.allow_rpcs.iter().cloned(), &flags.source));
    settings.warnings.extend(flags.warnings.iter().cloned());
    Ok(())
}

/// The command line and `qemu-ga.conf` know one channel. The last word about each half of it wins.
fn apply_channel(settings: &mut Settings, flags: &Flags) -> Result<(), ConfigError> {
    let method = flags.method.as_deref().and_then(Method::from_name);
    if let Some(name) = &flags.method {
        settings.unknown_method = method.is_none().then(|| (flags.source.clone(), name.clone()));
    }
    if settings.channels.len() > 1 && (flags.method.is_none() || flags.path.is_none()) {
        let (source, count) = (&flags.source, settings.channels.len());
        return Err(ConfigError(format!(
            "{source}: method and path make one channel of {count} that are configured, so that both have to be given"
        )));
    }
    let before = settings.channels.first().filter(|_| settings.channels.len() == 1);
    let method = method.or(before.map(|channel| channel.method)).unwrap_or(Method::VirtioSerial);
    let default_path = if settings.unknown_method.is_some() { None } else { method.default_path() };
    let path = flags.path.clone().or_else(|| match before {
        Some(channel) if channel.method == method || default_path.is_none() => Some(channel.path.clone()),
        _ => None,
    });
    let path = path.unwrap_or_else(|| default_path.unwrap_or_default().to_owned());
    let peers = before.filter(|channel| channel.method == method);
    let usual = ChannelSettings::new(method, Some(path));
    settings.channels = vec![match peers {
        Some(peers) => ChannelSettings { users: peers.users.clone(), cids: peers.cids.clone(), ..usual },
        None => usual,
    }];
    Ok(())
}

/// The names of a list: none in an empty text, else what stands between the separators, without blanks around it.
pub fn names(list: &str, separators: &[char]) -> Vec<String> {
    if list.is_empty() { Vec::new() } else { list.split(separators).map(|name| name.trim().to_owned()).collect() }
}

fn finish(settings: &mut Settings, purpose: Purpose) -> Result<(), ConfigError> {
    if let (Purpose::Run, Some((source, name))) = (purpose, &settings.unknown_method) {
        let known = Method::ALL.map(Method::name);
        return Err(ConfigError(format!("{source}: unknown method {name:?}{}", suggestion(name, known))));
    }
    if settings.channels.is_empty() {
        settings.channels.push(ChannelSettings::new(Method::VirtioSerial, None));
    }
    let activated = env::var_os("LISTEN_FDS").is_some();
    for channel in &settings.channels {
        if channel.path.is_empty() && !activated {
            let method = settings.unknown_method.as_ref().map_or(channel.method.name(), |(_, name)| name.as_str());
            return Err(ConfigError(format!("a channel with the method {method} needs a path")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn load_with(flags: Flags) -> Result<Settings, ConfigError> {
        load_for(Purpose::Run, flags)
    }

    fn load_for(purpose: Purpose, flags: Flags) -> Result<Settings, ConfigError> {
        let flags = Flags { source: "the command line".to_owned(), ..flags };
        load(&Sources { flags: &flags, as_qemu_ga: false, purpose })
    }

    fn names(entries: &[ListEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn files_and_flags_add_up_and_the_later_wins() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("guestd.toml");
        fs::create_dir(dir.path().join("guestd.d")).unwrap();
        fs::write(&main, "[commands]\nblock=[' a']\n[daemon]\nstate-dir='/one'\n[plugins.x]\nk=1\nl=1\nt={a=1,b=1}\n")
            .unwrap();
        fs::write(dir.path().join("guestd.d/20-b.toml"), "[daemon]\nstate-dir='/three'\n").unwrap();
        fs::write(dir.path().join("guestd.d/10-a.toml"), "[daemon]\nstate-dir='/two'\n[plugins.x]\nk=2\nt={b=2}\n")
            .unwrap();
        fs::write(dir.path().join("guestd.d/ignored"), "nonsense").unwrap();
        let flags = Flags {
            config: Some(main.display().to_string()),
            block_rpcs: vec!["b".into(), "c".into()],
            ..Flags::default()
        };
        let settings = load_with(flags).unwrap();
        assert_eq!(settings.state_dir, PathBuf::from("/three"));
        assert_eq!(names(&settings.commands.block), ["a", "b", "c"]);
        assert_eq!(settings.commands.block[0].source, main.display().to_string());
        assert_eq!(settings.plugins.section("x"), r#"{"k":2,"l":1,"t":{"a":1,"b":2}}"#);
        assert_eq!(settings.channels[0].path, crate::config::VIRTIO_PATH);
        let files = ["guestd.toml", "guestd.d/10-a.toml", "guestd.d/20-b.toml"];
        assert_eq!(settings.files, files.map(|name| dir.path().join(name).display().to_string()));
    }

    #[test]
    fn a_channel_is_what_the_last_words_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("x.conf");
        fs::write(&conf, "[general]\nmethod=unix-listen\npath=/x\n").unwrap();
        let config = Some(conf.display().to_string());
        let channel = |flags| load_with(flags).unwrap().channels;
        let flags = Flags { config: config.clone(), path: Some("/y".into()), ..Flags::default() };
        assert_eq!(channel(flags), [ChannelSettings::new(Method::UnixListen, Some("/y".into()))]);
        let flags = Flags { method: Some("isa-serial".into()), ..Flags::default() };
        assert_eq!(channel(flags), [ChannelSettings::new(Method::IsaSerial, None)]);
        let flags = Flags { method: Some("unix-listen".into()), ..Flags::default() };
        assert_eq!(load_with(flags).unwrap_err().to_string(), "a channel with the method unix-listen needs a path");
    }

    #[test]
    fn a_method_that_is_none_can_only_be_shown() {
        let flags = |path: Option<&str>| Flags {
            method: Some("isa-seral".into()),
            path: path.map(str::to_owned),
            ..Flags::default()
        };
        let error = load_with(flags(Some("/x"))).unwrap_err().to_string();
        assert_eq!(error, "the command line: unknown method \"isa-seral\"; did you mean \"isa-serial\"?");
        let shown = load_for(Purpose::Dump, flags(Some("/x"))).unwrap();
        assert_eq!(shown.unknown_method.unwrap().1, "isa-seral");
        // As qemu-ga: only virtio-serial and isa-serial have a path of their own.
        let error = load_for(Purpose::Dump, flags(None)).unwrap_err().to_string();
        assert_eq!(error, "a channel with the method isa-seral needs a path");
    }

    #[test]
    fn half_a_channel_does_not_replace_several() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("guestd.toml");
        let channel = |path: &str| format!("[[channel]]\nmethod='unix-listen'\npath='{path}'\n");
        fs::write(&main, channel("/a") + &channel("/b")).unwrap();
        let config = Some(main.display().to_string());
        for (method, path) in [(None, Some("/q")), (Some("vsock-listen"), None)] {
            let (method, path) = (method.map(str::to_owned), path.map(str::to_owned));
            let error = load_with(Flags { config: config.clone(), method, path, ..Flags::default() }).unwrap_err();
            assert!(error.to_string().contains("one channel of 2 that are configured"), "{error}");
        }
        let whole = Flags { config, method: Some("unix-listen".into()), path: Some("/q".into()), ..Flags::default() };
        assert_eq!(load_with(whole).unwrap().channels, [ChannelSettings::new(Method::UnixListen, Some("/q".into()))]);
    }

    #[test]
    fn a_file_that_is_named_must_exist() {
        for name in ["/nonexistent/x.toml", "/nonexistent/x.conf"] {
            let error = load_with(Flags { config: Some(name.into()), ..Flags::default() }).unwrap_err();
            assert!(error.to_string().contains("No such file"), "{error}");
        }
    }
}

//! `qemu-ga.conf`, a key file as GLib reads it: `[general]` and `key=value` lines.

use super::ConfigError;
use crate::cli::Flags;

/// Reads the text of the file called `name`, which says what the command line can say. Fails on anything that is not
/// understood.
pub fn parse(name: &str, text: &str) -> Result<Flags, ConfigError> {
    let mut file = Flags { source: name.to_owned(), ..Flags::default() };
    let mut group: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let at = |what: String| ConfigError(format!("{name}:{}: {what}", index + 1));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(inner) = line.strip_prefix('[') {
            group = Some(inner.strip_suffix(']').ok_or_else(|| at(format!("{line:?} is no group header")))?);
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| at(format!("{line:?} is neither a key nor a group")))?;
        match group {
            Some("general") => {}
            Some(other) => return Err(at(format!("unknown group [{other}]; qemu-ga.conf has only [general]"))),
            None => return Err(at("a key before the group [general]".to_owned())),
        }
        let value = unescape(value.trim_start());
        let boolean = |value: &str| match value.trim_end() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(at(format!("{other:?} is neither true nor false"))),
        };
        match key.trim_end() {
            // QEMU's manual spells it the second way.
            "daemon" | "daemonize" => file.daemonize = Some(boolean(&value)?),
            "method" => file.method = Some(value),
            "path" => file.path = Some(value),
            "logfile" => file.logfile = Some(value),
            "pidfile" => file.pidfile = Some(value),
            "fsfreeze-hook" => file.fsfreeze_hook = Some(Some(value)),
            "statedir" => file.statedir = Some(value),
            "verbose" => file.verbose = Some(boolean(&value)?),
            "retry-path" => file.retry_path = Some(boolean(&value)?),
            // The second name is the one of qemu-ga before 8.0.
            "block-rpcs" | "blacklist" => file.block_rpcs = vec![value],
            "allow-rpcs" => file.allow_rpcs = vec![value],
            other => {
                let known = [
                    "daemon",
                    "method",
                    "path",
                    "logfile",
                    "pidfile",
                    "fsfreeze-hook",
                    "statedir",
                    "verbose",
                    "retry-path",
                    "block-rpcs",
                    "allow-rpcs",
                ];
                return Err(at(format!("unknown key {other:?}{}", super::load::suggestion(other, known))));
            }
        }
    }
    Ok(file)
}

/// Undoes GLib's escapes for white space and the backslash.
fn unescape(value: &str) -> String {
    let mut chars = value.chars();
    let mut plain = String::with_capacity(value.len());
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('s') => plain.push(' '),
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_comments_blanks_and_escapes() {
        let text = "# comment\n\n [general] \n daemon = 1\npath=/a\\sb\nverbose=false\nblock-rpcs=guest-a, guest-b\n";
        let file = parse("x.conf", text).unwrap();
        assert_eq!((file.daemonize, file.verbose), (Some(true), Some(false)));
        assert_eq!(file.path.as_deref(), Some("/a b"));
        assert_eq!(file.block_rpcs, ["guest-a, guest-b"]);
        let empty = Flags { source: "x.conf".to_owned(), ..Flags::default() };
        assert_eq!(parse("x.conf", "").unwrap(), empty);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, expected) in [
            ("nonsense", "x.conf:1: \"nonsense\" is neither a key nor a group"),
            ("[general]\nverbose=maybe", "x.conf:2: \"maybe\" is neither true nor false"),
            ("[general]\nverbos=1", "x.conf:2: unknown key \"verbos\"; did you mean \"verbose\"?"),
            ("verbose=1", "x.conf:1: a key before the group [general]"),
            ("[other]\na=1", "x.conf:2: unknown group [other]; qemu-ga.conf has only [general]"),
            ("[general", "x.conf:1: \"[general\" is no group header"),
        ] {
            assert_eq!(parse("x.conf", text).unwrap_err().to_string(), expected);
        }
    }
}

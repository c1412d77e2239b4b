//! `qemu-ga.conf`, a key file as GLib reads it: `[general]` and `key=value` lines.

use super::{ConfigError, names, suggestion};
use crate::cli::Flags;

/// The group that counts.
pub const GROUP: &str = "general";

/// The keys, as qemu-ga has them. Its manual calls the first `daemonize`.
const KEYS: [&str; 11] = [
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

/// Between the names of a list: qemu-ga's separator, and GLib's own.
const SEPARATORS: [char; 2] = [',', ';'];

/// Reads the text of the file called `name`, which says what the command line can say. Fails on what is no key file and on
/// values that are none. A group or key that is not known is a warning: a guest that loses its agent at an upgrade is worse
/// off than one with a setting less.
pub fn parse(name: &str, text: &str) -> Result<Flags, ConfigError> {
    let mut file = Flags { source: name.to_owned(), ..Flags::default() };
    let mut group: Option<&str> = None;
    let mut formerly_blocked = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        let at = |what: String| ConfigError(format!("{place}: {what}"));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(inner) = line.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| at(format!("{line:?} is no group header")))?;
            if inner != GROUP {
                file.warnings.push(format!("{place}: the unknown group {inner:?} is ignored; there is only {GROUP:?}"));
            }
            group = Some(inner);
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| at(format!("{line:?} is neither a key nor a group")))?;
        match group {
            Some(GROUP) => {}
            Some(_) => continue,
            None => return Err(at(format!("a key before the group [{GROUP}]"))),
        }
        let value = unescape(value.trim_start());
        let boolean = |value: &str| match value.trim_end() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(at(format!("{other:?} is neither true nor false"))),
        };
        match key.trim_end() {
            "daemon" | "daemonize" => file.daemonize = Some(boolean(&value)?),
            "method" => file.method = Some(value),
            "path" => file.path = Some(value),
            "logfile" => file.logfile = Some(value),
            "pidfile" => file.pidfile = Some(value),
            "fsfreeze-hook" => file.fsfreeze_hook = Some(Some(value)),
            "statedir" => file.statedir = Some(value),
            "verbose" => file.verbose = Some(boolean(&value)?),
            "retry-path" => file.retry_path = Some(boolean(&value)?),
            "block-rpcs" => file.block_rpcs = names(&value, &SEPARATORS),
            "allow-rpcs" => file.allow_rpcs = names(&value, &SEPARATORS),
            // The name of block-rpcs in qemu-ga before 8.0.
            "blacklist" => {
                file.warnings.push(format!("{place}: blacklist is now called block-rpcs"));
                formerly_blocked = names(&value, &SEPARATORS);
            }
            other => {
                let hint = suggestion(other, KEYS);
                file.warnings.push(format!("{place}: the unknown key {other:?} is ignored{hint}"));
            }
        }
    }
    file.block_rpcs.extend(formerly_blocked);
    Ok(file)
}

/// Writes a file that [`parse`] reads: these keys with their values, in their order.
pub fn text<'a>(values: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines = values.into_iter().map(|(key, value)| format!("{key}={}\n", escape(&value)));
    [format!("[{GROUP}]\n")].into_iter().chain(lines).collect()
}

/// Escapes what would not be read as it was written, as GLib does: line ends, the backslash, and blanks in front.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let mut in_front = true;
    for char in value.chars() {
        in_front &= matches!(char, ' ' | '\t');
        match char {
            ' ' if in_front => escaped.push_str("\\s"),
            '\t' if in_front => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\\' => escaped.push_str("\\\\"),
            other => escaped.push(other),
        }
    }
    escaped
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
        assert_eq!(file.block_rpcs, ["guest-a", "guest-b"]);
        let empty = Flags { source: "x.conf".to_owned(), ..Flags::default() };
        assert_eq!(parse("x.conf", "").unwrap(), empty);
    }

    #[test]
    fn lists_have_either_separator_and_blanks_around_names() {
        let text = "[general]\nblock-rpcs = guest-a;guest-b , guest-c\nallow-rpcs=guest-d;\nblacklist=guest-e\n";
        let file = parse("x.conf", text).unwrap();
        assert_eq!(file.block_rpcs, ["guest-a", "guest-b", "guest-c", "guest-e"]);
        assert_eq!(file.allow_rpcs, ["guest-d", ""]);
        assert_eq!(file.warnings, ["x.conf:4: blacklist is now called block-rpcs"]);
    }

    #[test]
    fn what_is_not_known_is_a_warning() {
        let text = "[general]\nverbos=1\nblock-rpcs=guest-a\n[other]\na=1\n[general]\nverbose=1\n";
        let file = parse("x.conf", text).unwrap();
        assert_eq!((file.verbose, file.block_rpcs.len()), (Some(true), 1));
        let expected = [
            "x.conf:2: the unknown key \"verbos\" is ignored; did you mean \"verbose\"?",
            r#"x.conf:4: the unknown group "other" is ignored; there is only "general""#,
        ];
        assert_eq!(file.warnings, expected);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, expected) in [
            ("nonsense", "x.conf:1: \"nonsense\" is neither a key nor a group"),
            ("[general]\nverbose=maybe", "x.conf:2: \"maybe\" is neither true nor false"),
            ("verbose=1", "x.conf:1: a key before the group [general]"),
            ("[general", "x.conf:1: \"[general\" is no group header"),
        ] {
            assert_eq!(parse("x.conf", text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_is_written_is_what_glib_writes_and_reads() {
        // Recorded from qemu-ga 10.0.2 and 11.1.3, `--dump-conf`.
        for (value, expected) in [
            ("  a b\tc\\d\n\re ", "\\s\\sa b\tc\\\\d\\n\\re "),
            ("\ta", "\\ta"),
            ("\u{e9};x,y=z#", "\u{e9};x,y=z#"),
            ("\\x01", "\\\\x01"),
        ] {
            let text = text([("path", value.to_owned())]);
            assert_eq!(text, format!("[general]\npath={expected}\n"));
            assert_eq!(parse("x.conf", &text).unwrap().path.unwrap().trim_end(), value.trim_end());
        }
    }
}

//! The manifest: what a plugin file says of itself, readable without loading it.
//!
//! It is the descriptor of an ELF note (`man 5 elf`, "Notes") in the section [`NOTE_SECTION`], whose name is
//! [`NOTE_NAME`] and whose type is [`NOTE_TYPE`]. The descriptor is UTF-8 text, a key and its value a line:
//!
//! ```text
//! guestd-plugin 1
//! abi 1.0
//! name hello
//! version 0.1.0
//! vendor Example Ltd
//! summary Says hello
//! capability CAP_SYS_ADMIN
//! command __com.example_hello 10 FREEZE_SAFE INSTANT
//! commands-from commands
//! start-if watch
//! overdue-limit 8
//! ```
//!
//! The first line is the format's own version. `capability` and `command` may occur any number of times, the other
//! keys once each. A command line is its name, its deadline in whole seconds (0: the daemon's default) and the
//! names of its flags.
//!
//! `commands-from KEY`: the configuration defines further commands of this set. Each key of the table KEY in its section is the
//! name of one, spelt as a vendor's; a number `timeout` in its table is its time limit in seconds, 10 without it. Such a command is
//! called with the index [`BY_NAME`]. `start-if KEY`: the set is started with the daemon, instead of at its first call, if
//! its section has that key. `overdue-limit NUMBER`: a call that is past its deadline and does not come back makes nothing but what
//! it works on busy, since the set itself refuses further calls on that; the set is busy as a whole when so many hang. Without
//! it one does.
//!
//! Lines with unknown keys are ignored, and so are unknown flags: a newer sdk may write them.

use std::fmt;

use crate::command_flags;

/// The section that holds the note. The linker gives it the type `SHT_NOTE` and puts it into a `PT_NOTE` segment.
pub const NOTE_SECTION: &str = ".note.guestd";
/// The note's name, with the NUL that the ELF format counts.
pub const NOTE_NAME: &[u8; 7] = b"guestd\0";
/// The note's type.
pub const NOTE_TYPE: u32 = 1;

/// The index of every command that comes from the configuration: its name is the request's member `execute`.
pub const BY_NAME: u32 = u32::MAX;

/// The first line of every manifest that this crate reads.
const FORMAT_LINE: &str = "guestd-plugin 1";

/// An ELF note with a descriptor of `N` bytes, laid out as the file format demands; the sdk's macro makes one.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_size: u32,
    desc_size: u32,
    kind: u32,
    name: [u8; 8],
    desc: [u8; N],
}

impl<const N: usize> Note<N> {
    /// Puts `text`, of exactly `N` bytes, into a note.
    pub const fn new(text: &str) -> Self {
        assert!(text.len() == N, "N must be the length of the text");
        let desc = match text.as_bytes().first_chunk() {
            Some(desc) => *desc,
            None => [0; N],
        };
        Self { name_size: NOTE_NAME.len() as u32, desc_size: N as u32, kind: NOTE_TYPE, name: *b"guestd\0\0", desc }
    }

    /// The text that it was made of.
    pub const fn text(&self) -> &str {
        match std::str::from_utf8(&self.desc) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

/// A manifest, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The boundary it was built for, `(major, minor)`.
    pub abi: (u32, u32),
    /// The set's name: `[a-z][a-z0-9-]*`, 32 characters at most.
    pub name: String,
    /// The set's version, for people.
    pub version: String,
    /// Who makes it, for people.
    pub vendor: String,
    /// One line that says what it is for.
    pub summary: String,
    /// The Linux capabilities that its commands need, by their names in `capabilities(7)`.
    pub capabilities: Vec<String>,
    /// Its commands, in the order of the plugin's table.
    pub commands: Vec<ManifestCommand>,
    /// The table in its section whose keys are further commands.
    pub commands_from: Option<String>,
    /// The key in its section with which it is started together with the daemon.
    pub start_if: Option<String>,
    /// How many calls past their deadline make the whole set busy.
    pub overdue_limit: u32,
}

/// A command line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestCommand {
    /// The name on the wire.
    pub name: String,
    /// A set of [`command_flags`].
    pub flags: u32,
    /// The deadline in milliseconds; 0: the daemon's default.
    pub deadline_ms: u32,
}

/// Why a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

fn error<T>(text: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError(text.into()))
}

impl Manifest {
    /// Reads the text of a manifest. Fails where a key is missing, is given twice or has a value that it cannot have.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut lines = text.lines();
        match lines.next() {
            Some(FORMAT_LINE) => {}
            first => return error(format!("its manifest begins with {first:?}, not {FORMAT_LINE:?}")),
        }
        let (mut abi, mut name, mut version, mut vendor, mut summary) = (None, None, None, None, None);
        let (mut commands_from, mut start_if, mut overdue_limit) = (None, None, None);
        let (mut capabilities, mut commands) = (Vec::new(), Vec::new());
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let once = match key {
                "abi" => &mut abi,
                "name" => &mut name,
                "version" => &mut version,
                "vendor" => &mut vendor,
                "summary" => &mut summary,
                "commands-from" => &mut commands_from,
                "start-if" => &mut start_if,
                "overdue-limit" => &mut overdue_limit,
                "capability" => {
                    capabilities.push(value.to_owned());
                    continue;
                }
                "command" => {
                    commands.push(ManifestCommand::parse(value)?);
                    continue;
                }
                _ => continue,
            };
            if once.replace(value.to_owned()).is_some() {
                return error(format!("its manifest has two lines {key:?}"));
            }
        }
        let need = |value: Option<String>, key: &str| match value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => error(format!("its manifest has no {key:?}")),
        };
        let manifest = Self {
            abi: parse_abi(&need(abi, "abi")?)?,
            name: need(name, "name")?,
            version: need(version, "version")?,
            vendor: need(vendor, "vendor")?,
            summary: summary.unwrap_or_default(),
            capabilities,
            commands,
            commands_from,
            start_if,
            overdue_limit: overdue_limit.map_or(Ok(1), |text| parse_overdue_limit(&text))?,
        };
        if !is_set_name(&manifest.name) {
            return error(format!("{:?} is no name for a command set ([a-z][a-z0-9-]*)", manifest.name));
        }
        let mut names: Vec<_> = manifest.commands.iter().map(|c| &c.name).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [one, other] = pair
                && one == other
            {
                return error(format!("its manifest lists {one:?} twice"));
            }
        }
        Ok(manifest)
    }
}

impl ManifestCommand {
    fn parse(value: &str) -> Result<Self, ManifestError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(name), Some(seconds)) = (words.next(), words.next()) else {
            return error(format!("its manifest has a command line without a name and a deadline: {value:?}"));
        };
        let Some(deadline_ms) = seconds.parse().ok().and_then(|s: u32| s.checked_mul(1000)) else {
            return error(format!("its manifest gives {name} the deadline {seconds:?}"));
        };
        let flags = words.map(flag_of_name).fold(0, |all, one| all | one);
        let command = Self { name: name.to_owned(), flags, deadline_ms };
        if command.flags & command_flags::OVERTAKES != 0 && command.flags & command_flags::INSTANT == 0 {
            return error(format!("its manifest says that {name} overtakes others but not that it is instant"));
        }
        let both = command_flags::INSTANT | command_flags::OFTEN_INSTANT;
        if command.flags & both == both {
            return error(format!("its manifest says that {name} is instant, and that it is often instant"));
        }
        Ok(command)
    }
}

/// Whether this is a name for a command set.
fn is_set_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn parse_abi(text: &str) -> Result<(u32, u32), ManifestError> {
    let numbers = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some(numbers) => Ok(numbers),
        None => error(format!("its manifest names the boundary {text:?}, which is no version")),
    }
}

fn parse_overdue_limit(text: &str) -> Result<u32, ManifestError> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => error(format!("its manifest has the overdue-limit {text:?}")),
    }
}

/// The bit of a flag's name; 0 for one that this version does not know.
fn flag_of_name(name: &str) -> u32 {
    match name {
        "INSTANT" => command_flags::INSTANT,
        "FREEZE_SAFE" => command_flags::FREEZE_SAFE,
        "NO_SUCCESS_RESPONSE" => command_flags::NO_SUCCESS_RESPONSE,
        "OVERTAKES" => command_flags::OVERTAKES,
        "OFTEN_INSTANT" => command_flags::OFTEN_INSTANT,
        "OWN_THREAD" => command_flags::OWN_THREAD,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "guestd-plugin 1\nabi 1.0\nname hello\nversion 0.1.0\nvendor Example Ltd\nsummary Says hello\n\
        capability CAP_SYS_ADMIN\ncommand a 10 INSTANT FREEZE_SAFE FROM_THE_FUTURE\ncommand b 0\nmood good\n\
        commands-from table\nstart-if watch\noverdue-limit 8\n";

    #[test]
    fn a_manifest_is_taken_apart_and_what_is_unknown_ignored() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!((manifest.abi, manifest.name.as_str()), ((1, 0), "hello"));
        assert_eq!((manifest.vendor.as_str(), manifest.overdue_limit), ("Example Ltd", 8));
        assert_eq!(Manifest::parse(&GOOD.replace("overdue-limit 8\n", "")).unwrap().overdue_limit, 1);
        assert_eq!(manifest.capabilities, ["CAP_SYS_ADMIN"]);
        assert_eq!((manifest.commands_from.as_deref(), manifest.start_if.as_deref()), (Some("table"), Some("watch")));
        assert_eq!(
            manifest.commands,
            [
                ManifestCommand { name: "a".into(), flags: 3, deadline_ms: 10_000 },
                ManifestCommand { name: "b".into(), flags: 0, deadline_ms: 0 },
            ]
        );
    }

    #[test]
    fn what_is_missing_doubled_or_wrong_is_named() {
        for (from, to, expected) in [
            ("guestd-plugin 1", "guestd-plugin 2", "begins with"),
            ("abi 1.0\n", "", "no \"abi\""),
            ("abi 1.0", "abi one", "no version"),
            ("name hello", "name Hello", "no name for a command set"),
            ("version 0.1.0", "version ", "no \"version\""),
            ("vendor Example Ltd", "vendor A\nvendor B", "two lines \"vendor\""),
            ("command b 0", "command a 0", "twice"),
            ("command b 0", "command b", "without a name and a deadline"),
            ("command b 0", "command b 99999999", "the deadline"),
            ("overdue-limit 8", "overdue-limit 0", "the overdue-limit"),
            ("overdue-limit 8", "overdue-limit many", "the overdue-limit"),
            ("command b 0", "command b 0 OVERTAKES", "overtakes others"),
            ("command b 0", "command b 0 INSTANT OFTEN_INSTANT", "often instant"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let error = Manifest::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{to:?}: {error}");
        }
    }

    #[test]
    fn a_note_is_laid_out_as_elf_demands() {
        const TEXT: &str = "guestd-plugin 1\n";
        let note = Note::<{ TEXT.len() }>::new(TEXT);
        assert_eq!((note.name_size, note.desc_size, note.kind), (7, 16, 1));
        assert_eq!(std::mem::offset_of!(Note<16>, desc), 12 + 8);
        assert_eq!(&note.desc, TEXT.as_bytes());
        assert_eq!(note.text(), TEXT);
    }
}

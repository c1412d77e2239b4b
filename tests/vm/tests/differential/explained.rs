//! The differences that are known, each with its reason: `differences.json`.

use serde::Deserialize;

use crate::compare::{Difference, Kind};

/// A known difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The place, `*` for any text.
    place: String,
    kind: String,
    /// The qemu-ga that differs so, by the beginning of its version; every one if absent.
    of: Option<String>,
    reason: String,
}

impl Entry {
    fn fits(&self, kind: Kind, difference: &Difference) -> bool {
        kind == difference.kind && matches(self.place.as_bytes(), difference.place.as_bytes())
    }
}

/// The list, and which of its entries were of use.
#[derive(Debug)]
pub struct Explained {
    entries: Vec<(Entry, Kind, usize)>,
}

impl Explained {
    /// What is listed of a version of qemu-ga.
    pub fn read(version: &str) -> Self {
        let mut entries: Vec<Entry> = serde_json::from_str(include_str!("differences.json")).unwrap();
        entries.retain(|entry| entry.of.as_ref().is_none_or(|of| version.starts_with(of.as_str())));
        let with_kind = |entry: Entry| {
            let kind = Kind::ALL.iter().find(|(_, name)| *name == entry.kind);
            let kind = kind.unwrap_or_else(|| panic!("no such kind: {}", entry.kind)).0;
            assert!(entry.reason.len() > 10, "{} has no reason", entry.place);
            (entry, kind, 0)
        };
        Self { entries: entries.into_iter().map(with_kind).collect() }
    }

    /// Whether a difference is listed.
    pub fn has(&self, difference: &Difference) -> bool {
        self.entries.iter().any(|(entry, kind, _)| entry.fits(*kind, difference))
    }

    /// The same, and the entry counts as used.
    pub fn explains(&mut self, difference: &Difference) -> bool {
        let entry = self.entries.iter_mut().find(|(entry, kind, _)| entry.fits(*kind, difference));
        entry.map(|(_, _, used)| *used += 1).is_some()
    }

    /// Every entry as a line, with the number of places that it explains.
    pub fn lines(&self) -> Vec<String> {
        let line =
            |(entry, kind, used): &(Entry, Kind, usize)| format!("{used} x {} ({kind}): {}", entry.place, entry.reason);
        self.entries.iter().map(line).collect()
    }

    /// The entries that explain nothing.
    pub fn unused(&self) -> Vec<&str> {
        self.entries.iter().filter(|(_, _, used)| *used == 0).map(|(entry, _, _)| entry.place.as_str()).collect()
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => matches(rest, text) || (!text.is_empty() && matches(pattern, &text[1..])),
        ([first, rest @ ..], [other, tail @ ..]) => first == other && matches(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let fits = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes());
        assert!(fits("a/*/c", "a/b/c") && fits("*", "") && fits("a*", "a/b"));
        assert!(!fits("a/*/c", "a/b/d") && !fits("a", "ab") && !fits("ab", "a"));
    }
}

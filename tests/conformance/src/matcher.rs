//! Comparing an answer with the recorded one.
//!
//! Expected answers may hold wildcards such as `<int>`, `<int=h>` (which also binds
//! `h`) and `<re:REGEX>`, and lists that begin with `<has>`, of which the other items
//! must occur.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use regex::Regex;

use crate::cases::Compare;
use crate::json::Json;

/// First item of an expected list whose other items must occur, in any order.
const HAS: &str = "<has>";

/// The outcome of a comparison; the error describes the first difference.
pub type Verdict = Result<(), String>;

/// Compares the answers of one case and remembers the names that they bind.
pub struct Matcher {
    mode: Compare,
    loose_numbers: bool,
    key_order: bool,
    wildcard: Regex,
    bound: BTreeMap<String, String>,
}

impl Matcher {
    /// A matcher for one run of one case.
    pub fn new(mode: Compare, loose_numbers: bool, key_order: bool) -> Result<Matcher> {
        let wildcard = r"(?s)\A<(any|int|num|str|bool|list|obj|re)(?:=(\w+))?(?::(.*))?>\z";
        let wildcard = Regex::new(wildcard).context("pattern of the wildcards")?;
        Ok(Matcher { mode, loose_numbers, key_order, wildcard, bound: BTreeMap::new() })
    }

    /// The names that wildcards have bound, with the values as text.
    pub fn bound(&self) -> &BTreeMap<String, String> {
        &self.bound
    }

    /// Compare a whole answer.
    pub fn compare(&mut self, want: &Json, got: &Json) -> Verdict {
        if self.mode == Compare::Class
            && let (Some(want), Some(got)) = (only_class(want), only_class(got))
        {
            return self.differ(&want, &got, "");
        }
        self.differ(want, got, "")
    }

    fn differ(&mut self, want: &Json, got: &Json, at: &str) -> Verdict {
        let bad = || Err(format!("{}: expected {}, got {}", place(at), brief(want), brief(got)));
        if let Json::Str(text) = want {
            if let Some((kind, name, pattern)) = self.read_wildcard(text) {
                if let Some(name) = name {
                    self.bound.insert(name, got.plain());
                }
                let fits = fits(&kind, &pattern, got).map_err(|err| format!("{err:#}"))?;
                return if fits { Ok(()) } else { bad() };
            }
            let same = match got {
                Json::Str(got) => self.mode == Compare::Shape || fill(text, &self.bound) == *got,
                _ => false,
            };
            return if same { Ok(()) } else { bad() };
        }
        match (want, got) {
            (Json::Object(want), Json::Object(got)) => self.differ_objects(want, got, at),
            (Json::List(want), Json::List(got)) => self.differ_lists(want, got, at),
            (Json::Int(_), Json::Float(_)) | (Json::Float(_), Json::Int(_)) => {
                let equal = self.loose_numbers && want.number() == got.number();
                if self.mode == Compare::Shape || equal { Ok(()) } else { bad() }
            }
            _ if want.kind() != got.kind() => bad(),
            _ if self.mode == Compare::Shape || want == got => Ok(()),
            _ => bad(),
        }
    }

    fn differ_objects(&mut self, want: &[(String, Json)], got: &[(String, Json)], at: &str) -> Verdict {
        let names =
            |members: &[(String, Json)]| -> Vec<String> { members.iter().map(|(key, _)| key.clone()).collect() };
        let (mut wanted, mut found) = (names(want), names(got));
        if !self.key_order {
            wanted.sort();
            found.sort();
        }
        if wanted != found {
            let got = brief(&Json::Object(got.to_vec()));
            return Err(format!("{}: expected the keys {wanted:?}, got {found:?}: {got}", place(at)));
        }
        for (key, want) in want {
            if let Some((_, got)) = got.iter().find(|(name, _)| name == key) {
                self.differ(want, got, &format!("{at}.{key}"))?;
            }
        }
        Ok(())
    }

    fn differ_lists(&mut self, want: &[Json], got: &[Json], at: &str) -> Verdict {
        if let Some((Json::Str(first), wanted)) = want.split_first()
            && first == HAS
        {
            return self.all_found(wanted, got, at);
        }
        if self.mode == Compare::Shape {
            let inside_list = at.contains('[');
            if want.is_empty() || got.is_empty() {
                // Whether an inner list is empty is left to what the machine has.
                if inside_list || want.is_empty() == got.is_empty() {
                    return Ok(());
                }
                let (want, got) = (want.len(), got.len());
                return Err(format!("{}: expected {want} items, got {got}", place(at)));
            }
            return self.all_known(want, got, at);
        }
        if want.len() != got.len() {
            let (want, got) = (Json::List(want.to_vec()), Json::List(got.to_vec()));
            return Err(format!("{}: expected {}, got {}", place(at), brief(&want), brief(&got)));
        }
        for (i, (want, got)) in want.iter().zip(got).enumerate() {
            self.differ(want, got, &format!("{at}[{i}]"))?;
        }
        Ok(())
    }

    /// Whether each of the wanted items is like one of those that came.
    fn all_found(&mut self, want: &[Json], got: &[Json], at: &str) -> Verdict {
        for item in want {
            if !got.iter().any(|other| self.differ(item, other, "[]").is_ok()) {
                return Err(format!("{}: nothing like {}", place(at), brief(item)));
            }
        }
        Ok(())
    }

    /// Whether each of the items that came is like one of the recorded ones.
    fn all_known(&mut self, want: &[Json], got: &[Json], at: &str) -> Verdict {
        for item in got {
            if !want.iter().any(|other| self.differ(other, item, "[]").is_ok()) {
                return Err(format!("{}: unknown shape {}", place(at), brief(item)));
            }
        }
        Ok(())
    }

    /// Kind, bound name and pattern of a wildcard; `None` if the text is none.
    fn read_wildcard(&self, text: &str) -> Option<(String, Option<String>, String)> {
        if !text.starts_with('<') {
            return None;
        }
        let parts = self.wildcard.captures(text)?;
        let part = |i| parts.get(i).map(|part| part.as_str().to_owned());
        Some((part(1)?, part(2), part(3).unwrap_or_default()))
    }
}

/// Replace each `{name}` in the text.
pub fn fill(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    if text.contains('{') {
        for (name, value) in names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
    }
    text
}

/// The value as text, short enough for a message.
pub fn brief(value: &Json) -> String {
    shorten(value.to_string(), 160)
}

/// Cut a text that is longer than `limit` characters.
pub fn shorten(text: String, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text,
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

fn place(at: &str) -> String {
    format!("at {}", if at.is_empty() { "." } else { at })
}

fn fits(kind: &str, pattern: &str, got: &Json) -> Result<bool> {
    Ok(match kind {
        "any" => true,
        "num" => matches!(got, Json::Int(_) | Json::Float(_)),
        "re" => {
            let whole =
                Regex::new(&format!(r"(?s)\A(?:{pattern})\z")).with_context(|| format!("pattern {pattern:?}"))?;
            got.as_str().is_some_and(|text| whole.is_match(text))
        }
        kind => got.kind() == kind,
    })
}

/// The answer with nothing but the class of its error; `None` if it is no error.
fn only_class(answer: &Json) -> Option<Json> {
    let Json::Object(members) = answer else { return None };
    let Some(error @ Json::Object(_)) = answer.get("error") else { return None };
    let class = error.get("class").cloned().unwrap_or(Json::Null);
    let reduced = members.iter().map(|(key, value)| {
        let value = match key.as_str() {
            "error" => Json::Object(vec![("class".to_owned(), class.clone())]),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Some(Json::Object(reduced.collect()))
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;

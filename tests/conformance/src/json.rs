//! JSON values as the comparison needs them.
//!
//! An answer must be judged by what stands on the wire: `1` and `1.0` differ, an
//! integer may be larger than 64 bits, and the order of keys counts when asked for.
//! `serde_json::Value` can keep those apart only with features that would then be
//! switched on for every crate of the workspace, the agent included.  So the text
//! is taken apart level by level with `RawValue`, which also has no depth limit.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep an answer may nest; an agent's own limit is 1024 brackets.
const DEPTH_LIMIT: usize = 1536;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent, of any size, in its canonical spelling.
    Int(String),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(String),
    /// An array.
    List(Vec<Json>),
    /// An object; its members in the order of the text.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Read one JSON document.
    pub fn parse(text: &str) -> Result<Json> {
        parse_at(text, 0)
    }

    /// A string value.
    pub fn text(text: impl Into<String>) -> Json {
        Json::Str(text.into())
    }

    /// The value of an object's member.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The string that the value is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Name of the value's type, as the wildcards of the cases spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Int(_) => "int",
            Json::Float(_) => "float",
            Json::Str(_) => "str",
            Json::List(_) => "list",
            Json::Object(_) => "obj",
        }
    }

    /// The number that the value is, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Json::Int(digits) => digits.parse().ok(),
            Json::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether the value is neither null, false, zero nor empty.
    pub fn is_truthy(&self) -> bool {
        match self {
            Json::Null => false,
            Json::Bool(value) => *value,
            Json::Int(digits) => digits != "0",
            Json::Float(number) => *number != 0.0,
            Json::Str(text) => !text.is_empty(),
            Json::List(items) => !items.is_empty(),
            Json::Object(members) => !members.is_empty(),
        }
    }

    /// The value as it is put in place of `{name}`: a string without its quotes.
    pub fn plain(&self) -> String {
        match self {
            Json::Str(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The value in ASCII with keys in alphabetical order: what digests are made of.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        write(self, true, &mut out);
        out
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        write(self, false, &mut out);
        f.write_str(&out)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Json::parse(raw.get()).map_err(|err| D::Error::custom(format!("{err:#}")))
    }
}

fn parse_at(text: &str, depth: usize) -> Result<Json> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    match text.as_bytes().first() {
        Some(b'{' | b'[') if depth == DEPTH_LIMIT => bail!("nested deeper than {DEPTH_LIMIT}"),
        Some(b'{') => object(text, depth),
        Some(b'[') => list(text, depth),
        _ => scalar(text),
    }
}

fn scalar(text: &str) -> Result<Json> {
    Ok(match text {
        "null" => Json::Null,
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        text if text.starts_with('"') => Json::Str(serde_json::from_str(text).context("string")?),
        text => number(text)?,
    })
}

fn list(text: &str, depth: usize) -> Result<Json> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).context("array")?;
    let mut items = Vec::with_capacity(raw.len());
    for item in raw {
        items.push(parse_at(item.get(), depth + 1)?);
    }
    Ok(Json::List(items))
}

/// Members of an object that have not been looked into.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// An object; of members with the same key the last one counts.
fn object(text: &str, depth: usize) -> Result<Json> {
    let Members(raw) = serde_json::from_str(text).context("object")?;
    let mut members: Vec<(String, Json)> = Vec::with_capacity(raw.len());
    let mut places = HashMap::with_capacity(raw.len());
    for (key, value) in raw {
        let value = parse_at(value.get(), depth + 1)?;
        let place = *places.entry(key.clone()).or_insert(members.len());
        match members.get_mut(place) {
            Some(member) => member.1 = value,
            None => members.push((key, value)),
        }
    }
    Ok(Json::Object(members))
}

fn number(text: &str) -> Result<Json> {
    // This checks the grammar and does not evaluate, so that no size is refused.
    serde_json::from_str::<&RawValue>(text).context("value")?;
    ensure!(text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']), "no number");
    if text.contains(['.', 'e', 'E']) {
        return Ok(Json::Float(text.parse().context("number")?));
    }
    Ok(Json::Int(if text == "-0" { "0" } else { text }.to_owned()))
}

fn write(value: &Json, sorted: bool, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Int(digits) => out.push_str(digits),
        Json::Float(number) => out.push_str(&format!("{number:?}")),
        Json::Str(text) => write_string(text, out),
        Json::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(item, sorted, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if sorted {
                members.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (i, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_string(key, out);
                out.push_str(": ");
                write(value, sorted, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    let quoted = serde_json::Value::from(text).to_string();
    for c in quoted.chars() {
        if matches!(c, ' '..='~') {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Json;

    #[test]
    fn integers_and_floats_stay_apart_whatever_their_size() {
        for (text, kind) in [
            ("1", "int"),
            ("1.0", "float"),
            ("18446744073709551616", "int"),
            ("1.8446744073709552e+19", "float"),
            ("1e400", "float"),
        ] {
            assert_eq!(Json::parse(text).unwrap().kind(), kind, "{text}");
        }
        assert_ne!(Json::parse("18446744073709551616").unwrap(), Json::parse("18446744073709551617").unwrap());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{} x",
            "[1,]",
            "01",
            "1.",
            "nan",
            "inf",
            "\"a",
            "{'a':1}",
            "\"\\ud83d\"",
            "{\"a\":nul}",
            "[1 2]",
            "-",
        ] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_values_are_read_and_bottomless_ones_refused() {
        let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(&nested(1024)).is_ok());
        assert!(Json::parse(&nested(5_000)).is_err());
    }

    #[test]
    fn the_canonical_form_is_ascii_with_sorted_keys() {
        let value = Json::parse("{\"b\":[1,\"\u{e9}\u{1f600}\u{7f}\\n\"],\"a\":{}}").unwrap();
        assert_eq!(value.canonical(), r#"{"a": {}, "b": [1, "\u00e9\ud83d\ude00\u007f\n"]}"#);
        assert!(value.to_string().starts_with(r#"{"b""#));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let value = Json::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"a": 3, "b": 2}"#);
    }
}

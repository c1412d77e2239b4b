//! The arguments of a command: their types, and QEMU's words for what is wrong with a client's.

use std::collections::BTreeMap;
use std::fmt::Display;

use guestd_sdk::{CommandError, quoted};
use regex_lite::Regex;
use serde_json::{Map, Number, Value};

use crate::config::{ArgumentConfig, Type};

/// The longest name of an argument, in bytes.
const LONGEST_NAME: usize = 64;

/// The arguments of a command, by their names.
#[derive(Debug, Clone)]
pub(crate) struct Arguments(BTreeMap<String, Argument>);

#[derive(Debug, Clone)]
struct Argument {
    kind: Kind,
    optional: bool,
}

/// A type, with what restricts it.
#[derive(Debug, Clone)]
enum Kind {
    String { pattern: Option<Regex>, values: Option<Vec<String>> },
    Integer { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Boolean,
}

impl Arguments {
    /// Reads the table `arguments` of a command's configuration.
    pub fn read(config: BTreeMap<String, Value>) -> Result<Self, String> {
        let mut arguments = BTreeMap::new();
        for (name, value) in config {
            let read = || {
                if !is_name(&name) {
                    return Err("its name must begin with a letter, and have only letters, digits, - and _".to_owned());
                }
                let config: ArgumentConfig = serde_json::from_value(value).map_err(|error| error.to_string())?;
                Ok(Argument { optional: config.optional, kind: Kind::read(config)? })
            };
            let argument = read().map_err(|error| format!("argument {name:?}: {error}"))?;
            arguments.insert(name, argument);
        }
        Ok(Self(arguments))
    }

    /// Whether there is an argument of that name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Checks what a client gives: in the order of the names, what is missing or wrong before what is unexpected.
    pub fn check(&self, given: &Map<String, Value>) -> Result<(), CommandError> {
        for (name, argument) in &self.0 {
            match given.get(name) {
                Some(value) => argument.kind.check(name, value)?,
                None if argument.optional => {}
                None => return Err(CommandError::new(format!("Parameter '{name}' is missing"))),
            }
        }
        match given.keys().find(|name| !self.has(name)) {
            Some(name) => Err(CommandError::new(format!("Parameter '{}' is unexpected", quoted(name)))),
            None => Ok(()),
        }
    }
}

/// Whether this can be an argument's name.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The error for a value of the right type that is not among those that the configuration allows.
pub(crate) fn not_accepted(name: &str, value: &dyn Display) -> CommandError {
    let value = value.to_string();
    CommandError::new(format!("Parameter '{name}' does not accept value '{}'", quoted(&value)))
}

impl Kind {
    fn read(config: ArgumentConfig) -> Result<Self, String> {
        let ArgumentConfig { r#type, optional: _, min, max, pattern, values } = config;
        let is_string = r#type == Type::String;
        if !is_string && (pattern.is_some() || values.is_some()) {
            return Err("`pattern` and `values` are for strings".to_owned());
        }
        let is_number = matches!(r#type, Type::Integer | Type::Number);
        if !is_number && (min.is_some() || max.is_some()) {
            return Err("`min` and `max` are for numbers".to_owned());
        }
        match r#type {
            Type::String => {
                let pattern = pattern.map(|pattern| Regex::new(&format!(r"\A(?:{pattern})\z"))).transpose();
                Ok(Self::String { pattern: pattern.map_err(|error| format!("`pattern`: {error}"))?, values })
            }
            Type::Integer => {
                let bound = |bound: Option<Number>, default| {
                    bound.map_or(Ok(default), |bound| bound.as_i64().ok_or("`min` and `max` must be integers, too"))
                };
                let (min, max) = (bound(min, i64::MIN)?, bound(max, i64::MAX)?);
                if min <= max { Ok(Self::Integer { min, max }) } else { Err("`min` is above `max`".to_owned()) }
            }
            Type::Number => {
                let bound = |bound: Option<Number>, default| bound.and_then(|bound| bound.as_f64()).unwrap_or(default);
                let (min, max) = (bound(min, f64::NEG_INFINITY), bound(max, f64::INFINITY));
                if min <= max { Ok(Self::Number { min, max }) } else { Err("`min` is above `max`".to_owned()) }
            }
            Type::Boolean => Ok(Self::Boolean),
        }
    }

    fn check(&self, name: &str, value: &Value) -> Result<(), CommandError> {
        let expected =
            |what: &str| Err(CommandError::new(format!("Invalid parameter type for '{name}', expected: {what}")));
        let accepted = match self {
            Self::String { pattern, values } => {
                let Some(text) = value.as_str() else { return expected("string") };
                return if pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
                    && values.as_ref().is_none_or(|values| values.iter().any(|one| one == text))
                {
                    Ok(())
                } else {
                    Err(not_accepted(name, &text))
                };
            }
            Self::Integer { min, max } => {
                let Some(number) = value.as_i64() else { return expected("integer") };
                (min..=max).contains(&&number)
            }
            Self::Number { min, max } => {
                let Some(number) = value.as_f64() else { return expected("number") };
                (min..=max).contains(&&number)
            }
            Self::Boolean => return if value.is_boolean() { Ok(()) } else { expected("boolean") },
        };
        if accepted { Ok(()) } else { Err(not_accepted(name, value)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(config: Value) -> Result<Arguments, String> {
        Arguments::read(serde_json::from_value(config).unwrap())
    }

    fn check(config: &Value, given: Value) -> Result<(), String> {
        let Value::Object(given) = given else { return Err("no object".to_owned()) };
        arguments(config.clone()).unwrap().check(&given).map_err(|error| error.desc().to_owned())
    }

    #[test]
    fn each_type_takes_its_values_and_no_others() {
        for (config, good, bad) in [
            (json!({"type": "string"}), json!(["", "a\nb"]), json!([null, 1, true, [], {}])),
            (json!({"type": "integer"}), json!([0, i64::MIN, i64::MAX]), json!([1.0, u64::MAX, "1", null, false])),
            (json!({"type": "number"}), json!([0, -1.5, 1e300, u64::MAX]), json!(["1", null, true])),
            (json!({"type": "boolean"}), json!([true, false]), json!([0, 1, "true", null])),
        ] {
            let expected = format!("Invalid parameter type for 'x', expected: {}", config["type"].as_str().unwrap());
            let config = json!({"x": config});
            for value in good.as_array().unwrap() {
                assert_eq!(check(&config, json!({"x": value})), Ok(()), "{value}");
            }
            for value in bad.as_array().unwrap() {
                assert_eq!(check(&config, json!({"x": value})), Err(expected.clone()), "{value}");
            }
        }
    }

    #[test]
    fn restrictions_hold_at_both_ends_and_for_the_whole_string() {
        for (config, good, bad) in [
            (json!({"type": "integer", "min": 0, "max": 9}), json!([0, 9]), json!([-1, 10])),
            (json!({"type": "number", "min": 0.5}), json!([0.5, 1e9]), json!([0.4, -1])),
            (json!({"type": "string", "pattern": "[a-z]+"}), json!(["a", "abc"]), json!(["", "a1", "a\n", "\na", "A"])),
            (json!({"type": "string", "pattern": "a|b"}), json!(["a", "b"]), json!(["ab", "ba"])),
            (json!({"type": "string", "values": ["on", "off"]}), json!(["on"]), json!(["On", "on ", ""])),
        ] {
            let config = json!({"x": config});
            for value in good.as_array().unwrap() {
                assert_eq!(check(&config, json!({"x": value})), Ok(()), "{config} {value}");
            }
            for value in bad.as_array().unwrap() {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let expected = format!("Parameter 'x' does not accept value '{shown}'");
                assert_eq!(check(&config, json!({"x": value})), Err(expected), "{config}");
            }
        }
    }

    #[test]
    fn what_is_missing_or_wrong_comes_before_what_is_unexpected() {
        let config = json!({"a": {"type": "integer"}, "b": {"type": "string", "optional": true}});
        for (given, expected) in [
            (json!({"b": 1, "z": 1}), "Parameter 'a' is missing"),
            (json!({"a": 1, "b": 1, "z": 1}), "Invalid parameter type for 'b', expected: string"),
            (json!({"a": 1, "b": "x", "z": 1}), "Parameter 'z' is unexpected"),
            (json!({"a": 1, "b": null}), "Invalid parameter type for 'b', expected: string"),
        ] {
            assert_eq!(check(&config, given), Err(expected.to_owned()));
        }
        assert_eq!(check(&config, json!({"a": 1})), Ok(()));
    }

    #[test]
    fn an_error_repeats_the_beginning_of_a_long_value() {
        let config = json!({"a": {"type": "string", "values": ["x"]}});
        let error = check(&config, json!({"a": "y".repeat(1 << 20)})).unwrap_err();
        assert_eq!(error, format!("Parameter 'a' does not accept value '{}...'", "y".repeat(128)));
        let error = check(&config, json!({"a": "x", "z".repeat(1 << 20): 1})).unwrap_err();
        assert_eq!(error, format!("Parameter '{}...' is unexpected", "z".repeat(128)));
    }

    #[test]
    fn a_configuration_that_means_nothing_is_refused() {
        for (config, expected) in [
            (json!({"9": {"type": "string"}}), "argument \"9\": its name must begin"),
            (json!({"a=b": {"type": "string"}}), "its name must begin"),
            (json!({"a": {}}), "missing field `type`"),
            (json!({"a": {"type": "text"}}), "unknown variant `text`"),
            (json!({"a": {"type": "string", "min": 1}}), "`min` and `max` are for numbers"),
            (json!({"a": {"type": "integer", "pattern": "1"}}), "are for strings"),
            (json!({"a": {"type": "integer", "values": ["1"]}}), "are for strings"),
            (json!({"a": {"type": "integer", "min": 0.5}}), "must be integers"),
            (json!({"a": {"type": "integer", "min": 2, "max": 1}}), "`min` is above `max`"),
            (json!({"a": {"type": "number", "min": 2.5, "max": 1}}), "`min` is above `max`"),
            (json!({"a": {"type": "string", "pattern": "("}}), "`pattern`: "),
            (json!({"a": {"type": "string", "maximum": 1}}), "unknown field `maximum`"),
            (json!({"a": "string"}), "invalid type"),
        ] {
            let error = arguments(config.clone()).unwrap_err();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }
}

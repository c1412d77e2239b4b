//! From checked arguments to a program's parameters.

use std::ffi::OsString;

use guestd_sdk::CommandError;
use serde_json::{Map, Value};

use crate::arguments::{Arguments, is_name, not_accepted};

/// The parameters of a program, with places for arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<Parameter>);

/// One parameter, a piece after the other.
#[derive(Debug, Clone)]
struct Parameter(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Argument(String),
}

impl Parameters {
    /// Parameters that stay as they are.
    pub fn fixed(args: Vec<String>) -> Self {
        Self(args.into_iter().map(|arg| Parameter(vec![Piece::Text(arg)])).collect())
    }

    /// Parameters in which `{name}` stands for an argument. Braces around anything but a name are themselves. Fails where
    /// there is no such argument.
    pub fn with_places(args: &[String], arguments: &Arguments) -> Result<Self, String> {
        args.iter().map(|arg| Parameter::parse(arg, arguments)).collect::<Result<_, _>>().map(Self)
    }

    /// The parameters with the arguments in their places. A parameter with a place for an argument that is not given
    /// is left out.
    ///
    /// Fails where an argument stands at the beginning of a parameter and begins with `-`, which the program would take for
    /// an option, unless `--` stands before it (the guidelines 9 and 10 of POSIX, XBD 12.2); and on a NUL, which no parameter can have.
    pub fn fill(&self, given: &Map<String, Value>) -> Result<Vec<OsString>, CommandError> {
        let mut filled: Vec<OsString> = Vec::with_capacity(self.0.len());
        for parameter in &self.0 {
            let only_operands = filled.iter().any(|earlier| earlier == "--");
            filled.extend(parameter.fill(given, only_operands)?.map(OsString::from));
        }
        Ok(filled)
    }

    /// `--name=value` for each argument that has no place.
    pub fn options(&self, given: &Map<String, Value>) -> Result<Vec<OsString>, CommandError> {
        let has_place = |name: &str| {
            self.0
                .iter()
                .flat_map(|parameter| &parameter.0)
                .any(|piece| matches!(piece, Piece::Argument(one) if one == name))
        };
        let without = given.iter().filter(|(name, _)| !has_place(name));
        without.map(|(name, value)| Ok(format!("--{name}={}", text_of(name, value)?).into())).collect()
    }
}

impl Parameter {
    fn parse(arg: &str, arguments: &Arguments) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let (mut text, mut rest) = (String::new(), arg);
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            match after.split_once('}') {
                Some((name, behind)) if is_name(name) => {
                    if !arguments.has(name) {
                        return Err(format!("`args`: there is no argument {name:?} for {arg:?}"));
                    }
                    pieces.extend([Piece::Text(std::mem::take(&mut text)), Piece::Argument(name.to_owned())]);
                    rest = behind;
                }
                _ => {
                    text.push('{');
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self(pieces))
    }

    fn fill(&self, given: &Map<String, Value>, only_operands: bool) -> Result<Option<String>, CommandError> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Argument(name) => {
                    let Some(value) = given.get(name) else { return Ok(None) };
                    let text = text_of(name, value)?;
                    if filled.is_empty() && text.starts_with('-') && !only_operands {
                        return Err(not_accepted(name, &text));
                    }
                    filled.push_str(&text);
                }
            }
        }
        Ok(Some(filled))
    }
}

fn text_of(name: &str, value: &Value) -> Result<String, CommandError> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.contains('\0') { Err(not_accepted(name, &text.escape_default())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(args: &[&str], given: Value) -> Result<Vec<String>, String> {
        let config = json!({"a": {"type": "string", "optional": true}, "b-1": {"type": "integer", "optional": true}});
        let arguments = Arguments::read(serde_json::from_value(config).unwrap()).unwrap();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let parameters = Parameters::with_places(&args, &arguments)?;
        let Value::Object(given) = given else { return Err("no object".to_owned()) };
        let filled = parameters.fill(&given).and_then(|filled| Ok([filled, parameters.options(&given)?].concat()));
        let filled = filled.map_err(|error| error.desc().to_owned())?;
        Ok(filled.into_iter().map(|one| one.into_string().unwrap()).collect())
    }

    #[test]
    fn arguments_have_their_places_or_become_options() {
        for (args, given, expected) in [
            (vec!["x"], json!({"a": "1 2", "b-1": -5}), vec!["x", "--a=1 2", "--b-1=-5"]),
            (vec!["--to={a}", "{b-1}s"], json!({"a": "-x", "b-1": 5}), vec!["--to=-x", "5s"]),
            (vec!["{a}{a}", "--", "{b-1}"], json!({"a": "", "b-1": -5}), vec!["", "--", "-5"]),
            (vec!["-o", "{a}", "{b-1}"], json!({"b-1": 0}), vec!["-o", "0"]),
            (
                vec!["{}", "{ a }", "{\"k\": {a}}", "}{", "{9}", "{"],
                json!({"a": "v"}),
                vec!["{}", "{ a }", "{\"k\": v}", "}{", "{9}", "{"],
            ),
            (vec![""], json!({}), vec![""]),
        ] {
            assert_eq!(fill(&args, given).unwrap(), expected, "{args:?}");
        }
    }

    #[test]
    fn what_would_be_an_option_or_end_early_is_refused() {
        for (args, given, expected) in [
            (vec!["{a}"], json!({"a": "--exec=rm"}), "Parameter 'a' does not accept value '--exec=rm'"),
            (vec!["{b-1}"], json!({"b-1": -1}), "Parameter 'b-1' does not accept value '-1'"),
            (vec!["{a}", "--"], json!({"a": "-"}), "Parameter 'a' does not accept value '-'"),
            (vec!["{a}{b-1}"], json!({"a": "", "b-1": -1}), "Parameter 'b-1' does not accept value '-1'"),
            (vec!["{a}"], json!({"a": "x\0y"}), "Parameter 'a' does not accept value 'x\\u{0}y'"),
            (vec![], json!({"a": "x\0y"}), "Parameter 'a' does not accept value 'x\\u{0}y'"),
            (vec!["{c}"], json!({}), "`args`: there is no argument \"c\" for \"{c}\""),
        ] {
            assert_eq!(fill(&args, given), Err(expected.to_owned()));
        }
    }

    #[test]
    fn fixed_parameters_have_no_places() {
        let filled = Parameters::fixed(vec!["{a}".to_owned(), "-x".to_owned()]).fill(&Map::new()).unwrap();
        assert_eq!(filled, ["{a}", "-x"]);
    }
}

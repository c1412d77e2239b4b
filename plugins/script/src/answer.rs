//! From a program's output to an answer.

use guestd_sdk::answer::{Answer, reply_of};
use guestd_sdk::prelude::*;
use serde::de::IgnoredAny;

use crate::config::Output;

/// How much of a program's words goes into an error, in characters.
const QUOTED_LIMIT: usize = 1000;

/// The answer `{"text": ...}`.
#[derive(Serialize)]
struct Text {
    text: String,
}

/// The answer that a program's output amounts to. The error is a clause about the program.
pub(crate) fn of(output: Output, stdout: &[u8]) -> Result<Reply, CommandError> {
    match output {
        Output::Json => json(stdout),
        Output::Text => {
            let text = String::from_utf8_lossy(stdout);
            Text { text: text.trim_end_matches('\n').to_owned() }.into_reply()
        }
        Output::None => ().into_reply(),
    }
}

fn json(stdout: &[u8]) -> Result<Reply, CommandError> {
    let failed = |why: &dyn std::fmt::Display| CommandError::new(format!("has written what is not JSON: {why}"));
    let text = str::from_utf8(stdout).map_err(|error| failed(&error))?.trim_ascii();
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| failed(&error))?;
    Ok(reply_of(on_one_line(text)))
}

/// JSON as qemu-ga writes it: ASCII on one line. What is not ASCII can only stand in a string, and a line break only
/// outside of one.
fn on_one_line(json: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(json.len());
    let mut units = [0; 2];
    for char in json.chars() {
        match char {
            '\n' | '\r' | '\t' => line.push(b' '),
            ' '..='~' => line.push(char as u8),
            _ => {
                for unit in char.encode_utf16(&mut units) {
                    line.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
                }
            }
        }
    }
    line
}

/// The first line of what a program has said that is not blank, printable and not too long.
pub(crate) fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.find(|line| !line.is_empty()).map(|line| line.chars().take(QUOTED_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(output: Output, stdout: &[u8]) -> Result<String, String> {
        let reply = of(output, stdout).map_err(|error| error.desc().to_owned())?;
        Ok(String::from_utf8(reply.body.into_vec()).unwrap())
    }

    #[test]
    fn json_is_passed_on_in_ascii_on_one_line() {
        for (stdout, expected) in [
            ("{\"a\": 1}\n", "{\"a\": 1}"),
            ("\n[1,\r\n\t2.50, 1e400]\n", "[1,   2.50, 1e400]"),
            ("\"é😀\x7F\\n\"", r#""\u00E9\uD83D\uDE00\u007F\n""#),
            ("{\"b\": 1, \"a\": 2}", "{\"b\": 1, \"a\": 2}"),
        ] {
            assert_eq!(body(Output::Json, stdout.as_bytes()).unwrap(), expected);
        }
        for stdout in ["", "ok", "{\"a\": 1", "{} {}", "\"a\nb\"", "{'a': 1}"] {
            let error = body(Output::Json, stdout.as_bytes()).unwrap_err();
            assert!(error.starts_with("has written what is not JSON: "), "{error}");
        }
        assert!(body(Output::Json, b"\"\xFF\"").unwrap_err().contains("invalid utf-8"));
    }

    #[test]
    fn text_and_nothing_are_objects() {
        assert_eq!(body(Output::Text, b"a \"b\"\n\xFF\n\n").unwrap(), r#"{"text": "a \"b\"\n\uFFFD"}"#);
        assert_eq!(body(Output::None, b"whatever").unwrap(), "{}");
    }

    #[test]
    fn the_first_line_is_printable_and_not_endless() {
        assert_eq!(first_line(b"\n \x1b[1mno\x07 disk\r\nsecond\n").unwrap(), "[1mno  disk");
        assert_eq!(first_line(&[b'x'; 5000]).unwrap().len(), QUOTED_LIMIT);
        assert_eq!(first_line(b" \n\n"), None);
    }
}

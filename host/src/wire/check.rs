//! Checks what a plugin answers: the daemon sends nothing that is not JSON.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::grammar::{Grammar, Token};
use super::scan::plain_content;
use super::strings;

/// Whether this is the text of one JSON value. Long strings, as files in base64, are looked at many bytes at a time.
pub fn is_value(text: &[u8]) -> bool {
    let mut grammar = Grammar::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let token = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'{' => Token::OpenObject,
            b'}' => Token::CloseObject,
            b'[' => Token::OpenArray,
            b']' => Token::CloseArray,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => Token::String,
            _ => Token::Scalar,
        };
        let end = match token {
            Token::String => string_end(text, at),
            Token::Scalar => scalar_end(text, at),
            _ => Some(at + 1),
        };
        let Some(end) = end else { return false };
        grammar.token(token, at..end);
        if grammar.has_failed() {
            return false;
        }
        at = end;
    }
    grammar.error().is_none()
}

/// Where the string that begins at `start` ends, if it is a good one.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut escapes, mut non_ascii) = (start + 1, false, false);
    loop {
        let plain = plain_content(text.get(at..)?, b'"');
        non_ascii |= plain.non_ascii;
        at += plain.length;
        match text.get(at)? {
            b'"' => break,
            b'\\' if text.get(at + 1)? != &b'\'' => {
                escapes = true;
                at += 2;
            }
            _ => return None,
        }
    }
    let content: Range<usize> = start + 1..at;
    let content = text.get(content)?;
    let good =
        (!escapes || strings::check_escapes(content).is_ok()) && (!non_ascii || std::str::from_utf8(content).is_ok());
    good.then_some(at + 1)
}

/// Where the number or keyword that begins at `start` ends, if it is one.
fn scalar_end(text: &[u8], start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let length = rest.iter().position(|byte| b" \t\n\r{}[]:,\"".contains(byte)).unwrap_or(rest.len());
    serde_json::from_slice::<IgnoredAny>(rest.get(..length)?).ok()?;
    Some(start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        for good in
            ["{}", "[]", "null", " true ", "-1.5e3", "\"\"", r#"{"a":[1,{"b":"\u00e9\n"}],"c":{}}"#, "\"é\"", "[1,\n2]"]
        {
            assert!(is_value(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            "{",
            "}",
            "{}{}",
            "{} x",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{1:2}",
            "nul",
            "01",
            "1.",
            "+1",
            "\"",
            "\"\\\"",
            "'a'",
            r#""\'""#,
            r#""\x""#,
            r#""\ud800""#,
            "\"\u{1}\"",
            "\"a\nb\"",
            "[1 2]",
            "1 2",
            "tru",
            "\"a\"b",
        ] {
            assert!(!is_value(bad.as_bytes()), "{bad}");
        }
        assert!(!is_value(b"\"\xC3\""), "not UTF-8");
        assert!(!is_value(b"\"\xFF\""), "the byte that resets a client");
    }

    #[test]
    fn it_agrees_with_serde_json_on_whatever_comes() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let alphabet = b"{}[]:,\"\\ 01-.eatrufalsn\xc3\xa9u";
        for round in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..round % 12 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push(alphabet[(seed % alphabet.len() as u64) as usize]);
            }
            let expected = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
            assert_eq!(is_value(&text), expected, "{}", String::from_utf8_lossy(&text));
        }
    }
}

//! Checks what a plugin answers: the daemon sends nothing that is not JSON.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::grammar::{Grammar, Token};
use super::scan::plain_content;
use super::strings;

/// Whether this is the text of one JSON value; if so, it is one line afterwards. Long strings, as files in base64, are looked
/// at many bytes at a time.
pub fn to_line(text: &mut [u8]) -> bool {
    let Some(breaks) = judge(text) else { return false };
    if breaks == Breaks::Some {
        // Outside of strings a line break is white space, and inside it is not JSON.
        for byte in text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
    true
}

/// Whether a value has line breaks in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaks {
    None,
    Some,
}

/// Judges a text; `None`: it is not one JSON value.
fn judge(text: &[u8]) -> Option<Breaks> {
    let (mut grammar, mut breaks) = (Grammar::new(), Breaks::None);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let token = match byte {
            b' ' | b'\t' => {
                at += 1;
                continue;
            }
            b'\n' | b'\r' => {
                breaks = Breaks::Some;
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
            Token::String => string_end(text, at)?,
            Token::Scalar => scalar_end(text, at)?,
            _ => at + 1,
        };
        grammar.token(token, at..end);
        if grammar.has_failed() {
            return None;
        }
        at = end;
    }
    grammar.error().is_none().then_some(breaks)
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
    let good = (!escapes || strings::check_escapes(content, true).is_ok())
        && (!non_ascii || std::str::from_utf8(content).is_ok());
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
        for good in [
            "{}",
            "[]",
            "null",
            " true ",
            "-1.5e3",
            "\"\"",
            r#"{"a":[1,{"b":"\u00e9\n"}],"c":{}}"#,
            "\"é\"",
            "[1,\n2\r]",
        ] {
            let mut text = good.as_bytes().to_vec();
            assert!(to_line(&mut text), "{good}");
            assert_eq!(text, good.replace(['\n', '\r'], " ").into_bytes());
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
            assert!(judge(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(judge(b"\"\xC3\"").is_none(), "not UTF-8");
        assert!(judge(b"\"\xFF\"").is_none(), "the byte that resets a client");
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
            assert_eq!(judge(&text).is_some(), expected, "{}", String::from_utf8_lossy(&text));
        }
    }
}

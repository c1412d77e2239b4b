//! Text that may come from anybody, made fit for a terminal and for a log of lines: the one place where that is done.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with `\u{1b}` in the place of every character that is not seen as what it is: controls, which a terminal obeys, marks
/// that turn the direction of writing, separators of lines and paragraphs, what has no width, what nothing is assigned to.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable, |to, char| {
        let _ = write!(to, "{}", char.escape_unicode());
    })
}

/// The same for the text of a JSON value, whose strings then have JSON's own escapes. Line feeds between members stay.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |char| char == '\n' || is_printable(char),
        |to, char| {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(to, "\\u{unit:04x}");
            }
        },
    )
}

fn escaped(text: &str, stays: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut fit = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if stays(char) {
            fit.push(char);
        } else {
            escape(&mut fit, char);
        }
    }
    Cow::Owned(fit)
}

/// Whether a character is seen as what it is: by the tables of the standard library, which knows it for `{:?}`. A mark that combines
/// with the character before it is.
fn is_printable(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    let mut bytes = [b'x'; 5];
    let [_, rest @ ..] = &mut bytes;
    let length = 1 + char.encode_utf8(rest).len();
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    text.escape_debug().skip(1).eq([char])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_as_what_it_is_is_escaped() {
        for (text, expected) in [
            ("\x1b[2J\x07", r"\u{1b}[2J\u{7}"),
            ("a\u{202e}b\u{2066}c\u{61c}d\u{200f}", r"a\u{202e}b\u{2066}c\u{61c}d\u{200f}"),
            ("a\u{2028}b\u{2029}c\u{85}d\nx\ty\r", r"a\u{2028}b\u{2029}c\u{85}d\u{a}x\u{9}y\u{d}"),
            ("\u{9b}2J\u{7f}", r"\u{9b}2J\u{7f}"),
            ("zero\u{200b}width\u{feff} soft\u{ad}hyphen", r"zero\u{200b}width\u{feff} soft\u{ad}hyphen"),
            ("tag\u{e0041} private\u{e000} none\u{378}", r"tag\u{e0041} private\u{e000} none\u{378}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn what_is_seen_stays_and_is_not_copied() {
        for text in ["plain 'text' \"quoted\" \\ back", "Zoë e\u{301} Москва 東京 עברית مرحبا 🎉 ∑", "\u{fffd}", ""]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{202e}": ["\x1b\u{9b}\u{7f}", "Zoë\u{e0041}", "two\nlines"]});
        let text = format!("{value:#}");
        let fit = printable_json(&text);
        assert!(fit.chars().all(|char| char == '\n' || is_printable(char)), "{fit}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&fit).unwrap(), value);
    }
}

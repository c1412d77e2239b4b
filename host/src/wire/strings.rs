//! Strings as QEMU's parser takes them: their escapes, and the forms that are not JSON's.

use guestd_sdk::steps;

/// The longest escape: a pair of `\uXXXX`.
const MAX_ESCAPE: usize = 12;

/// Checks the escapes of every string in a message that lexed well, or in its beginning, if it is not `whole`; then the last may be
/// unfinished. Returns how many bytes need no second look. Fails with QEMU's words for the first bad one.
pub fn check_escapes(message: &[u8], whole: bool) -> Result<usize, String> {
    let mut at = 0;
    while let Some(found) = message.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        let escape = at + found;
        if !whole && escape + MAX_ESCAPE > message.len() {
            return Ok(escape);
        }
        at = escape + 2;
        match message.get(escape + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'\'') => {}
            Some(b'u') => at = check_unicode(message, escape)?,
            _ => return Err("invalid escape sequence in string".to_owned()),
        }
    }
    Ok(message.len())
}

/// Checks the `\uXXXX` at `escape`, and the second half where it is a pair; returns where it ends.
fn check_unicode(message: &[u8], escape: usize) -> Result<usize, String> {
    let invalid = || {
        let shown = message.get(escape..message.len().min(escape + 6)).unwrap_or_default();
        Err(format!("{} is not a valid Unicode character", String::from_utf8_lossy(shown)))
    };
    match hex_at(message, escape) {
        Some(0xD800..=0xDBFF) => match hex_at(message, escape + 6) {
            Some(0xDC00..=0xDFFF) => Ok(escape + 12),
            _ => invalid(),
        },
        Some(0xDC00..=0xDFFF) | None => invalid(),
        Some(_) => Ok(escape + 6),
    }
}

/// The number of the `\uXXXX` that stands at `at`, if one does.
fn hex_at(message: &[u8], at: usize) -> Option<u32> {
    let digits = message.get(at..at + 6)?.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// Turns strings in single quotes into strings in double quotes, and `\'` into `'`, in a message that lexed well. `None`: there is no
/// memory for it.
pub fn to_json(message: &[u8]) -> Option<Vec<u8>> {
    steps::count(message.len());
    // A double quote in single ones gets a backslash.
    let more = memchr::memchr_iter(b'"', message).count();
    let mut json = Vec::new();
    json.try_reserve_exact(message.len() + more).ok()?;
    let mut quote = None;
    let mut bytes = message.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => match bytes.next() {
                Some(b'\'') => json.push(b'\''),
                Some(other) => json.extend([b'\\', other]),
                None => {}
            },
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                json.push(b'"');
            }
            (_, Some(open)) if byte == open => {
                quote = None;
                json.push(b'"');
            }
            (b'"', Some(_)) => json.extend(br#"\""#),
            _ => json.push(byte),
        }
    }
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_escapes_pass_and_bad_ones_are_named() {
        let good = br#""\"\\\/\b\f\n\r\t\'\u0000\uffff\ud83d\ude00""#;
        assert_eq!(check_escapes(good, true), Ok(good.len()));
        for end in 0..good.len() {
            let seen = check_escapes(&good[..end], false).unwrap();
            assert_eq!(check_escapes(&good[seen..], true), Ok(good.len() - seen), "{end}");
        }
        for (text, error) in [
            (r#""\a""#, "invalid escape sequence in string"),
            (r#""\U0041""#, "invalid escape sequence in string"),
            (r#""\u12G4""#, r"\u12G4 is not a valid Unicode character"),
            (r#""\u12""#, r#"\u12" is not a valid Unicode character"#),
            (r#""\ude00""#, r"\ude00 is not a valid Unicode character"),
            (r#""\ud83dx""#, r"\ud83d is not a valid Unicode character"),
            (r#""\ud83d\u0041""#, r"\ud83d is not a valid Unicode character"),
        ] {
            assert_eq!(check_escapes(text.as_bytes(), true), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn single_quotes_become_double_ones() {
        let json = to_json(br#"{'a':'it\'s "x" \n','b':"it\'s 'y' \" "}"#).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"a":"it's \"x\" \n","b":"it's 'y' \" "}"#);
    }
}

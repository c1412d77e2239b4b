//! Base64 in the string of a JSON text, decoded where it lies.

use guestd_sdk::base64::{self, invalid};
use guestd_sdk::prelude::*;
use memchr::memchr;

/// Decodes the content of a JSON string, its escapes included, in place, and returns the bytes, which are at the
/// beginning of `text`. After an error the content of `text` is not defined.
///
/// The rules are those of [`guestd_sdk::base64`]; newlines are left out.
pub fn decode_in_place(text: &mut [u8]) -> Result<&mut [u8], CommandError> {
    let length = match memchr(b'\\', text) {
        None => text.len(),
        Some(_) => unescape(text).ok_or_else(invalid)?,
    };
    let Some(text) = text.get_mut(..length) else { return Err(invalid()) };
    base64::decode_in_place(text)
}

/// Undoes JSON's escapes (RFC 8259, section 7) in place and leaves newlines out. Returns how long the text is then;
/// `None` where an escape stands for a character that is not base64.
fn unescape(text: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    loop {
        let rest = text.get(from..)?;
        let run = memchr(b'\\', rest).unwrap_or(rest.len());
        text.copy_within(from..from + run, to);
        from += run;
        to += run;
        if from == text.len() {
            return Some(to);
        }
        let (byte, length) = escape(text.get(from + 1..)?)?;
        if byte != b'\n' {
            *text.get_mut(to)? = byte;
            to += 1;
        }
        from += 1 + length;
    }
}

/// The byte that an escape stands for, and the escape's length without its backslash.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    match text.first()? {
        b'n' => Some((b'\n', 1)),
        b'/' => Some((b'/', 1)),
        b'u' => {
            let digits = str::from_utf8(text.get(1..5)?).ok()?;
            let unit = u16::from_str_radix(digits, 16).ok()?;
            Some((u8::try_from(unit).ok()?, 5))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Vec<u8>, String> {
        let mut text = text.as_bytes().to_vec();
        decode_in_place(&mut text).map(|bytes| bytes.to_vec()).map_err(|error| error.desc().to_owned())
    }

    #[test]
    fn whole_quads_are_decoded() {
        for (text, bytes) in [
            ("", ""),
            ("QQ==", "A"),
            ("QUI=", "AB"),
            ("QUJD", "ABC"),
            ("QUJDQQ==", "ABCA"),
            // Bits that belong to no byte.
            ("QR==", "A"),
            ("Qf==", "A"),
            ("QUJ=", "AB"),
            ("QUL=", "AB"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert_eq!(decode(&base64_simd::STANDARD.encode_to_string(&all)).unwrap(), all);
    }

    #[test]
    fn escapes_are_undone_and_newlines_left_out() {
        for (text, bytes) in [
            (r"\nQUJD\n", "ABC"),
            (r"a\nG\nV\ns\nbG8=", "hello"),
            (r"QU\nI\n=\n", "AB"),
            (r"\u0051UJD", "ABC"),
            (r"QUJD\u000A\u000a", "ABC"),
            (r"\/\/\/\/", "\u{0}"),
            (r"\n", ""),
        ] {
            let bytes = if text.contains(r"\/") { vec![255; 3] } else { bytes.as_bytes().to_vec() };
            assert_eq!(decode(text).unwrap(), bytes, "{text}");
        }
        let plain = "/+8A".repeat(5000);
        let lines: String =
            plain.as_bytes().chunks(76).map(|line| format!("{}\\n", str::from_utf8(line).unwrap())).collect();
        assert_eq!(decode(&lines.replace('/', "\\/")), decode(&plain));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        let invalid = Err("Base64 data contains invalid characters".to_owned());
        for text in [
            "aGVs bG8=",
            "_-8=",
            "é",
            r"aGVs\r\nbG8=",
            "####",
            r"Q\tQ==",
            r"QUJD\u0000",
            r"QUJ\u0000",
            "QUJD\x7f",
            r"QUJ\\",
            r#"QUJ\""#,
            r"QUJ\u00e9",
            r"QUJ\u2028",
            "=QUJ",
            "QQ==QUJD",
            "====",
            "Q===",
            "QQ=Q",
            "Q=Q=",
            "QUJDQ===",
            "QUJD====",
            "QUJ\u{e9}",
            "é===",
            "-UI=",
            "Q#==",
            // Broken JSON, which no daemon passes on.
            r"QUJ\",
            r"QU\u0",
            r"QU\uXYZW",
        ] {
            assert_eq!(decode(text), invalid, "{text}");
        }
        let incomplete = Err("Base64 data is incomplete".to_owned());
        for text in ["Q", "QQ", "QQ=", "QUI", "QUJDQ", "=", "==", "QQ===", "QUJD=", r"QUJ\n"] {
            assert_eq!(decode(text), incomplete, "{text}");
        }
    }

    #[test]
    fn a_bad_character_is_found_wherever_it_stands() {
        for length in [4, 32, 64, 100, 260] {
            for at in 0..length {
                let mut text = vec![b'A'; length];
                for bad in [b'-', b'_', b' ', b'=', 0, 0x80, 0xFF, b'"', b'.', b'@', b'[', b'`', b'{', b':'] {
                    if bad == b'=' && at == length - 1 {
                        continue;
                    }
                    text.fill(b'A');
                    if let Some(byte) = text.get_mut(at) {
                        *byte = bad;
                    }
                    assert!(decode_in_place(&mut text).is_err(), "{bad:#x} at {at} of {length}");
                }
            }
        }
    }
}

//! Base64 as QEMU's commands take it.
//!
//! The rules are those of RFC 4648, section 4: whole quads, padding at the end and only there. Two things are taken
//! beyond it because qemu-ga takes them and they lose no data: newlines anywhere (MIME writes them), and bits other than 0
//! that the last quad does not need. The errors are qemu-ga's, to the word.

use memchr::memchr;

use crate::CommandError;

/// Decodes a text.
pub fn decode(text: &str) -> Result<Vec<u8>, CommandError> {
    let mut text = text.as_bytes().to_vec();
    if memchr(b'\n', &text).is_some() {
        text.retain(|&byte| byte != b'\n');
    }
    let length = decode_in_place(&mut text)?.len();
    text.truncate(length);
    Ok(text)
}

/// Decodes a text without newlines where it lies, and returns the bytes, which are at its beginning. After an error its
/// content is not defined.
pub fn decode_in_place(text: &mut [u8]) -> Result<&mut [u8], CommandError> {
    if !text.len().is_multiple_of(4) {
        let alphabet = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=');
        let whole = text.iter().all(alphabet);
        return Err(if whole { CommandError::new("Base64 data is incomplete") } else { invalid() });
    }
    clear_loose_bits(text);
    base64_simd::STANDARD.decode_inplace(text).map_err(|_| invalid())
}

/// The error for what is not base64.
pub fn invalid() -> CommandError {
    CommandError::new("Base64 data contains invalid characters")
}

/// Clears the bits of the last quad that belong to no byte, which the decoder does not take otherwise.
fn clear_loose_bits(text: &mut [u8]) {
    let (character, used) = match text {
        [.., _, character, b'=', b'='] => (character, 0b11_0000),
        [.., character, b'='] => (character, 0b11_1100),
        _ => return,
    };
    let charset = base64_simd::STANDARD.charset();
    let value = charset.iter().position(|byte| byte == character);
    if let Some(cleared) = value.and_then(|value| charset.get(value & used)) {
        *character = *cleared;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, String> {
        decode(text).map_err(|error| error.desc().to_owned())
    }

    #[test]
    fn whole_quads_are_decoded() {
        for (text, bytes) in [
            ("", ""),
            ("QQ==", "A"),
            ("QUI=", "AB"),
            ("QUJD", "ABC"),
            ("QUJDRA==", "ABCD"),
            ("w6k=", "é"),
            // Newlines, and bits that belong to no byte.
            ("\n", ""),
            ("QU\nJD\n", "ABC"),
            ("cH\nc=\n", "pw"),
            ("QR==", "A"),
            ("cHd=", "pw"),
        ] {
            assert_eq!(decoded(text).unwrap(), bytes.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in [
            "!!",
            "!",
            "!!!!",
            "QQ= =",
            "QQ==\t\t\t\t",
            "Q QQ",
            "Q\r\nQQ=",
            "QQ-_",
            "é=",
            "é",
            "====",
            "=QQQ",
            "c===",
            "QQ==QQ==",
            "cHc=cHc=",
            "cH c=",
        ] {
            assert_eq!(decoded(text).unwrap_err(), "Base64 data contains invalid characters", "{text:?}");
        }
        for text in ["Q", "QQ", "QQ=", "QUJDR", "QQ\n", "cHc=c"] {
            assert_eq!(decoded(text).unwrap_err(), "Base64 data is incomplete", "{text:?}");
        }
    }
}

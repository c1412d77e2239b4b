//! The kernel's escapes in tables whose fields are separated by blanks: `/proc/swaps`, `/proc/PID/mountinfo`.

use std::borrow::Cow;

/// Undoes them: a backslash and three octal digits for a byte (proc_pid_mountinfo(5)). A backslash before anything else stands
/// for itself.
pub fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_octal_digits_are_a_byte_and_nothing_else_is() {
        for (field, expected) in [
            (r"/mnt/a\040b\011\012\134", b"/mnt/a b\t\n\\".as_slice()),
            (r"\377\400\08", b"\xFF\\400\\08"),
            (r"plain\", b"plain\\"),
        ] {
            assert_eq!(unescape(field.as_bytes()).as_ref(), expected, "{field}");
        }
    }
}

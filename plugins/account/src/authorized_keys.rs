//! The text of an `authorized_keys` file (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"): a key a line, with its options
//! and comment; empty lines and those that begin with `#` mean nothing. Blanks around a line do not matter.

use std::collections::HashSet;

use guestd_sdk::CommandError;

/// Checks keys that a client gives. As in qemu-ga all that matters is that they stay one line each: what sshd makes of
/// them is its own affair.
pub(crate) fn check(keys: &[String]) -> Result<(), CommandError> {
    match keys.iter().find(|key| key.starts_with('#') || key.contains(['\n', '\0'])) {
        Some(key) => Err(CommandError::new(format!("invalid OpenSSH public key: '{key}'"))),
        None => Ok(()),
    }
}

/// The keys, the last one first, as qemu-ga lists them. Bytes that are not UTF-8 are replaced.
pub(crate) fn list(text: &[u8]) -> Vec<String> {
    let lines = text.split(|&byte| byte == b'\n').rev().map(<[u8]>::trim_ascii);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// The text with those of `keys` that it lacks at its end. `None`: it lacks none.
pub(crate) fn with(text: &[u8], keys: &[String]) -> Option<Vec<u8>> {
    let mut known: HashSet<&[u8]> = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).collect();
    known.insert(b"");
    let lacking: Vec<&str> = keys.iter().map(String::as_str).filter(|key| known.insert(trimmed(key))).collect();
    if lacking.is_empty() {
        return None;
    }
    let mut longer = text.to_vec();
    if !longer.is_empty() && !longer.ends_with(b"\n") {
        longer.push(b'\n');
    }
    for key in lacking {
        longer.extend_from_slice(key.as_bytes());
        longer.push(b'\n');
    }
    Some(longer)
}

/// The text without the lines that are one of `keys`; all others stay as they are. `None`: there are none.
pub(crate) fn without(text: &[u8], keys: &[String]) -> Option<Vec<u8>> {
    let mut unwanted: HashSet<&[u8]> = keys.iter().map(|key| trimmed(key)).collect();
    unwanted.remove(b"".as_slice());
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let left: Vec<u8> = lines.filter(|line| !unwanted.contains(line.trim_ascii())).flatten().copied().collect();
    (left.len() < text.len()).then_some(left)
}

fn trimmed(key: &str) -> &[u8] {
    key.as_bytes().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"# c\n\n  # d\nk1  \n  k2\nk3\r\nk\xff\nk5";

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn only_keys_are_listed() {
        assert_eq!(list(TEXT), ["k5", "k\u{FFFD}", "k3", "k2", "k1"]);
        assert!(list(b"").is_empty());
    }

    #[test]
    fn keys_are_added_once_each_on_lines_of_their_own() {
        let longer = [TEXT, b"\n k6 \nk7\n"].concat();
        assert_eq!(with(TEXT, &keys(&["k2", " k6 ", "k7", "k6", "", "  "])), Some(longer));
        assert_eq!(with(TEXT, &keys(&["k1", "k3", "k5", ""])), None);
        assert_eq!(with(b"", &keys(&["k"])), Some(b"k\n".to_vec()));
    }

    #[test]
    fn keys_are_removed_and_all_else_stays() {
        let left = b"# c\n\n  # d\n  k2\nk\xff\n".to_vec();
        assert_eq!(without(TEXT, &keys(&["k1", "k3", "k5", "nope", ""])), Some(left));
        assert_eq!(without(TEXT, &keys(&["", "k", "nope"])), None);
        assert_eq!(without(b"k\nk\n", &keys(&["k"])), Some(Vec::new()));
    }

    #[test]
    fn what_would_not_be_one_key_is_refused() {
        for bad in ["#x", "a\nb", "a\n", "a\0b"] {
            let error = check(&keys(&["good", bad])).unwrap_err();
            assert_eq!(error.desc(), format!("invalid OpenSSH public key: '{bad}'"));
        }
        check(&keys(&["", " #x", "ssh-ed25519 AAAA x", "command=\"a b\" ssh-rsa B"])).unwrap();
    }
}

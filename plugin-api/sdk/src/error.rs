//! What a command answers when it fails.

use std::borrow::Cow;
use std::fmt::Display;

use guestd_abi::CallError;

/// The error of a command: QMP's class and one sentence for a person.
///
/// Any [`std::error::Error`] converts into one by `?`, with the class `GenericError` and the error's own text. For the same reason this
/// type is not itself an `Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    class: &'static str,
    desc: String,
}

impl CommandError {
    /// An error of the class `GenericError`, which is the only one that QEMU's commands use.
    pub fn new(desc: impl Into<String>) -> Self {
        Self::with_class("GenericError", desc)
    }

    /// An error of another class, as `CommandNotFound`.
    pub fn with_class(class: &'static str, desc: impl Into<String>) -> Self {
        Self { class, desc: desc.into() }
    }

    /// An error in QEMU's form for a failed system call: `context: text of the errno`, as in
    /// `failed to read file: Bad file descriptor`.
    pub fn os(context: impl Display, error: &std::io::Error) -> Self {
        Self::new(format!("{context}: {}", errno_text(error)))
    }

    /// The class.
    pub fn class(&self) -> &str {
        self.class
    }

    /// The sentence.
    pub fn desc(&self) -> &str {
        &self.desc
    }
}

/// The most bytes of a client's text that an error repeats.
const MAX_QUOTED: usize = 128;

/// A client's text, as an error should quote it: a long one is cut, and ends with an ellipsis.
pub fn quoted(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_QUOTED {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}...", head(text, MAX_QUOTED)))
}

/// The longest beginning of a text that has at most `most` bytes.
pub fn head(text: &str, most: usize) -> &str {
    // A character has four bytes at most.
    let ends = (most.saturating_sub(3)..=most).rev();
    ends.into_iter().find_map(|end| text.get(..end)).unwrap_or(if text.len() <= most { text } else { "" })
}

/// The text of an I/O error without Rust's `(os error N)` behind it, as `strerror(3)` has it.
pub fn errno_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text).to_owned(),
        None => text,
    }
}

impl<E: std::error::Error> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl From<CommandError> for CallError {
    fn from(error: CommandError) -> Self {
        Self { class: error.class.into(), desc: error.desc.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_between_characters() {
        assert_eq!([0, 1, 2, 3, 9].map(|most| head("a\u{e9}b", most)), ["", "a", "a", "a\u{e9}", "a\u{e9}b"]);
        assert_eq!((head("\u{1f600}x", 3), head("\u{1f600}x", 4), head("", 5)), ("", "\u{1f600}", ""));
    }

    #[test]
    fn a_long_text_is_quoted_by_its_beginning() {
        let short = "é".repeat(64);
        assert_eq!(quoted(&short), short);
        assert_eq!(quoted(&format!("x{short}y")), format!("x{}...", "é".repeat(63)));
    }

    #[test]
    fn an_errno_reads_as_in_c() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(CommandError::os("failed to open", &error).desc(), "failed to open: No such file or directory");
        assert_eq!(errno_text(&std::io::Error::other("no errno")), "no errno");
    }
}

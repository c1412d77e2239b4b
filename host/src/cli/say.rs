//! What people read on their terminal.

use std::io::{self, Write};

use crate::printable::printable;

/// Prints a line. That nobody reads it any more, as behind `head`, is no failure.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{}", printable(text));
}

/// Prints a line, formatted as by `println!`.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::line(&format!($($words)*)) };
}
pub(super) use say;

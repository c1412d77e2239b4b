//! What a plugin answers, as the daemon checks it before it goes to a client.

use guestd::wire::to_line;

use crate::stream::{is_shallow, parsed};
use crate::{Rng, Target, json};

/// The judge of answers.
pub const TARGET: Target = Target { name: "reply", check, make };

fn make(rng: &mut Rng) -> Vec<u8> {
    json::value(rng, 5).into_bytes()
}

fn check(bytes: &[u8]) {
    let mut line = bytes.to_vec();
    let good = to_line(&mut line);
    if good {
        assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0xFF)), "a reply that is not one line");
        assert!(std::str::from_utf8(&line).is_ok(), "a reply that is not UTF-8");
    }
    if !is_shallow(bytes) {
        return;
    }
    let Some(judged) = parsed(bytes) else { return };
    assert_eq!(judged.is_ok(), good, "{judged:?}: {}", String::from_utf8_lossy(bytes));
    if good {
        assert_eq!(parsed(&line), Some(judged), "the line means something else");
    }
}

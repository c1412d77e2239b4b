//! The form in which answers are compared: without the case's directory, and with
//! digests in place of what is too long or too deep to be spelled out in a case.

use sha2::{Digest, Sha256};

use crate::json::Json;

/// A string of more characters than this is replaced by its digest.
const LONG: usize = 2000;
/// Arrays and objects at this depth are replaced by the digest of their text.
const DEEP: usize = 50;

/// Replace `base` by `{dir}` everywhere, and long or deep parts by digests.
pub fn normalise(value: Json, base: &str) -> Json {
    at_depth(value, base, 0)
}

fn at_depth(value: Json, base: &str, depth: usize) -> Json {
    match value {
        Json::List(_) | Json::Object(_) if depth == DEEP => Json::Str(digest(&value.canonical())),
        Json::List(items) => Json::List(items.into_iter().map(|item| at_depth(item, base, depth + 1)).collect()),
        Json::Object(members) => Json::Object(
            members.into_iter().map(|(key, value)| (shorten(key, base), at_depth(value, base, depth + 1))).collect(),
        ),
        Json::Str(text) => Json::Str(shorten(text, base)),
        other => other,
    }
}

fn shorten(text: String, base: &str) -> String {
    let text = if text.contains(base) { text.replace(base, "{dir}") } else { text };
    if text.len() > LONG && text.chars().count() > LONG { digest(&text) } else { text }
}

/// What stands for a long text: half its SHA-256 and its length in characters.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let half: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<sha256:{half}:{}>", text.chars().count())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::normalise;
    use crate::json::Json;

    #[test]
    fn the_directory_is_replaced_in_values_and_keys() {
        let value = Json::parse(r#"{"/d/x":["in /d/y"]}"#).unwrap();
        let expected = Json::parse(r#"{"{dir}/x":["in {dir}/y"]}"#).unwrap();
        assert_eq!(normalise(value, "/d"), expected);
    }

    #[test]
    fn only_what_is_longer_than_the_limit_becomes_a_digest() {
        let at_limit = Json::text("\u{e9}".repeat(2000));
        assert_eq!(normalise(at_limit.clone(), "/d"), at_limit);
        assert_eq!(
            normalise(Json::text("a".repeat(2001)), "/d"),
            Json::text("<sha256:a0b153f094495e7397ecded317f60626:2001>")
        );
    }

    #[test]
    fn deep_values_become_the_digest_of_their_text() {
        let text = format!("{}{}", "[".repeat(101), "]".repeat(101));
        let found = normalise(Json::parse(&text).unwrap(), "/d").to_string();
        assert!(
            found.starts_with(&"[".repeat(50)) && found.contains("<sha256:f002d6b27d0b5c135006b1c776dc16aa:102>"),
            "{found}"
        );
    }
}

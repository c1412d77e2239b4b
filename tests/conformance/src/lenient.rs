//! Folding the errors of broken input.
//!
//! How many errors a run of broken bytes draws, and their text, is the agent's own
//! affair.  Unless the comparison is strict, each run of JSON errors is therefore
//! taken for the run that was recorded.  A run that 0xFF bytes alone caused may be
//! missing: clients send them to say "start afresh".

use crate::cases::EOF;
use crate::channel::Reply;
use crate::json::Json;

/// Whether the answer is an error about input that is no JSON.
pub fn is_broken(answer: &Json) -> bool {
    let Some(error) = answer.get("error") else { return false };
    let text = |key| error.get(key).and_then(Json::as_str).unwrap_or_default();
    // From 11.1 on the text begins with the place: `1:12: `.
    let desc = text("desc").trim_start_matches(|char: char| char.is_ascii_digit() || char == ':').trim_start();
    text("class") == "GenericError" && desc.starts_with("JSON ")
}

/// Whether the answer is one that must come whatever the leniency.
pub fn is_sound(answer: &Json) -> bool {
    !is_broken(answer) && answer.as_str() != Some(EOF)
}

/// The answers, with each run of JSON errors replaced by the expected one.
pub fn fold(want: &[Json], got: Vec<Reply>) -> Vec<Reply> {
    let mut folded = Vec::with_capacity(got.len());
    let mut got = got.into_iter().peekable();
    let mut rest = want;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|answer| is_broken(answer)).count();
        if run == 0 {
            folded.extend(got.next());
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let (expected, after) = rest.split_at(run);
        let (mut seen, mut sentinel) = (false, false);
        while let Some(reply) = got.next_if(|reply| is_broken(&reply.value)) {
            seen = true;
            sentinel |= reply.sentinel;
        }
        if seen || names_broken_byte(first) {
            folded.extend(expected.iter().map(|value| Reply { sentinel, value: value.clone() }));
        }
        rest = after;
    }
    folded.extend(got);
    folded
}

/// Whether the error names a byte that is part of no character, as 0xFF is.
fn names_broken_byte(answer: &Json) -> bool {
    let desc = answer.get("error").and_then(|error| error.get("desc"));
    desc.and_then(Json::as_str).is_some_and(|desc| desc.contains('\u{fffd}'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fold;
    use crate::channel::Reply;
    use crate::json::Json;

    const STRAY: &str = r#"{"error":{"class":"GenericError","desc":"JSON parse error, stray '@'"}}"#;
    const VALUE: &str = r#"{"error":{"class":"GenericError","desc":"JSON parse error, expecting value"}}"#;
    const FF: &str = r#"{"error":{"class":"GenericError","desc":"JSON parse error, stray '\uFFFD'"}}"#;
    const OTHER: &str = r#"{"error":{"class":"GenericError","desc":"no such command"}}"#;
    const CLASS: &str = r#"{"error":{"class":"Strange","desc":"JSON parse error, x"}}"#;
    const PONG: &str = r#"{"return":{},"id":1}"#;

    /// Whether the answers are as good as the expected ones.
    fn passes(want: &[&str], got: &[&str]) -> bool {
        let want: Vec<Json> = want.iter().map(|text| Json::parse(text).unwrap()).collect();
        let got = got.iter().map(|text| Reply { sentinel: false, value: Json::parse(text).unwrap() });
        let folded: Vec<Json> = fold(&want, got.collect()).into_iter().map(|reply| reply.value).collect();
        folded == want
    }

    #[test]
    fn text_and_number_of_parse_errors_are_free() {
        assert!(passes(&[STRAY, PONG], &[STRAY, PONG]));
        assert!(passes(&[STRAY, PONG], &[VALUE, PONG]));
        assert!(passes(&[STRAY, PONG], &[&VALUE.replace("JSON parse", "1:12: JSON parse"), PONG]));
        assert!(passes(&[STRAY, VALUE, PONG], &[VALUE, PONG]));
        assert!(passes(&[STRAY, PONG], &[STRAY, VALUE, VALUE, PONG]));
        assert!(passes(&[PONG, STRAY], &[PONG, STRAY, VALUE]));
        assert!(passes(&[STRAY, PONG, VALUE], &[VALUE, VALUE, PONG, STRAY]));
    }

    #[test]
    fn only_what_a_broken_byte_draws_may_be_missing() {
        assert!(passes(&[FF, PONG], &[PONG]));
        assert!(passes(&[FF, FF, PONG], &[PONG]));
        assert!(!passes(&[STRAY, PONG], &[PONG]));
        assert!(!passes(&[STRAY, VALUE], &[]));
        assert!(!passes(&[PONG, VALUE], &[PONG]));
        assert!(!passes(&[STRAY, FF, PONG], &[PONG]));
    }

    #[test]
    fn parse_errors_where_none_belong_are_reported() {
        assert!(!passes(&[PONG], &[STRAY, PONG]));
        assert!(!passes(&[PONG], &[PONG, STRAY]));
        assert!(!passes(&[PONG, PONG], &[PONG, STRAY, PONG]));
        assert!(!passes(&[], &[STRAY]));
        assert!(!passes(&[FF, PONG], &[FF, PONG, STRAY]));
    }

    #[test]
    fn other_errors_are_not_folded() {
        assert!(!passes(&[STRAY, PONG], &[OTHER, PONG]));
        assert!(!passes(&[STRAY, PONG], &[STRAY, OTHER, PONG]));
        assert!(!passes(&[OTHER, PONG], &[STRAY, PONG]));
        assert!(!passes(&[FF, PONG], &[OTHER, PONG]));
        assert!(!passes(&[STRAY, PONG], &[CLASS, PONG]));
    }

    #[test]
    fn a_wrong_answer_after_a_run_is_reported() {
        assert!(!passes(&[STRAY, PONG], &[STRAY, VALUE, "{\"return\":{},\"id\":2}"]));
        assert!(!passes(&[STRAY, PONG], &[STRAY]));
        assert!(!passes(&[FF, PONG], &[]));
    }

    #[test]
    fn a_sentinel_before_a_parse_error_is_kept() {
        let want = [Json::parse(STRAY).unwrap()];
        let got = vec![Reply { sentinel: true, value: Json::parse(VALUE).unwrap() }];
        assert!(fold(&want, got).iter().all(|reply| reply.sentinel));
    }
}

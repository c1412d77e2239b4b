//! Tests of the comparison: right answers pass, and wrong ones are reported.
#![allow(clippy::unwrap_used)]

use super::Matcher;
use crate::cases::Compare;
use crate::json::Json;

fn verdict(mode: Compare, want: &str, got: &str) -> Result<(), String> {
    let mut matcher = Matcher::new(mode, false, false).unwrap();
    matcher.compare(&Json::parse(want).unwrap(), &Json::parse(got).unwrap())
}

#[track_caller]
fn same(mode: Compare, want: &str, got: &str) {
    assert_eq!(verdict(mode, want, got), Ok(()));
}

/// The difference must be reported, at the place that is named.
#[track_caller]
fn differs(mode: Compare, want: &str, got: &str, at: &str) {
    let problem = verdict(mode, want, got).unwrap_err();
    assert!(problem.starts_with(&format!("at {at}: ")), "{problem}");
}

#[test]
fn equal_answers_pass_in_any_key_order() {
    same(Compare::Exact, r#"{"return":{"a":1,"b":[true,null,"x"]}}"#, r#"{"return":{"b":[true,null,"x"],"a":1}}"#);
}

#[test]
fn every_kind_of_wrong_value_is_reported() {
    for (want, got) in [
        ("1", "2"),
        ("1", "1.0"),
        ("1", "\"1\""),
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ("1.5", "1.25"),
        ("\"a\"", "\"b\""),
        ("\"a\"", "[\"a\"]"),
        ("true", "false"),
        ("null", "0"),
        ("{}", "[]"),
        ("{}", "null"),
        ("[]", "[1]"),
        ("[1]", "[]"),
        ("[1,2]", "[2,1]"),
        ("18446744073709551616", "18446744073709551617"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("\"<sha256:00:2001>\"", "\"<sha256:01:2001>\""),
        ("\"<eof>\"", "{}"),
    ] {
        let wrap = |value: &str| format!(r#"{{"return":{{"x":{value}}}}}"#);
        assert!(verdict(Compare::Exact, &wrap(want), &wrap(got)).is_err(), "{want} {got}");
    }
}

#[test]
fn missing_and_surplus_keys_are_reported() {
    differs(Compare::Exact, r#"{"return":{"a":1}}"#, r#"{"return":{}}"#, ".return");
    differs(Compare::Exact, r#"{"return":{}}"#, r#"{"return":{"a":1}}"#, ".return");
    differs(Compare::Exact, r#"{"return":{}}"#, r#"{"return":{},"id":1}"#, ".");
    differs(Compare::Shape, r#"{"return":{"a":1}}"#, r#"{"return":{"b":1}}"#, ".return");
}

#[test]
fn key_order_counts_only_when_asked_for() {
    let mut matcher = Matcher::new(Compare::Exact, false, true).unwrap();
    let [ab, ba] = [r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#].map(|t| Json::parse(t).unwrap());
    assert!(matcher.compare(&ab, &ba).is_err());
    assert!(matcher.compare(&ab, &ab).is_ok());
}

#[test]
fn loose_numbers_are_equal_by_value_only() {
    let mut matcher = Matcher::new(Compare::Exact, true, false).unwrap();
    let mut equal = |want, got| matcher.compare(&Json::parse(want).unwrap(), &Json::parse(got).unwrap()).is_ok();
    assert!(equal("1", "1.0"));
    assert!(equal("100000", "1e5"));
    assert!(!equal("1", "1.5"));
    assert!(!equal("1", "2"));
    assert!(!equal("1", "true"));
}

#[test]
fn wildcards_accept_their_kind_and_nothing_else() {
    let values = ["1", "1.5", "\"s\"", "true", "[]", "{}", "null"];
    for (wildcard, accepted) in [
        ("<any>", "1111111"),
        ("<int>", "1000000"),
        ("<num>", "1100000"),
        ("<str>", "0010000"),
        ("<bool>", "0001000"),
        ("<list>", "0000100"),
        ("<obj>", "0000010"),
    ] {
        let want = format!("[\"{wildcard}\"]");
        let found: String = values
            .iter()
            .map(|got| verdict(Compare::Exact, &want, &format!("[{got}]")).is_ok())
            .map(|fits| if fits { '1' } else { '0' })
            .collect();
        assert_eq!(found, accepted, "{wildcard}");
    }
}

#[test]
fn patterns_must_match_the_whole_string() {
    same(Compare::Exact, r#""<re:a.*c>""#, r#""ab\nc""#);
    differs(Compare::Exact, r#""<re:b>""#, r#""abc""#, ".");
    differs(Compare::Exact, r#""<re:a|b>""#, r#""ab""#, ".");
    differs(Compare::Exact, r#""<re:1>""#, "1", ".");
    assert!(verdict(Compare::Exact, r#""<re:(>""#, r#""(""#).is_err());
}

#[test]
fn bound_names_are_filled_into_later_answers() {
    let mut matcher = Matcher::new(Compare::Exact, false, false).unwrap();
    let mut equal = |want, got| matcher.compare(&Json::parse(want).unwrap(), &Json::parse(got).unwrap()).is_ok();
    assert!(equal(r#"{"return":"<int=h>"}"#, r#"{"return":1000}"#));
    assert!(equal(r#"{"desc":"handle '{h}'"}"#, r#"{"desc":"handle '1000'"}"#));
    assert!(!equal(r#"{"desc":"handle '{h}'"}"#, r#"{"desc":"handle '1001'"}"#));
    assert!(!equal(r#"{"return":"<int=h>"}"#, r#"{"return":"1000"}"#));
    assert_eq!(matcher.bound().get("h").map(String::as_str), Some("1000"));
}

#[test]
fn the_items_after_has_must_all_occur() {
    same(Compare::Exact, r#"["<has>",{"n":"b"},{"n":"<str>"}]"#, r#"[{"n":"a"},{"n":"b"}]"#);
    differs(Compare::Exact, r#"["<has>",{"n":"c"}]"#, r#"[{"n":"a"},{"n":"b"}]"#, ".");
    differs(Compare::Exact, r#"["<has>",1]"#, "[]", ".");
    differs(Compare::Exact, r#"["<has>",1]"#, "{}", ".");
}

#[test]
fn class_mode_compares_the_class_and_what_is_around_the_error() {
    let want = r#"{"error":{"class":"A","desc":"x"},"id":1}"#;
    same(Compare::Class, want, r#"{"id":1,"error":{"class":"A","desc":"y"}}"#);
    differs(Compare::Class, want, r#"{"error":{"class":"B","desc":"x"},"id":1}"#, ".error.class");
    differs(Compare::Class, want, r#"{"error":{"class":"A","desc":"x"},"id":2}"#, ".id");
    differs(Compare::Class, want, r#"{"error":{"class":"A","desc":"x"}}"#, ".");
    differs(Compare::Class, want, r#"{"return":{},"id":1}"#, ".");
    differs(Compare::Class, r#"{"return":1}"#, r#"{"return":2}"#, ".return");
}

#[test]
fn shape_mode_compares_keys_and_types() {
    same(Compare::Shape, r#"{"a":1,"b":"x"}"#, r#"{"a":2.5,"b":"y"}"#);
    differs(Compare::Shape, r#"{"a":1}"#, r#"{"a":"1"}"#, ".a");
    differs(Compare::Shape, r#"{"a":true}"#, r#"{"a":1}"#, ".a");
}

#[test]
fn in_shape_mode_each_item_is_like_a_recorded_one() {
    let want = r#"{"return":[{"a":1},{"a":1,"b":[{"c":"x"}]}]}"#;
    same(Compare::Shape, want, r#"{"return":[{"a":7}]}"#);
    same(Compare::Shape, want, r#"{"return":[{"a":7,"b":[]},{"a":7,"b":[{"c":"y"}]}]}"#);
    differs(Compare::Shape, want, r#"{"return":[{"a":7},{"z":7}]}"#, ".return");
    differs(Compare::Shape, want, r#"{"return":[{"a":7,"b":[{"c":1}]}]}"#, ".return");
    differs(Compare::Shape, want, r#"{"return":[]}"#, ".return");
    differs(Compare::Shape, r#"{"return":[]}"#, r#"{"return":[1]}"#, ".return");
}

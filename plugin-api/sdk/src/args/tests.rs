use super::*;
use std::borrow::Cow;

#[derive(Debug, PartialEq, Deserialize)]
struct Cpu {
    #[serde(rename = "logical-id")]
    logical_id: i64,
    online: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Fast,
    VerySlow,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Args<'a> {
    handle: i64,
    #[serde(borrow)]
    text: Cow<'a, str>,
    mode: Option<Mode>,
    cpus: Option<Vec<Cpu>>,
    size: Option<u64>,
    ratio: Option<f64>,
}

fn error(text: &str) -> String {
    parse::<Args<'_>>(text).unwrap_err().desc().to_owned()
}

#[test]
fn a_full_set_of_arguments_is_read_and_borrows() {
    let text = r#" { "size":18446744073709551615, "ratio": 1e3, "text":"plain", "handle" : -0,
        "cpus":[{"online":true,"logical-id":7}, {"logical-id":8,"online":false}], "mode":"very-slow" } "#;
    let args: Args<'_> = parse(text).unwrap();
    assert!(matches!(args.text, Cow::Borrowed("plain")));
    assert_eq!((args.handle, args.size, args.ratio), (0, Some(u64::MAX), Some(1000.0)));
    assert_eq!(args.mode, Some(Mode::VerySlow));
    let cpus = args.cpus.unwrap();
    assert_eq!(cpus, [Cpu { logical_id: 7, online: true }, Cpu { logical_id: 8, online: false }]);
}

#[test]
fn escapes_are_undone_in_keys_and_values() {
    let args: Args<'_> = parse(r#"{"h\u0061ndle":1,"text":"a\n\ud83d\ude00\"}"}"#).unwrap();
    assert_eq!(args.text, "a\n😀\"}");
}

#[test]
fn errors_have_qemus_words() {
    for (text, expected) in [
        ("{}", "Parameter 'handle' is missing"),
        (r#"{"handle":"x"}"#, "Invalid parameter type for 'handle', expected: integer"),
        (r#"{"handle":1.0}"#, "Invalid parameter type for 'handle', expected: integer"),
        (r#"{"handle":9223372036854775808}"#, "Invalid parameter type for 'handle', expected: integer"),
        (r#"{"handle":1,"text":null}"#, "Invalid parameter type for 'text', expected: string"),
        (r#"{"handle":1,"text":"","mode":null}"#, "Invalid parameter type for 'mode', expected: string"),
        (r#"{"handle":1,"text":"","mode":"x"}"#, "Parameter 'mode' does not accept value 'x'"),
        (r#"{"handle":1,"text":"","cpus":{}}"#, "Invalid parameter type for 'cpus', expected: array"),
        (r#"{"handle":1,"text":"","cpus":[1]}"#, "Invalid parameter type for 'cpus[0]', expected: object"),
        (r#"{"handle":1,"text":"","cpus":[{"online":true}]}"#, "Parameter 'cpus[0].logical-id' is missing"),
        (
            r#"{"handle":1,"text":"","cpus":[{"logical-id":1,"online":1}]}"#,
            "Invalid parameter type for 'cpus[0].online', expected: boolean",
        ),
        (
            r#"{"handle":1,"text":"","cpus":[{"logical-id":1,"online":true,"x":1}]}"#,
            "Parameter 'cpus[0].x' is unexpected",
        ),
        (r#"{"handle":1,"text":"","size":true}"#, "Parameter 'size' expects uint64"),
        (r#"{"handle":1,"text":"","ratio":"1"}"#, "Invalid parameter type for 'ratio', expected: number"),
        (r#"{"handle":1,"text":"","bogus":1}"#, "Parameter 'bogus' is unexpected"),
        (r#"{"handle":1,"text":"","":null}"#, "Parameter '' is unexpected"),
        (r#"{"handle":1,"handle":2,"text":""}"#, "JSON parse error, duplicate key"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn the_first_field_at_fault_in_the_order_of_the_type_is_reported() {
    assert_eq!(error(r#"{"bogus":1,"text":1}"#), "Parameter 'handle' is missing");
    assert_eq!(error(r#"{"bogus":1,"handle":[]}"#), "Invalid parameter type for 'handle', expected: integer");
    assert_eq!(error(r#"{"mode":1,"handle":1}"#), "Parameter 'text' is missing");
}

#[test]
fn a_command_without_arguments_takes_none() {
    assert!(parse::<NoArgs>("{}").is_ok());
    assert_eq!(parse::<NoArgs>(r#"{"x":1}"#).unwrap_err().desc(), "Parameter 'x' is unexpected");
}

#[test]
fn free_form_arguments_are_read_too() {
    let text = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":{}}}"#;
    let value: serde_json::Value = parse(text).unwrap();
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
}

/// An object of `count` members, each of which `member` makes.
fn object(count: usize, member: impl Fn(usize) -> String) -> String {
    format!("{{{}}}", (0..count).map(member).collect::<Vec<_>>().join(","))
}

/// The error, once it has been seen that it took no more work than `per_byte` for each byte of the text.
fn error_within<'t, T: Deserialize<'t>>(text: &'t str, per_byte: u64) -> String {
    crate::steps::reset();
    let error = parse::<T>(text).err().unwrap();
    let (steps, bytes) = (crate::steps::taken(), text.len() as u64);
    assert!(steps <= per_byte * bytes, "{steps} steps for {bytes} bytes");
    error.desc().to_owned()
}

#[test]
fn more_members_than_any_command_takes_are_refused_unseen() {
    let many = object(40_000, |number| format!("\"k{number}\":1"));
    let too_many = "Too many arguments, or members of one";
    assert_eq!(error_within::<Args<'_>>(&many, 1), too_many);
    assert_eq!(error_within::<NoArgs>(&many, 1), too_many);
    assert_eq!(
        error_within::<serde_json::Value>(&format!("{{\"a\":[{many}]}}"), 3),
        format!("Parameter 'a[0]': {too_many}")
    );
    assert!(members(many.as_bytes()).is_none());
    let most = object(MAX_MEMBERS, |number| format!("\"k{number}\":1"));
    assert_eq!(parse::<serde_json::Value>(&most).unwrap().as_object().unwrap().len(), MAX_MEMBERS);
    let twice = object(MAX_MEMBERS, |number| format!("\"k{}\":1", number % 63));
    assert_eq!(error_within::<Args<'_>>(&twice, 1), "JSON parse error, duplicate key");
}

#[test]
fn depth_and_length_cost_no_more_than_their_bytes() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(
        error_within::<serde_json::Value>(&deep, 17).rsplit(": ").next(),
        Some("The arguments are nested too deeply")
    );
    let long =
        format!("{{\"handle\":1,\"text\":\"\",\"cpus\":[{}1]}}", "{\"logical-id\":1,\"online\":true},".repeat(20_000));
    let expected = "Invalid parameter type for 'cpus[20000]', expected: object";
    assert_eq!(error_within::<Args<'_>>(&long, 5), expected);
}

#[test]
fn an_error_repeats_the_beginning_of_a_long_text() {
    let (long, head) = ("y".repeat(1 << 20), "y".repeat(128));
    for (text, expected) in [
        (
            format!("{{\"handle\":1,\"text\":\"\",\"mode\":\"{long}\"}}"),
            format!("Parameter 'mode' does not accept value '{head}...'"),
        ),
        (format!("{{\"handle\":1,\"text\":\"\",\"{long}\":1}}"), format!("Parameter '{head}...' is unexpected")),
    ] {
        assert_eq!(error(&text), expected);
    }
    let of_its_own = parse::<Number>(&format!("{{\"number\":\"{long}\"}}")).unwrap_err();
    assert!(of_its_own.desc().len() < 700, "{}", of_its_own.desc().len());
}

/// A type that says itself what is wrong.
#[derive(Debug, Deserialize)]
struct Number {
    #[serde(rename = "number", deserialize_with = "refuse")]
    _number: (),
}

fn refuse<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let text = String::deserialize(deserializer)?;
    Err(serde::de::Error::custom(format_args!("{text} is not good")))
}

#[test]
fn broken_text_is_an_error_and_never_a_panic() {
    let text = r#"{"handle":1,"text":"a\"b","cpus":[{"logical-id":1,"online":true}]}"#;
    assert!(parse::<Args<'_>>(text).is_ok());
    for end in 0..text.len() {
        assert!(parse::<Args<'_>>(&text[..end]).is_err(), "{}", &text[..end]);
    }
    for junk in ["}", "{]", "{\"a\"}", "{\"a\":}", "{,}", "{\"a\":[}", "{\"a\" 1}", "[", "\"", "{\"a\\"] {
        assert!(parse::<serde_json::Value>(junk).is_err(), "{junk}");
    }
}

#[test]
fn members_are_found_without_looking_into_them() {
    let found = members(br#"{"handle":1000,"buf-b64":"QUJD"}"#).unwrap();
    let [handle, buf] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((handle.key.as_ref(), handle.value), ("handle", b"1000".as_slice()));
    assert_eq!(buf.value.get(string_bounds(buf.value).unwrap()), Some(b"QUJD".as_slice()));
}

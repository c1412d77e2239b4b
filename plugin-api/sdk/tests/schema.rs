//! What `plugin!` lists of a set's types, and what the test kit makes of calls that contradict it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use guestd_sdk::answer::reply_of;
use guestd_sdk::prelude::*;
use guestd_sdk::schema::{self, Schemas};
use guestd_sdk::testkit::TestKit;
use guestd_sdk::{args, root};
use schemars::JsonSchema;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct AddArgs<'a> {
    /// What it is for.
    label: &'a str,
    /// The numbers.
    all_numbers: Vec<i64>,
    /// One more.
    last: Option<u8>,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    /// The sum.
    sum: i64,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// What is told also if there is none.
    nothing: Option<bool>,
}

fn add(_: &Ctx<()>, args: AddArgs<'_>) -> Result<Sum, CommandError> {
    let label = Some(args.label.to_owned()).filter(|label| !label.is_empty());
    Ok(Sum { sum: args.all_numbers.iter().sum::<i64>() + i64::from(args.last.unwrap_or(0)), label, nothing: None })
}

/// What no schema is derived for.
#[derive(Deserialize)]
struct Undescribed {
    text: String,
}

fn plain(_: &Ctx<()>, args: Undescribed) -> Result<String, CommandError> {
    Ok(args.text)
}

/// Answers with the text of its arguments, whatever was promised.
fn echo(_: &Ctx<()>, request: Request) -> Result<Reply, CommandError> {
    Ok(reply_of(args::text_of(&request)?.as_bytes().to_vec()))
}

/// Takes other arguments than was said.
fn deaf(_: &Ctx<()>, request: Request) -> Result<Reply, CommandError> {
    args::parse::<Undescribed>(args::text_of(&request)?)?;
    Ok(reply_of(b"{}".to_vec()))
}

fn silent(_: &Ctx<()>, _: NoArgs) -> Result<Silent, CommandError> {
    Ok(Silent)
}

fn nothing(_: &Ctx<()>, _: NoArgs) -> Result<(), CommandError> {
    Ok(())
}

fn delimited(_: &Ctx<()>, _: NoArgs) -> Result<Delimited<i64>, CommandError> {
    Ok(Delimited(5))
}

guestd_sdk::plugin! {
    name: "described",
    vendor: "Example Ltd",
    summary: "Tells what it takes",
    state: () = |_| Ok(()),
    commands: {
        "__com.example_add" => add,
        "__com.example_plain" => plain,
        "__com.example_echo" [FREEZE_SAFE] within 5 => raw echo as fn(Sum) -> Sum,
        "__com.example_raw" => raw echo,
        "__com.example_deaf" => raw deaf as fn(NoArgs) -> (),
        "__com.example_silent" [NO_SUCCESS_RESPONSE] => silent,
        "__com.example_nothing" => nothing,
        "__com.example_delimited" => delimited,
    }
}

fn schemas(command: &str) -> Option<Schemas> {
    let set = schema::sets().find(|set| set.set == "described").unwrap();
    let command = set.commands.iter().find(|entry| entry.name == command).unwrap();
    (command.make)()
}

fn kit() -> TestKit {
    TestKit::start(plugin_module()).unwrap()
}

#[test]
fn the_set_is_in_the_list_of_this_program() {
    let manifests: Vec<_> = root::sets().map(|set| set.manifest).collect();
    let [manifest] = manifests.as_slice() else { panic!("{manifests:?}") };
    assert!(manifest.contains("\nname described\n"), "{manifest}");
}

#[test]
fn arguments_are_strict_and_never_null() {
    let arguments = schemas("__com.example_add").unwrap().arguments;
    let expected = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["label", "all-numbers"],
        "properties": {
            "label": {"type": "string", "description": "What it is for."},
            "all-numbers": {
                "type": "array",
                "items": {"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX},
                "description": "The numbers.",
            },
            "last": {"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255, "description": "One more."},
        },
    });
    assert_eq!(*arguments.as_value(), expected);
}

#[test]
fn answers_are_what_the_serializer_writes() {
    let answer = schemas("__com.example_add").unwrap().answer;
    let member = |name: &str| answer.get("properties").unwrap()[name]["type"].clone();
    assert_eq!(*answer.get("required").unwrap(), json!(["sum", "nothing"]));
    assert_eq!(
        (member("sum"), member("label"), member("nothing")),
        (json!("integer"), json!("string"), json!(["boolean", "null"]))
    );
    assert_eq!(*schemas("__com.example_silent").unwrap().answer.as_value(), json!(false));
    assert_eq!(
        *schemas("__com.example_nothing").unwrap().answer.as_value(),
        json!({"type": "object", "additionalProperties": false})
    );
    assert_eq!(schemas("__com.example_delimited").unwrap().answer.get("type"), Some(&json!("integer")));
}

#[test]
fn a_command_without_a_schema_builds_and_is_not_compared() {
    assert!(schemas("__com.example_plain").is_none() && schemas("__com.example_raw").is_none());
    assert_eq!(kit().call("__com.example_plain", json!({"text": "a"})).unwrap(), json!("a"));
    assert_eq!(kit().call("__com.example_raw", json!({"any": null})).unwrap(), json!({"any": null}));
}

#[test]
fn calls_that_fit_their_schema_pass() {
    let kit = kit();
    let sum = kit.call("__com.example_add", json!({"label": "", "all-numbers": [1, 2], "last": 3})).unwrap();
    assert_eq!(sum, json!({"sum": 6, "nothing": null}));
    // Wrong arguments, and the schema knows it.
    let error = kit.call("__com.example_add", json!({"label": "", "all-numbers": [1, "2"]})).unwrap_err();
    assert_eq!(error.desc(), "Invalid parameter type for 'all-numbers[1]', expected: integer");
    let error = kit.call("__com.example_add", json!({"label": "", "all-numbers": [], "last": null})).unwrap_err();
    assert_eq!(error.desc(), "Parameter 'last' expects uint64");
    assert_eq!(kit.call("__com.example_nothing", json!({})).unwrap(), json!({}));
    assert_eq!(kit.call("__com.example_delimited", json!({})).unwrap(), json!(5));
    assert!(TestKit::is_silent(&kit.call_raw("__com.example_silent", "{}", 0).unwrap()));
}

#[test]
fn calls_that_contradict_their_schema_are_errors() {
    let kit = kit();
    for (command, arguments, expected) in [
        ("__com.example_echo", json!({"sum": 1, "more": 2, "nothing": null}), "it takes"),
        ("__com.example_echo", json!({"sum": 1}), "it answers {\"sum\":1}"),
        ("__com.example_deaf", json!({}), "it does not take {}: Parameter 'text' is missing"),
        ("__com.example_deaf", json!({"text": ""}), "it takes {\"text\":\"\"}"),
    ] {
        let error = kit.call(command, arguments).unwrap_err();
        assert!(error.desc().starts_with(&format!("{command} and its schema differ: {expected}")), "{}", error.desc());
    }
}

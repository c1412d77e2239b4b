//! The schemas say what QEMU's own schema says: names, types, what may be absent.
//!
//! guestd may promise more (a member of an answer that is always there) and use less (an enumeration's values), not
//! anything else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use guestd_reference::protocol::{Member, Protocol, QEMU, Type, TypeName};
use guestd_reference::sets;
use guestd_sdk::abi::command_flags::NO_SUCCESS_RESPONSE;
use serde_json::{Map, Value, json};

/// Values that guestd has besides QEMU's, which the command's page gives as a difference.
const MORE_VALUES: [(&str, &str); 1] = [("GuestFsfreezeStatus", "error")];

/// Whether a value goes into the agent or comes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Compares a schema with the facts, and notes what does not fit under the path where it is.
struct Comparison<'a> {
    qemu: &'a Protocol,
    definitions: Value,
    way: Way,
    problems: Vec<String>,
}

impl Comparison<'_> {
    fn problem(&mut self, at: &str, what: impl AsRef<str>) {
        self.problems.push(format!("{at}: {}", what.as_ref()));
    }

    /// Follows references, and looks through a choice that is none.
    fn resolved(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            return self.resolved(&self.definitions[name]);
        }
        match schema["oneOf"].as_array().map(Vec::as_slice) {
            Some([only]) if only["const"].is_null() => self.resolved(only),
            _ => schema.clone(),
        }
    }

    fn value(&mut self, at: &str, kind: &TypeName, schema: &Value) {
        let schema = self.resolved(schema);
        match kind {
            TypeName::List(items) => {
                if schema["type"] != "array" {
                    return self.problem(at, "is no list");
                }
                let [item] = items.as_slice() else { panic!("{at}: a list has one type") };
                self.value(&format!("{at}[]"), &TypeName::One(item.clone()), &schema["items"]);
            }
            TypeName::One(name) => match name.as_str() {
                "int" | "uint64" => {
                    if schema["type"] != "integer" {
                        self.problem(at, "is no integer");
                    }
                    let unsigned = schema["minimum"] == 0;
                    if name == "uint64" && !unsigned || self.way == Way::In && name == "int" && unsigned {
                        self.problem(at, format!("is not of type {name}"));
                    }
                }
                "str" => self.plain(at, "string", &schema),
                "bool" => self.plain(at, "boolean", &schema),
                "number" => self.plain(at, "number", &schema),
                name => match self.qemu.types.get(name) {
                    Some(kind) => self.named(at, name, kind, &schema),
                    None => panic!("{at}: the facts have no type {name}"),
                },
            },
        }
    }

    fn plain(&mut self, at: &str, kind: &str, schema: &Value) {
        if schema["type"] != kind {
            self.problem(at, format!("is no {kind}"));
        }
    }

    fn named(&mut self, at: &str, name: &str, kind: &Type, schema: &Value) {
        if let Some(values) = &kind.values {
            return self.enumeration(at, name, values, schema);
        }
        if let Some(alternatives) = &kind.alternate {
            return self.alternate(at, alternatives.values(), schema);
        }
        let mut members: Vec<(&String, &Member)> = kind.members.iter().collect();
        if let Some(union) = &kind.union {
            let tag = &schema["properties"][&union.tag];
            let tag = self.resolved(tag);
            let tag = values_of(&tag);
            let [tag] = tag.iter().collect::<Vec<_>>()[..] else {
                return self.problem(at, format!("does not say which {} it is", union.tag));
            };
            let branch = union.branches.get(tag).unwrap_or_else(|| panic!("{at}: QEMU has no {tag}"));
            members.extend(&self.qemu.types[branch].members);
        }
        self.object(at, &members, schema);
    }

    fn enumeration(&mut self, at: &str, name: &str, theirs: &[String], schema: &Value) {
        let ours = values_of(schema);
        let more = MORE_VALUES.iter().filter(|(kind, _)| *kind == name).map(|(_, value)| (*value).to_owned());
        let theirs: BTreeSet<String> = theirs.iter().cloned().chain(more).collect();
        let fits = if self.way == Way::In { ours == theirs } else { ours.is_subset(&theirs) };
        if ours.is_empty() || !fits {
            self.problem(at, format!("has the values {ours:?}, and QEMU {theirs:?}"));
        }
    }

    /// What may be of several types: an enumeration beside plain ones.
    fn alternate<'t>(&mut self, at: &str, kinds: impl Iterator<Item = &'t String>, schema: &Value) {
        for kind in kinds {
            let examples: Vec<Value> = match (kind.as_str(), self.qemu.types.get(kind)) {
                ("int", _) => vec![json!(0), json!(1), json!(2)],
                ("bool", _) => vec![json!(true), json!(false)],
                (_, Some(Type { values: Some(values), .. })) => values.iter().map(|value| json!(value)).collect(),
                _ => panic!("{at}: an alternate of {kind}"),
            };
            let validator = jsonschema::draft202012::new(schema).unwrap();
            for example in examples.iter().filter(|example| !validator.is_valid(example)) {
                self.problem(at, format!("does not take {example}"));
            }
            for example in [json!("no such name"), json!(null), json!([])].iter().filter(|one| validator.is_valid(one))
            {
                self.problem(at, format!("takes {example}"));
            }
        }
    }

    fn object(&mut self, at: &str, theirs: &[(&String, &Member)], schema: &Value) {
        if schema["type"] != "object" {
            return self.problem(at, "is no object");
        }
        if schema["additionalProperties"] != false {
            self.problem(at, "may have members that nobody knows");
        }
        let none = Map::new();
        let ours = schema["properties"].as_object().unwrap_or(&none);
        let required =
            |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
        for (name, member) in theirs {
            let at = format!("{at}.{name}");
            match ours.get(*name) {
                // What an answer may lack, it may always lack.
                None if self.way == Way::Out && member.optional => {}
                None => self.problem(&at, "is missing"),
                Some(schema) => {
                    match (self.way, member.optional, required(name)) {
                        (Way::In, true, true) => self.problem(&at, "must be optional"),
                        (_, false, false) => self.problem(&at, "must not be optional"),
                        _ => {}
                    }
                    self.value(&at, &member.kind, schema);
                }
            }
        }
        for name in ours.keys().filter(|name| !theirs.iter().any(|(known, _)| known == name)) {
            self.problem(at, format!("has a member {name} that QEMU does not have"));
        }
    }
}

fn values_of(schema: &Value) -> BTreeSet<String> {
    let choices = schema["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["const"]);
    let listed = schema["enum"].as_array().into_iter().flatten();
    let all = choices.chain(listed).chain([&schema["const"]]);
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn problems_of(arguments: &Value, answer: &Value, name: &str) -> Vec<String> {
    let theirs = &QEMU.commands[name];
    let comparison = |way, schema: &Value| Comparison {
        qemu: &QEMU,
        definitions: schema["$defs"].clone(),
        way,
        problems: Vec::new(),
    };
    let mut inward = comparison(Way::In, arguments);
    inward.object(name, &theirs.arguments.iter().collect::<Vec<_>>(), arguments);
    let mut outward = comparison(Way::Out, answer);
    match &theirs.returns {
        Some(kind) => outward.value(name, kind, answer),
        None if *answer == json!(false) => {}
        None => outward.object(name, &[], answer),
    }
    [inward.problems, outward.problems].concat()
}

#[test]
fn arguments_and_answers_are_those_of_qemu() {
    let mut problems = Vec::new();
    let mut count = 0;
    for command in sets::all().unwrap().iter().flat_map(|set| &set.commands) {
        let name = &command.manifest.name;
        let Some(theirs) = QEMU.commands.get(name) else { continue };
        count += 1;
        problems.extend(problems_of(command.schemas.arguments.as_value(), command.schemas.answer.as_value(), name));
        if theirs.success_response == (command.manifest.flags & NO_SUCCESS_RESPONSE != 0) {
            problems.push(format!("{name}: whether a success is answered"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(count, 43);
}

#[test]
fn what_does_not_fit_is_noticed() {
    let none = json!({"type": "object", "additionalProperties": false});
    let path = json!({"type": "string"});
    let int = json!({"type": "integer"});
    let good = json!({"type": "object", "additionalProperties": false, "required": ["path"],
        "properties": {"path": path, "mode": path}});
    assert_eq!(problems_of(&good, &int, "guest-file-open"), [""; 0]);
    for (pointer, value, expected) in [
        ("/properties/path/type", json!("integer"), "guest-file-open.path: is no string"),
        ("/properties", json!({"path": path}), "guest-file-open.mode: is missing"),
        ("/required", json!([]), "guest-file-open.path: must not be optional"),
        ("/required", json!(["path", "mode"]), "guest-file-open.mode: must be optional"),
        ("/additionalProperties", json!(true), "guest-file-open: may have members that nobody knows"),
        (
            "/properties",
            json!({"path": path, "mode": path, "more": path}),
            "guest-file-open: has a member more that QEMU does not have",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert_eq!(problems_of(&bad, &int, "guest-file-open"), [expected]);
    }
    assert_eq!(problems_of(&good, &path, "guest-file-open"), ["guest-file-open: is no integer"]);
    let status = |values: Value| problems_of(&none, &json!({"enum": values}), "guest-fsfreeze-status").len();
    assert_eq!((status(json!(["thawed", "frozen", "error"])), status(json!(["thawed", "melting"]))), (0, 1));
}

//! The protocol as qemu-ga 10.2 has it: `protocol.json`, made from what it tells of itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A type: a name, or a list of one.
type TypeName = Value;

/// Commands and types.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    pub commands: BTreeMap<String, Command>,
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Command {
    /// The version of QEMU that was the first to have it.
    pub since: String,
    /// Names, with `?` behind those that may be left out.
    pub arguments: BTreeMap<String, TypeName>,
    pub returns: Option<TypeName>,
    pub success_response: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Type {
    #[serde(rename = "struct", default)]
    members: BTreeMap<String, TypeName>,
    /// The member that says which branch's members there are besides.
    tag: Option<String>,
    #[serde(default)]
    branches: BTreeMap<String, String>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    alternate: Option<Vec<TypeName>>,
}

impl Protocol {
    pub fn read() -> Self {
        serde_json::from_str(include_str!("protocol.json")).unwrap()
    }

    /// What a command's answer has that the protocol has not, and the other way round.
    pub fn faults(&self, command: &str, answer: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let returns = &self.commands[command].returns;
        match returns {
            Some(expected) => self.check(command, expected, answer, &mut faults),
            None if answer.as_object().is_some_and(serde_json::Map::is_empty) => {}
            None => faults.push(format!("{command}: {answer} instead of {{}}")),
        }
        faults
    }

    fn check(&self, place: &str, expected: &TypeName, value: &Value, faults: &mut Vec<String>) {
        if let Some([item]) = expected.as_array().map(Vec::as_slice) {
            match value.as_array() {
                Some(values) => values.iter().for_each(|value| self.check(place, item, value, faults)),
                None => faults.push(format!("{place}: {value} is no list")),
            }
            return;
        }
        let name = expected.as_str().unwrap();
        let fits = match name {
            "str" => value.is_string(),
            "bool" => value.is_boolean(),
            "int" => value.is_i64(),
            "uint64" => value.is_u64(),
            "number" => value.is_number(),
            _ => return self.check_named(place, name, value, faults),
        };
        if !fits {
            faults.push(format!("{place}: {value} is no {name}"));
        }
    }

    fn check_named(&self, place: &str, name: &str, value: &Value, faults: &mut Vec<String>) {
        let kind = &self.types[name];
        if let Some(values) = &kind.values {
            if !value.as_str().is_some_and(|text| values.iter().any(|one| one == text)) {
                faults.push(format!("{place}: {value} is no {name}"));
            }
            return;
        }
        let Some(object) = value.as_object() else { return faults.push(format!("{place}: {value} is no {name}")) };
        let mut members = kind.members.clone();
        let branch = kind.tag.as_ref().and_then(|tag| kind.branches.get(object.get(tag)?.as_str()?));
        members.extend(branch.map(|branch| self.types[branch].members.clone()).unwrap_or_default());
        for (member, expected) in &members {
            let (name, is_optional) = member.strip_suffix('?').map_or((member.as_str(), false), |name| (name, true));
            match object.get(name) {
                Some(value) => self.check(&format!("{place}/{name}"), expected, value, faults),
                None if is_optional => {}
                None => faults.push(format!("{place}: {name} is missing")),
            }
        }
        let is_known = |name: &str| members.contains_key(name) || members.contains_key(&format!("{name}?"));
        for member in object.keys().filter(|member| !is_known(member)) {
            faults.push(format!("{place}: {member} is not in the protocol"));
        }
    }

    /// Wrong requests, by name: each argument of each command left out or of another type, and one too many.
    pub fn wrong_requests(&self) -> Vec<(String, String, Value)> {
        let mut wrong = Vec::new();
        for (command, Command { arguments, .. }) in &self.commands {
            let right: serde_json::Map<String, Value> = arguments
                .iter()
                .map(|(name, kind)| (name.trim_end_matches('?').to_owned(), self.example(kind)))
                .collect();
            let mut add = |what: String, change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
                let mut arguments = right.clone();
                change(&mut arguments);
                wrong.push((format!("{command} {what}"), command.clone(), arguments.into()));
            };
            add("with one too many".into(), &|all| drop(all.insert("nonsense".into(), 1.into())));
            for member in arguments.keys() {
                let name = member.trim_end_matches('?');
                let other = if right[name].is_string() { Value::from(5) } else { Value::from("five") };
                add(format!("with another type of {name}"), &|all| drop(all.insert(name.into(), other.clone())));
                add(format!("with {name} null"), &|all| drop(all.insert(name.into(), Value::Null)));
                if !member.ends_with('?') {
                    add(format!("without {name}"), &|all| drop(all.remove(name)));
                }
            }
        }
        wrong
    }

    fn example(&self, kind: &TypeName) -> Value {
        match kind.as_str() {
            None => Value::Array(Vec::new()),
            Some("str") => "x".into(),
            Some("bool") => true.into(),
            Some("int" | "uint64" | "number") => 1.into(),
            Some(name) => {
                let alternates = self.types[name].alternate.as_ref();
                alternates.and_then(|all| all.first()).map_or(Value::Null, |first| self.example(first))
            }
        }
    }
}

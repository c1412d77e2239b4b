//! A schema in words.

use serde_json::{Map, Number, Value};

/// A row of a table of members: its name, its type in Markdown, whether it is always there, and its description.
pub struct Row {
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub description: String,
}

/// The rows for an object's members, in the order of the type. Of a union with one variant they are the variant's.
pub fn rows(schema: &Value) -> Vec<Row> {
    if let Some(Value::Array(choices)) = schema.get("oneOf")
        && let [only] = choices.as_slice()
    {
        return rows(only);
    }
    let list = |key| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let required: Vec<&str> = list("required").filter_map(Value::as_str).collect();
    let members = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let row = |(name, member): (&String, &Value)| Row {
        name: name.clone(),
        kind: kind(member),
        required: required.contains(&name.as_str()),
        description: described(member),
    };
    members.map(row).collect()
}

/// The values of an enumeration, in Markdown, and what they mean.
pub fn values(schema: &Value) -> Vec<(String, String)> {
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    choices.filter_map(|choice| Some((literal(choice.get("const")?), description(choice)))).collect()
}

/// A description on one line.
pub fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same, with what the values of an enumeration mean.
pub fn described(schema: &Value) -> String {
    let meaning = |(value, meaning): (String, String)| format!("{value}: {}", meaning.trim_end_matches('.'));
    let meanings: Vec<_> = values(schema).into_iter().map(meaning).collect();
    format!("{} {}", description(schema), meanings.join("; ")).trim().to_owned()
}

/// A type in words: `string`, `array of integer`, or a link to a named one.
pub fn kind(schema: &Value) -> String {
    let Value::Object(object) = schema else { return "anything".to_owned() };
    if let Some(name) = reference(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = object.get("const") {
        return literal(value);
    }
    if let Some(Value::Array(values)) = object.get("enum") {
        return values.iter().map(literal).collect::<Vec<_>>().join(", ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(choices)) = object.get(key) {
            let separator = if choices.iter().all(|choice| choice.get("const").is_some()) { ", " } else { " or " };
            return choices.iter().map(kind).collect::<Vec<_>>().join(separator);
        }
    }
    match object.get("type").and_then(Value::as_str) {
        Some("array") => format!("array of {}", object.get("items").map_or("anything".to_owned(), kind)),
        Some("integer") => format!("integer{}", range(object)),
        Some(name) => name.to_owned(),
        None => "anything".to_owned(),
    }
}

/// The name of the type that a schema refers to.
pub fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The bounds of an integer, in words where they are those of a type.
fn range(object: &Map<String, Value>) -> String {
    let bound = |key| object.get(key).and_then(Value::as_number).and_then(Number::as_i128);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(greatest)) if (least, greatest) == (i64::MIN.into(), i64::MAX.into()) => String::new(),
        (Some(0), Some(greatest)) if greatest == u64::MAX.into() => ", 0 or more".to_owned(),
        (Some(least), Some(greatest)) if (least, greatest) == (i32::MIN.into(), i32::MAX.into()) => {
            " of 32 bits".to_owned()
        }
        (Some(0), Some(greatest)) if greatest == u32::MAX.into() => " of 32 bits, 0 or more".to_owned(),
        (Some(least), Some(greatest)) => format!(", {least} to {greatest}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => String::new(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`\"{text}\"`"),
        value => format!("`{value}`"),
    }
}

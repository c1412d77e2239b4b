//! From a type to a schema that says what the sdk's parser and serializer do.

use std::borrow::Cow;

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::answer::{Delimited, Silent};

/// What a type of arguments takes.
pub fn arguments<A: JsonSchema>() -> Schema {
    make::<A>(Contract::Deserialize)
}

/// What an answer's type is on the wire.
pub fn answer<R: JsonSchema>() -> Schema {
    let made = make::<R>(Contract::Serialize);
    // The protocol's "nothing" is an empty object, see `Answer`.
    let is_nothing = size_of::<R>() == 0 && made.get("type").is_some_and(|kind| kind == "null");
    if is_nothing { json_schema!({"type": "object", "additionalProperties": false}) } else { made }
}

fn make<T: JsonSchema>(contract: Contract) -> Schema {
    let bounds = contract == Contract::Deserialize;
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.contract = contract;
        settings.meta_schema = None;
        settings.transforms = vec![Box::new(Strict { bounds })];
    });
    let mut generator = settings.into_generator();
    // A root schema has to be an object.
    if T::inline_schema()
        && let never = generator.subschema_for::<T>()
        && never.as_bool().is_some()
    {
        return never;
    }
    let mut schema = generator.into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// No members but those that are named, no `null` for what is absent, and bounds for the integers of arguments.
///
/// The first is what [`crate::args`] demands of arguments and what a set promises of its answers. The second holds for
/// both: to the parser `null` is never "absent", and `skip_serializing_if` leaves a member out. A `format` alone binds
/// nobody.
#[derive(Clone)]
struct Strict {
    /// Whether integers get bounds; what an answer's type cannot hold needs none.
    bounds: bool,
}

impl Transform for Strict {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some((least, greatest)) = object.get("format").and_then(bounds_of)
            && self.bounds
        {
            object.entry("minimum").or_insert(least);
            object.entry("maximum").or_insert(greatest);
        }
        let required: Vec<Value> = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            let optional = properties.iter_mut().filter(|(name, _)| !required.contains(&Value::from(name.as_str())));
            optional.for_each(|(_, property)| without_null(property));
        }
        let is_object = object.get("type").is_some_and(|kind| kind == "object");
        if is_object && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }
}

/// The least and the greatest value of an integer's format.
fn bounds_of(format: &Value) -> Option<(Value, Value)> {
    match format.as_str()? {
        "int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "uint32" => Some((0.into(), u32::MAX.into())),
        "int64" | "int" => Some((i64::MIN.into(), i64::MAX.into())),
        "uint64" | "uint" => Some((0.into(), u64::MAX.into())),
        _ => None,
    }
}

/// Takes `null` out of what an `Option` has become.
fn without_null(property: &mut Value) {
    let Value::Object(property) = property else { return };
    if let Some(Value::Array(kinds)) = property.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [one] = kinds.as_slice() {
            let one = one.clone();
            property.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = property.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(one)] = choices.as_slice() {
            let one = one.clone();
            property.remove("anyOf");
            for (key, value) in one {
                property.entry(key).or_insert(value);
            }
        }
    }
}

impl JsonSchema for Silent {
    fn schema_name() -> Cow<'static, str> {
        "Silent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        false.into()
    }
}

impl<T: JsonSchema> JsonSchema for Delimited<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

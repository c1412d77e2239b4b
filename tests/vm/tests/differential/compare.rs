//! Two answers, held against each other member by member.

use std::fmt;

use serde_json::Value;

/// How an answer of qemu-ga differs from guestd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another value of the same type.
    Value,
    /// Another JSON type; an integer is not a number with a fraction.
    Type,
    OnlyGuestd,
    OnlyQemuGa,
    /// The same items in another order.
    Order,
}

impl Kind {
    pub const ALL: [(Self, &str); 5] = [
        (Self::Value, "value"),
        (Self::Type, "type"),
        (Self::OnlyGuestd, "only guestd"),
        (Self::OnlyQemuGa, "only qemu-ga"),
        (Self::Order, "order"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// A place where the answers differ, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Names of members, joined by `/`; items of lists by what identifies them, as `name=eth0`.
    pub place: String,
    pub kind: Kind,
    pub guestd: Value,
    pub qemu_ga: Value,
}

/// Members by which the items of a list are told apart, in the order in which they are tried.
const IDENTITIES: [&str; 8] = ["name", "mountpoint", "path", "dev", "ip-address", "logical-id", "phys-index", "cpu"];

/// Compares an answer of qemu-ga with what guestd answered before it and after it: a value that changes by itself is the
/// same if it is one of the two or, as a number, between them.
pub fn compare(place: &str, guestd: [&Value; 2], qemu_ga: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(place, guestd, qemu_ga, &mut found);
    found
}

fn walk(place: &str, [before, after]: [&Value; 2], theirs: &Value, found: &mut Vec<Difference>) {
    let mut differs = |place: &str, kind, guestd: &Value, qemu_ga: &Value| {
        let (place, guestd, qemu_ga) = (place.to_owned(), guestd.clone(), qemu_ga.clone());
        found.push(Difference { place, kind, guestd, qemu_ga });
    };
    if type_name(before) != type_name(theirs) {
        return differs(place, Kind::Type, before, theirs);
    }
    match (before, theirs) {
        (Value::Object(ours), Value::Object(others)) => {
            for (name, value) in ours.iter().filter(|(name, _)| !others.contains_key(*name)) {
                differs(&format!("{place}/{name}"), Kind::OnlyGuestd, value, &Value::Null);
            }
            for (name, value) in others.iter().filter(|(name, _)| !ours.contains_key(*name)) {
                differs(&format!("{place}/{name}"), Kind::OnlyQemuGa, &Value::Null, value);
            }
            for (name, value) in ours {
                if let Some(other) = others.get(name) {
                    let after = after.get(name).unwrap_or(value);
                    walk(&format!("{place}/{name}"), [value, after], other, found);
                }
            }
        }
        (Value::Array(ours), Value::Array(others)) => {
            let key = identity(ours, others);
            let name = |index: usize, item: &Value| match key {
                Some(key) => format!("{key}={}", plain(&item[key])),
                None => index.to_string(),
            };
            let names = |items: &[Value]| -> Vec<String> {
                items.iter().enumerate().map(|(index, item)| name(index, item)).collect()
            };
            let (our_names, other_names) = (names(ours), names(others));
            for (name, value) in our_names.iter().zip(ours).filter(|(name, _)| !other_names.contains(name)) {
                differs(&format!("{place}/{name}"), Kind::OnlyGuestd, value, &Value::Null);
            }
            for (name, value) in other_names.iter().zip(others).filter(|(name, _)| !our_names.contains(name)) {
                differs(&format!("{place}/{name}"), Kind::OnlyQemuGa, &Value::Null, value);
            }
            let common = |names: &[String], others: &[String]| -> Vec<String> {
                names.iter().filter(|name| others.contains(name)).cloned().collect()
            };
            let (ordered, other_order) = (common(&our_names, &other_names), common(&other_names, &our_names));
            if ordered != other_order {
                differs(place, Kind::Order, &ordered.into(), &other_order.into());
            }
            let later = after.as_array().map_or(&[][..], Vec::as_slice);
            let later_names = names(later);
            for (name, value) in our_names.iter().zip(ours) {
                let place = format!("{place}/{name}");
                let at = |names: &[String]| names.iter().position(|other| other == name);
                if let Some(other) = at(&other_names).and_then(|index| others.get(index)) {
                    let after = at(&later_names).and_then(|index| later.get(index)).unwrap_or(value);
                    walk(&place, [value, after], other, found);
                }
            }
        }
        _ if before == theirs || after == theirs || is_between(before, theirs, after) => {}
        _ => differs(place, Kind::Value, before, theirs),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_between(before: &Value, theirs: &Value, after: &Value) -> bool {
    match (before.as_i128(), theirs.as_i128(), after.as_i128()) {
        (Some(before), Some(theirs), Some(after)) => (before..=after).contains(&theirs),
        _ => false,
    }
}

/// The member that every item of both lists has, with another value in each item of a list.
fn identity(ours: &[Value], others: &[Value]) -> Option<&'static str> {
    let is_identity = |items: &[Value], key: &str| {
        let values: Vec<_> = items.iter().map(|item| item.get(key)).collect();
        let is_unique = |(index, value): (usize, &Option<&Value>)| value.is_some() && !values[..index].contains(value);
        values.iter().enumerate().all(is_unique)
    };
    IDENTITIES.into_iter().find(|key| is_identity(ours, key) && is_identity(others, key))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

trait AsI128 {
    fn as_i128(&self) -> Option<i128>;
}

impl AsI128 for Value {
    fn as_i128(&self) -> Option<i128> {
        self.as_i64().map(i128::from).or_else(|| self.as_u64().map(i128::from))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(before: Value, theirs: Value, after: Value) -> Vec<String> {
        let found = compare("x", [&before, &after], &theirs);
        found.iter().map(|difference| format!("{}: {}", difference.place, difference.kind)).collect()
    }

    fn once(ours: Value, theirs: Value) -> Vec<String> {
        found(ours.clone(), theirs, ours)
    }

    #[test]
    fn each_kind_is_found() {
        assert_eq!(once(json!({"a": 1}), json!({"a": 2})), ["x/a: value"]);
        assert_eq!(once(json!({"a": 1}), json!({"a": 1.0})), ["x/a: type"]);
        assert_eq!(once(json!({"a": 1}), json!({"a": "1"})), ["x/a: type"]);
        assert_eq!(once(json!({"a": 1, "b": 2}), json!({"a": 1})), ["x/b: only guestd"]);
        assert_eq!(once(json!([1]), json!([1, 2])), ["x/1: only qemu-ga"]);
        let items = |names: [&str; 2]| json!(names.map(|name| json!({"name": name, "size": name.len()})));
        assert_eq!(once(items(["a", "bb"]), items(["bb", "a"])), ["x: order"]);
        assert_eq!(once(items(["a", "bb"]), items(["a", "c"])), ["x/name=bb: only guestd", "x/name=c: only qemu-ga"]);
        assert!(once(items(["a", "bb"]), items(["a", "bb"])).is_empty());
    }

    #[test]
    fn what_moves_is_between() {
        assert!(found(json!([5]), json!([6]), json!([7])).is_empty());
        assert_eq!(found(json!([5]), json!([8]), json!([7])), ["x/0: value"]);
        assert_eq!(found(json!([5]), json!([4]), json!([7])), ["x/0: value"]);
        assert!(found(json!("a"), json!("b"), json!("b")).is_empty());
    }
}

//! The arguments of commands, as the sdk reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use guestd_sdk::args::{self, NoArgs};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::stream::{is_shallow, parsed};
use crate::{Rng, Target, json};

/// The reader of arguments.
pub const TARGET: Target = Target { name: "arguments", check, make };

/// No command takes as many members; an object of as many may be refused.
const MANY_MEMBERS: usize = 64;

fn make(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(0..4) {
        0 => json::value(rng, 4),
        _ => json::object(rng, 4),
    }
    .into_bytes()
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// One of each kind that commands have.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything<'a> {
    handle: Option<i64>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    mode: Option<Mode>,
    cpus: Option<Vec<Cpu>>,
    size: Option<u64>,
    ratio: Option<f64>,
    online: Option<bool>,
}

/// Panics where the sdk and serde_json do not agree on arguments, for all that they should.
///
/// # Panics
///
/// It says so.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ours = args::parse::<Everything<'_>>(text);
    let any = if is_shallow(bytes) { args::parse::<BTreeMap<String, Value>>(text) } else { Ok(BTreeMap::new()) };
    let none = args::parse::<NoArgs>(text);
    let members = args::members(bytes);
    for error in [ours.as_ref().err(), any.as_ref().err(), none.as_ref().err()].into_iter().flatten() {
        assert!(!error.desc().is_empty());
    }
    // What is no object in good JSON has been refused by the daemon.
    if !is_shallow(bytes) {
        return;
    }
    let Some(Ok(Value::Object(object))) = parsed(bytes) else { return };
    match members {
        Some(members) => check_members(&members, &object),
        None => assert!(object.len() >= MANY_MEMBERS, "an object has no members"),
    }
    check_types(text, &ours.map_err(|error| error.desc().to_owned()), &object);
}

/// The members are those that serde_json finds; of several with one key it has the last.
fn check_members(members: &[args::Member<'_>], object: &Map<String, Value>) {
    let found: BTreeMap<&str, &[u8]> = members.iter().map(|member| (member.key.as_ref(), member.value)).collect();
    assert_eq!(found.len(), object.len());
    for (key, value) in found {
        assert_eq!(value, value.trim_ascii());
        assert_eq!(parsed(value), Some(Ok(object[key].clone())), "the value of {key:?}");
    }
}

/// What the one reads the other reads too, to the same end. The sdk takes no `null` for what may be absent, and -0 for
/// an integer, which is QEMU's way.
fn check_types(text: &str, ours: &Result<Everything<'_>, String>, object: &Map<String, Value>) {
    let theirs = serde_json::from_str::<Everything<'_>>(text);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(*ours, theirs),
        (Ok(_), Err(error)) => assert!(text.contains("-0"), "{error}: {text}"),
        (Err(error), Ok(_)) => {
            assert!(object.values().any(Value::is_null) || object.len() >= MANY_MEMBERS, "{error}: {text}");
        }
        (Err(_), Err(_)) => {}
    }
}

//! Makes JSON as clients send it, and as none should.

use crate::Rng;

/// Names that the protocol or the tests' types know.
const KEYS: [&str; 16] = [
    "execute",
    "arguments",
    "id",
    "handle",
    "text",
    "mode",
    "cpus",
    "size",
    "ratio",
    "logical-id",
    "online",
    "a",
    "",
    "\\u0069d",
    "h\\u0061ndle",
    "execut\\u0065",
];

/// Scalars at the edges of their types.
const SCALARS: [&str; 22] = [
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "0.1e-7",
    "1e400",
    "-1E+2",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "4294967296",
    "true",
    "false",
    "null",
    "\"fast\"",
    "\"very-slow\"",
    "\"\"",
    "{}",
];

/// What may stand in a string.
const CONTENT: [&str; 16] = [
    "a",
    "é",
    "€",
    "😀",
    "\\n",
    "\\\\",
    "\\\"",
    "\\/",
    "\\u0000",
    "\\uffff",
    "\\ud83d\\ude00",
    "\u{7F}",
    "}",
    "]",
    "{\"",
    "'",
];

/// White space, where JSON lets some be.
fn space(rng: &mut Rng) -> &'static str {
    if rng.u8(0..6) == 0 { rng.choice([" ", "\n", "\t", "\r\n", "  \n "]).unwrap() } else { "" }
}

/// A string in its quotes.
#[must_use]
pub fn string(rng: &mut Rng) -> String {
    let length = match rng.u8(0..40) {
        0 => rng.usize(0..5000),
        1..=10 => 0,
        _ => rng.usize(0..8),
    };
    let plain = rng.bool();
    let content: String = (0..length).map(|_| if plain { "x" } else { rng.choice(CONTENT).unwrap() }).collect();
    format!("\"{content}\"")
}

/// A value in which at most `depth` containers lie in each other.
#[must_use]
pub fn value(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 {
        return if rng.bool() { (*rng.choice(SCALARS.iter()).unwrap()).to_owned() } else { string(rng) };
    }
    match rng.u8(0..10) {
        0..=2 => (*rng.choice(SCALARS.iter()).unwrap()).to_owned(),
        3..=4 => string(rng),
        5..=6 => array(rng, depth),
        7 => nested(rng),
        _ => object(rng, depth),
    }
}

fn many(rng: &mut Rng) -> usize {
    if rng.u8(0..60) == 0 { rng.usize(0..2000) } else { rng.usize(0..5) }
}

fn array(rng: &mut Rng, depth: usize) -> String {
    let count = many(rng);
    let depth = if count > 50 { 0 } else { depth - 1 };
    let items: Vec<_> = (0..count).map(|_| format!("{}{}{}", space(rng), value(rng, depth), space(rng))).collect();
    format!("[{}]", items.join(","))
}

/// An object, whose keys may occur twice.
#[must_use]
pub fn object(rng: &mut Rng, depth: usize) -> String {
    let count = many(rng);
    let depth = if count > 50 { 0 } else { depth - 1 };
    let members: Vec<_> = (0..count)
        .map(|number| {
            let key = match rng.u8(0..4) {
                0 => format!("\"k{number}\""),
                1 => string(rng),
                _ => format!("\"{}\"", rng.choice(KEYS).unwrap()),
            };
            format!("{}{key}{}:{}{}", space(rng), space(rng), space(rng), value(rng, depth))
        })
        .collect();
    format!("{{{}{}}}", members.join(","), space(rng))
}

/// Containers in each other, around the daemon's limit of 1,024 at times.
fn nested(rng: &mut Rng) -> String {
    let depth = if rng.u8(0..10) == 0 { rng.usize(1000..1050) } else { rng.usize(1..30) };
    if rng.bool() {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    } else {
        format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
    }
}

/// A request, whose members are in any order; seldom one is missing, doubled or another.
#[must_use]
pub fn request(rng: &mut Rng) -> String {
    let name = match rng.u8(0..5) {
        0 => string(rng),
        1 => value(rng, 1),
        _ => "\"guest-ping\"".to_owned(),
    };
    let mut members = vec![format!("\"execute\":{}{name}", space(rng))];
    if rng.bool() {
        let arguments = if rng.u8(0..8) == 0 { value(rng, 2) } else { object(rng, 3) };
        members.push(format!("\"arguments\":{arguments}{}", space(rng)));
    }
    if rng.bool() {
        members.push(format!("\"id\"{}:{}", space(rng), value(rng, 2)));
    }
    match rng.u8(0..12) {
        0 => members.push(format!("{}:{}", string(rng), value(rng, 1))),
        1 => members.extend(members.clone()),
        2 => drop(members.pop()),
        _ => {}
    }
    rng.shuffle(&mut members);
    let text = format!("{{{}}}", members.join(","));
    // QEMU's parser takes single quotes as well.
    if rng.u8(0..10) == 0 { text.replace('"', "'") } else { text }
}

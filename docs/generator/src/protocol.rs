//! Facts about the commands of qemu-ga: names, types and versions, in `qemu-ga.json`. For a newer qemu-ga another file takes
//! its place: all that is said of versions is in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The commands and types of qemu-ga.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Protocol {
    /// The version of QEMU whose they are.
    pub reference: String,
    /// The other versions that were asked, and list the same commands.
    pub same_commands: Vec<String>,
    /// The commands by their names.
    pub commands: BTreeMap<String, Command>,
    /// The named types.
    pub types: BTreeMap<String, Type>,
}

/// A command.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Command {
    /// Its arguments.
    pub arguments: BTreeMap<String, Member>,
    /// What it answers; `None`: `{}`.
    pub returns: Option<TypeName>,
    /// Whether it answers a success.
    pub success_response: bool,
    /// The version of QEMU that it came with.
    pub since: String,
}

/// An argument or a member of a struct.
#[derive(Debug, Deserialize)]
pub struct Member {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: TypeName,
    /// Whether it may be absent.
    pub optional: bool,
}

/// A type where it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TypeName {
    /// `int`, `str`, or a named one.
    One(String),
    /// A list of it.
    List(Vec<String>),
}

/// A named type: one of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub struct Type {
    /// Its members.
    #[serde(rename = "struct", default)]
    pub members: BTreeMap<String, Member>,
    /// More members, by the value of one.
    pub union: Option<Union>,
    /// The names that it may be.
    #[serde(rename = "enum")]
    pub values: Option<Vec<String>>,
    /// The types of which it may be one.
    pub alternate: Option<BTreeMap<String, String>>,
}

/// The variants of a struct.
#[derive(Debug, Deserialize)]
pub struct Union {
    /// The member that says which it is.
    pub tag: String,
    /// The type whose members are added, by the tag's value.
    pub branches: BTreeMap<String, String>,
}

/// The facts. Empty where the file is not as it should be, which a test would notice.
pub static QEMU: LazyLock<Protocol> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../qemu-ga.json")).unwrap_or(Protocol {
        reference: String::new(),
        same_commands: Vec::new(),
        commands: BTreeMap::new(),
        types: BTreeMap::new(),
    })
});

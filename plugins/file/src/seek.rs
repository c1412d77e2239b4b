//! `guest-file-seek`.

use std::fmt;

use guestd_sdk::prelude::*;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::handles::Files;
use crate::open_file::Origin;

/// The arguments.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SeekArgs {
    /// The handle.
    handle: i64,
    /// How far to go, in bytes, from where `whence` says.
    offset: i64,
    /// From where: `set` or 0, the beginning; `cur` or 1, the position; `end` or 2, the end.
    whence: Whence,
}

/// QEMU's `GuestFileWhence`: a name, or the number that QEMU has for it.
enum Whence {
    Name(Origin),
    Number(i64),
}

/// QEMU's `GuestFileSeek`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// Always false.
    eof: bool,
    /// The new position, in bytes from the beginning of the file.
    position: u64,
}

/// `guest-file-seek`: moves the position and answers with the new one, from the beginning of the file, in bytes.
pub fn seek(ctx: &Ctx<Files>, args: SeekArgs) -> Result<Position, CommandError> {
    let position = ctx.state.with(args.handle, |file| {
        let origin = args.whence.origin()?;
        file.seek(args.offset, origin).map_err(|error| CommandError::os("failed to seek file", &error))
    })?;
    Ok(Position { eof: false, position })
}

impl Whence {
    fn origin(&self) -> Result<Origin, CommandError> {
        match *self {
            Self::Name(origin) => Ok(origin),
            // QEMU's `QGASeek`, which is the same on every system.
            Self::Number(0) => Ok(Origin::Set),
            Self::Number(1) => Ok(Origin::Cur),
            Self::Number(2) => Ok(Origin::End),
            Self::Number(number) => Err(CommandError::new(format!("invalid whence code {number}"))),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Whence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Whence".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"enum": ["set", "cur", "end", 0, 1, 2]})
    }
}

impl<'de> Deserialize<'de> for Whence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WhenceVisitor;

        impl Visitor<'_> for WhenceVisitor {
            type Value = Whence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("GuestFileWhence")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whence, E> {
                Ok(Whence::Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whence, E> {
                Err(E::invalid_type(Unexpected::Unsigned(number), &"integer"))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whence, E> {
                Err(E::invalid_type(Unexpected::Float(number), &"integer"))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Whence, E> {
                match name {
                    "set" => Ok(Whence::Name(Origin::Set)),
                    "cur" => Ok(Whence::Name(Origin::Cur)),
                    "end" => Ok(Whence::Name(Origin::End)),
                    _ => Err(E::unknown_variant(name, &["set", "cur", "end"])),
                }
            }
        }

        deserializer.deserialize_any(WhenceVisitor)
    }
}

//! From the text of a request's arguments to a type, with QEMU's words for what is wrong with them.
//!
//! The rules are those of QEMU's schema: arguments are looked at in the order of the type's fields, what is missing
//! or has the wrong type is reported before what is unexpected, `null` is a value and never "absent", an integer
//! has no fraction, and a key occurs once.

mod error;
mod object;
mod value;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use guestd_abi::Request;

use crate::CommandError;
use error::{ArgError, Problem};
use value::StructFields;

pub use object::{MAX_MEMBERS, Member, members, string_bounds};

/// The arguments of a command that takes none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NoArgs {}

/// The text of a request's arguments; `{}` where it has none. Fails only on a request that no daemon would make.
pub fn text_of(request: &Request) -> Result<&str, CommandError> {
    if request.args_len == 0 {
        return Ok("{}");
    }
    let range = request.args_at..request.args_at.saturating_add(request.args_len);
    let bytes = request.buf.get(range).ok_or_else(|| CommandError::new("the arguments lie outside of the request"))?;
    Ok(std::str::from_utf8(bytes)?)
}

/// Reads arguments from the text of an object.
///
/// Errors have QEMU's texts: `Parameter 'x' is missing`, `Invalid parameter type for 'x', expected: string`,
/// `Parameter 'x' is unexpected`, `Parameter 'x' does not accept value 'y'`.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, CommandError> {
    let members = object::read(text)?;
    let read = |until| T::deserialize(Arguments { members: &members, until });
    let error = match read(usize::MAX) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // serde tells of a missing field only at the end, but one that stands before the field at fault comes first.
    if let Some(index) = error.field_index
        && let Err(earlier) = read(index)
        && matches!(earlier.problem, Problem::Missing)
        && earlier.field_index.is_some_and(|missing| missing < index)
    {
        return Err(earlier.into());
    }
    Err(error.into())
}

/// The arguments as a deserializer; it shows only the first `until` fields of the type.
struct Arguments<'m, 'a> {
    members: &'m [Member<'a>],
    until: usize,
}

impl<'de> Deserializer<'de> for Arguments<'_, 'de> {
    type Error = ArgError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        value::visit_members(self.members, 0, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        StructFields::new(self.members, fields, self.until).visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        StructFields::new(self.members, &[], self.until).check_unexpected()?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;

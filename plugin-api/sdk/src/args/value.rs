//! A value among the arguments as a deserializer.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{ArgError, Problem, too_deep};
use super::object::{self, Member};

/// How deep values may lie in each other. The text of one is looked at once for each that it lies in.
const MAX_DEPTH: u32 = 16;

/// The JSON text of one value, and in how many others it lies.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(&'a str, u32);

impl<'a> Value<'a> {
    fn new(text: &'a [u8], depth: u32) -> Result<Self, ArgError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self(text, depth)),
            Err(_) => Err(object::not_json()),
        }
    }

    fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(0)
    }

    fn string(self) -> Result<Cow<'a, str>, ArgError> {
        if self.first() != b'"' {
            return Err(ArgError::expected("string"));
        }
        object::string(self.0).ok_or_else(|| {
            ArgError::new(Problem::Other("JSON parse error, invalid escape sequence in string".to_owned()))
        })
    }

    fn visit_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn visit_items<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgError> {
        if self.first() != b'[' {
            return Err(ArgError::expected("array"));
        }
        visitor.visit_seq(Items { items: object::items(self.0)?, index: 0, depth: self.1 + 1 })
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = ArgError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.first() {
            b'"' => self.visit_string(visitor),
            b'[' => self.visit_items(visitor),
            b'{' => visit_members(&object::read(self.0)?, self.1, visitor),
            b't' => visitor.visit_bool(true),
            b'f' => visitor.visit_bool(false),
            b'n' => visitor.visit_unit(),
            _ => match (self.0.parse::<i64>(), self.0.parse::<u64>()) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => self.deserialize_f64(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(ArgError::expected("boolean")),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.0.parse() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => Err(ArgError::expected("integer")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.0.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(ArgError::new(Problem::Unsigned)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        let is_number = matches!(self.first(), b'-' | b'0'..=b'9');
        match self.0.parse() {
            Ok(number) if is_number => visitor.visit_f64(number),
            _ => Err(ArgError::expected("number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_items(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_items(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        visit_members(&object::read(self.0)?, self.1, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        StructFields { depth: self.1, ..StructFields::new(&object::read(self.0)?, fields, usize::MAX) }.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        let name = self.string()?;
        let variant: StrDeserializer<'_, ArgError> = name.as_ref().into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_unit()
    }

    // The derived implementations check the range themselves.
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_string(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.visit_string(visitor)
    }

    forward_to_deserialize_any! { bytes byte_buf unit unit_struct tuple_struct }
}

struct Items<'a> {
    items: object::Items<'a>,
    index: usize,
    depth: u32,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = ArgError;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, ArgError> {
        let Some(text) = self.items.next()? else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        let item = Value::new(text, self.depth).and_then(|value| seed.deserialize(value));
        item.map(Some).map_err(|error| error.within(&format!("[{index}]")))
    }
}

/// Shows all members in the order of the text: for maps, and for structs whose fields serde does not list.
pub(super) fn visit_members<'a, V: Visitor<'a>>(
    members: &[Member<'a>],
    depth: u32,
    visitor: V,
) -> Result<V::Value, ArgError> {
    let pairs = members.iter().map(|member| (&member.key, member.value));
    visitor.visit_map(&mut Pairs { pairs, current: None, depth: depth + 1 })
}

/// The fields of a struct, in the order of the type.
pub(super) struct StructFields<'m, 'a> {
    members: &'m [Member<'a>],
    fields: &'static [&'static str],
    until: usize,
    depth: u32,
}

impl<'m, 'a> StructFields<'m, 'a> {
    /// The fields of the arguments themselves.
    pub fn new(members: &'m [Member<'a>], fields: &'static [&'static str], until: usize) -> Self {
        Self { members, fields, until, depth: 0 }
    }

    pub fn visit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgError> {
        let keys: Vec<Cow<'a, str>> = self.fields.iter().map(|field| Cow::Borrowed(*field)).collect();
        let pairs = keys.iter().take(self.until).filter_map(|key| {
            let member = self.members.iter().find(|member| member.key == *key)?;
            Some((key, member.value))
        });
        let mut access = Pairs { pairs, current: None, depth: self.depth + 1 };
        let made = visitor.visit_map(&mut access);
        let value = made.map_err(|mut error| {
            error.field_index = self.index_of(&error, access.current.as_ref().map(|(key, _)| key.as_ref()));
            error
        })?;
        self.check_unexpected()?;
        Ok(value)
    }

    /// The place of the field that an error is about: the one that was being read, or the one that is missing.
    fn index_of(&self, error: &ArgError, reading: Option<&str>) -> Option<usize> {
        let missing = error.missing_field_name();
        let name = missing.or(reading)?;
        self.fields.iter().position(|field| *field == name)
    }

    pub fn check_unexpected(&self) -> Result<(), ArgError> {
        match self.members.iter().find(|member| !self.fields.contains(&member.key.as_ref())) {
            Some(member) if self.until == usize::MAX => Err(ArgError::new(Problem::Unexpected).within(&member.key)),
            _ => Ok(()),
        }
    }
}

/// Keys and values, one pair after the other; `current` is the one whose value was read last.
struct Pairs<'k, 'a, I> {
    pairs: I,
    current: Option<(&'k Cow<'a, str>, &'a [u8])>,
    depth: u32,
}

impl<'k, 'a: 'k, I: Iterator<Item = (&'k Cow<'a, str>, &'a [u8])>> MapAccess<'a> for &mut Pairs<'k, 'a, I> {
    type Error = ArgError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, ArgError> {
        self.current = self.pairs.next();
        match self.current {
            None => Ok(None),
            Some((Cow::Borrowed(key), _)) => seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some),
            Some((Cow::Owned(key), _)) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, ArgError> {
        let Some((key, text)) = self.current else {
            return Err(ArgError::custom("a value was asked for before its key"));
        };
        let value = Value::new(text, self.depth).and_then(|value| seed.deserialize(value));
        value.map_err(|error| error.within(key))
    }
}

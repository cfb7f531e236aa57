//! A serde deserializer that stands at one node.

use serde::de::{Deserializer, Visitor};

use super::access::{Items, OneVariant, Pairs};
use super::error::{Error, Kind};
use super::{Context, Path, Segment};
use crate::node::{Map, Node, Value};
use crate::scalar::{Meaning, meaning};

/// The name by which [`Optional`](crate::Optional) asks for its three states.
pub(crate) const OPTIONAL: &str = "$config::Optional";

/// The key that switches an optional section off.
pub(super) const ENABLED: &str = "enabled";

/// Stands at one node and gives it to a visitor.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) node: &'a Node,
    pub(super) path: &'a Path<'a>,
    nulls: NullRule,
    /// A key of this map that its struct does not see.
    pub(super) hidden_key: Option<&'static str>,
}

/// What null means here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NullRule {
    /// The field keeps its default, as in the Collector.
    KeepDefault,
    /// The empty value of its type: elements of lists and maps have no default.
    Zero,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(context: &'a Context<'a>, node: &'a Node, path: &'a Path<'a>, nulls: NullRule) -> Self {
        Self { context, node, path, nulls, hidden_key: None }
    }

    /// Adds the place, unless a cursor further in has.
    #[cold]
    pub(super) fn locate(&self, mut error: Error) -> Error {
        if error.spot.is_none() {
            error.spot = Some(self.context.spot(self.path, self.node, &error.kind));
        }
        error
    }

    fn fail<T>(&self, kind: Kind) -> Result<T, Error> {
        Err(self.failure(kind))
    }

    #[cold]
    fn failure(&self, kind: Kind) -> Error {
        // Whatever was wanted of it, a broken value has been told.
        let kind = if self.node.is_broken() { Kind::Told } else { kind };
        self.locate(Error::new(kind))
    }

    fn wrong_type<T>(&self, wanted: &'static str) -> Result<T, Error> {
        self.fail(Kind::Type(wanted))
    }

    /// What the scalar means; `Text` for what is no scalar.
    #[inline(never)]
    fn meaning(&self) -> Meaning {
        match &self.node.value {
            Value::Plain(text) => meaning(text),
            _ => Meaning::Text,
        }
    }

    /// An error when null keeps the default, so that the field is left out in the next round.
    fn keep_default(&self) -> Result<(), Error> {
        if self.node.is_null() && self.nulls == NullRule::KeepDefault {
            return self.fail(Kind::KeepDefault);
        }
        Ok(())
    }

    // What does not depend on the type that is made stands in functions of their own: there is a copy of the rest for each type.
    #[inline(never)]
    fn integer(&self, wanted: &'static str, least: i128, most: i128) -> Result<i128, Error> {
        self.keep_default()?;
        let number = match self.meaning() {
            Meaning::Int(number) => number,
            Meaning::Null => 0,
            // 1e6 and 5.0 are whole numbers; up to 2^53 a double is exact.
            Meaning::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
                number as i128
            }
            _ => return self.wrong_type(if wanted.starts_with('u') { "uint" } else { "int" }),
        };
        if !(least..=most).contains(&number) {
            return self.fail(Kind::Range(wanted));
        }
        Ok(number)
    }

    #[inline(never)]
    fn string(&self) -> Result<&'a str, Error> {
        if let Some(raw) = &self.node.raw {
            return Ok(raw);
        }
        self.keep_default()?;
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Plain(text) => match meaning(text) {
                Meaning::Text | Meaning::Float(_) => Ok(text),
                Meaning::Null => Ok(""),
                Meaning::Bool(_) | Meaning::Int(_) => self.wrong_type("string"),
            },
            _ => self.wrong_type("string"),
        }
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::List(items) = &self.node.value {
            return visitor.visit_seq(Items::new(self, items)).map_err(|error| self.locate(error));
        }
        let nodes = self.split()?;
        visitor.visit_seq(Items::split(self, &nodes)).map_err(|error| self.locate(error))
    }

    /// The parts of one string where a list is wanted.
    #[inline(never)]
    fn split(&self) -> Result<Vec<Node>, Error> {
        if !matches!(self.meaning(), Meaning::Text | Meaning::Null) || self.node.as_map().is_some() {
            return self
                .fail(Kind::Custom(format!("source data must be an array or slice, got {}", self.node.kind_name())));
        }
        if self.node.is_broken() {
            return self.fail(Kind::Told);
        }
        // One string where a list is wanted is split at commas.
        let parts = match &self.node.value {
            _ if self.node.is_null() => {
                self.keep_default()?;
                Vec::new()
            }
            Value::Plain(text) | Value::Text(text) if !text.is_empty() => text.split(',').map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let node = |part| Node {
            value: Value::Text(part),
            raw: None,
            place: self.node.place,
            origin: self.node.origin.clone(),
        };
        Ok(parts.into_iter().map(node).collect())
    }

    fn map<'de, V: Visitor<'de>>(self, fields: Option<&'static [&'static str]>, visitor: V) -> Result<V::Value, Error> {
        let empty = Map::default();
        let map = self.entries(fields.is_some())?.unwrap_or(&empty);
        visitor.visit_map(Pairs::new(self, map, fields)).map_err(|error| self.locate(error))
    }

    /// The entries of a map; `None` where null stands for an empty one.
    #[inline(never)]
    fn entries(&self, of_struct: bool) -> Result<Option<&'a Map>, Error> {
        match &self.node.value {
            Value::Map(map) => Ok(Some(map)),
            _ if self.node.is_null() => self.keep_default().map(|()| None),
            _ if of_struct && !matches!(self.path.segment, Segment::Root) => {
                self.fail(Kind::Custom(format!("expected a map or struct, got \"{}\"", self.node.kind_name())))
            }
            _ => self.wrong_type("map[string]interface {}"),
        }
    }

    /// The three states of an optional section: a unit for switched off, a newtype for present.
    fn optional<'de, V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let Some(entry) = self.node.as_map().and_then(|map| map.entry(ENABLED)) else {
            self.nulls = NullRule::Zero;
            return visitor.visit_some(self).map_err(|error| self.locate(error));
        };
        if !self.context.is_removed(&entry.node) {
            let path = self.path.child(&entry.node, Segment::Field(ENABLED));
            let enabled: bool =
                serde::Deserialize::deserialize(Cursor::new(self.context, &entry.node, &path, self.nulls))?;
            if !enabled {
                return visitor.visit_unit().map_err(|error| self.locate(error));
            }
        }
        self.hidden_key = Some(ENABLED);
        self.nulls = NullRule::Zero;
        visitor.visit_some(self).map_err(|error| self.locate(error))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.integer(stringify!($type), <$type>::MIN as i128, <$type>::MAX as i128)?;
            visitor.$visit(number as $type).map_err(|error| self.locate(error))
        }
    )*};
}

impl<'de> Deserializer<'de> for Cursor<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let given = match &self.node.value {
            Value::Broken => return self.fail(Kind::Told),
            Value::List(_) => return self.list(visitor),
            Value::Map(_) => return self.map(None, visitor),
            Value::Text(text) => visitor.visit_str(text),
            Value::Plain(text) => match meaning(text) {
                Meaning::Null if self.nulls == NullRule::KeepDefault => {
                    visitor.visit_unit::<Error>().map_err(|_| Error::new(Kind::KeepDefault))
                }
                Meaning::Null => visitor.visit_unit(),
                Meaning::Bool(value) => visitor.visit_bool(value),
                Meaning::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                    (Ok(value), _) => visitor.visit_i64(value),
                    (_, Ok(value)) => visitor.visit_u64(value),
                    _ => visitor.visit_i128(value),
                },
                Meaning::Float(value) => visitor.visit_f64(value),
                Meaning::Text => visitor.visit_str(text),
            },
        };
        given.map_err(|error| self.locate(error))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.keep_default()?;
        match self.meaning() {
            Meaning::Bool(value) => visitor.visit_bool(value).map_err(|error| self.locate(error)),
            Meaning::Null => visitor.visit_bool(false).map_err(|error| self.locate(error)),
            _ => self.wrong_type("bool"),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.keep_default()?;
        let number = match self.meaning() {
            Meaning::Float(number) => number,
            Meaning::Int(number) => number as f64,
            Meaning::Null => 0.0,
            _ => return self.wrong_type("float64"),
        };
        visitor.visit_f64(number).map_err(|error| self.locate(error))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.string()?;
        visitor.visit_str(text).map_err(|error| self.locate(error))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.string()?;
        visitor.visit_bytes(text.as_bytes()).map_err(|error| self.locate(error))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // An unset variable is null and, for a string, the empty text: only the inner type knows.
        if self.node.is_null() && self.node.raw.is_none() {
            self.keep_default()?;
            return visitor.visit_none().map_err(|error| self.locate(error));
        }
        visitor.visit_some(self).map_err(|error| self.locate(error))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !self.node.is_null() {
            return self.wrong_type("nil");
        }
        visitor.visit_unit().map_err(|error| self.locate(error))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.map(Some(&[]), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == OPTIONAL {
            return self.optional(visitor);
        }
        visitor.visit_newtype_struct(self).map_err(|error| self.locate(error))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.map(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.map(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.keep_default()?;
        let access = match &self.node.value {
            Value::Map(map) if map.len() == 1 => {
                let entry = map.iter().next().expect("a map of length one has an entry");
                OneVariant::with_content(self, entry)
            }
            Value::Map(_) => return self.fail(Kind::UnknownVariant { expected: variants }),
            _ => OneVariant::unit(self, self.string()?),
        };
        visitor.visit_enum(access).map_err(|error| self.locate(error))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit().map_err(|error| self.locate(error))
    }
}

//! The walk through a JSON text, writing fields as they come.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::Scalar;
use super::schema::{Field, Kind, Message};
use crate::otlp::wire::Write as _;

/// Writes the fields of one message.
pub(super) fn message<'de, D: Deserializer<'de>>(
    json: D,
    message: &'static Message,
    out: &mut Vec<u8>,
) -> Result<(), D::Error> {
    Fields { message, out }.deserialize(json)
}

/// The fields of a message, without its tag and length.
struct Fields<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

/// The value of one field.
struct FieldValue<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

/// One element of a repeated field.
struct Element<'o>(FieldValue<'o>);

/// A key, looked up in its message.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Key(self.message))? {
            match field {
                Some(field) => map.next_value_seed(FieldValue { field, out: self.out })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.field(name))
    }
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Field { name, kind, repeated, .. } = self.field;
        match (repeated, kind) {
            (true, _) => write!(f, "an array in `{name}`"),
            (false, Kind::Message(_)) => write!(f, "an object in `{name}`"),
            (false, _) => Scalar { field: self.field }.expecting(f),
        }
    }

    // `null` is an unset field.
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let field = self.field;
        match (field.repeated, field.kind) {
            (true, _) => json.deserialize_seq(self),
            (false, Kind::Message(message)) => nested(json, field.number, message, self.out),
            (false, _) => {
                let scalar = Scalar { field }.deserialize(json)?;
                scalar.write_field(field.number, self.out);
                Ok(())
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { field, out } = self;
        // Messages and texts stand one after another, each with its tag; numbers are packed under one.
        let packed = !matches!(field.kind, Kind::Message(_) | Kind::Text);
        let start = packed.then(|| out.begin_message(field.number));
        while elements.next_element_seed(Element(FieldValue { field, out }))?.is_some() {}
        if let Some(start) = start {
            out.end_message(start);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let field = self.0.field;
        match field.kind {
            // `null` among values is an empty one: some SDKs write arrays of attributes so.
            Kind::Message(_) => json.deserialize_option(self),
            Kind::Text => Scalar { field }.deserialize(json).map(|scalar| scalar.write_field(field.number, self.0.out)),
            _ => Scalar { field }.deserialize(json).map(|scalar| scalar.write_packed(self.0.out)),
        }
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object in `{}`", self.0.field.name)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.0.out.bytes_field(self.0.field.number, &[]);
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let FieldValue { field, out } = self.0;
        match field.kind {
            Kind::Message(message) => nested(json, field.number, message, out),
            _ => Ok(()),
        }
    }
}

fn nested<'de, D: Deserializer<'de>>(
    json: D,
    number: u32,
    message: &'static Message,
    out: &mut Vec<u8>,
) -> Result<(), D::Error> {
    let start = out.begin_message(number);
    Fields { message, out }.deserialize(json)?;
    out.end_message(start);
    Ok(())
}

//! Sections that may be absent, switched off, or present with defaults.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::decode::OPTIONAL;

/// A section with three states, as the Collector's `configoptional`.
///
/// | written | read |
/// |---|---|
/// | nothing | `Absent` |
/// | `section:` or `section: {}` | `Present` with defaults |
/// | `section: {enabled: false, …}` | `Disabled`, whatever else is there |
/// | `section: {enabled: true, …}` or without `enabled` | `Present` |
///
/// The field needs `#[serde(default)]`. The type must be able to be read from an empty map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Optional<T> {
    /// Not written.
    #[default]
    Absent,
    /// Switched off by `enabled: false`.
    Disabled,
    /// Written.
    Present(T),
}

impl<T> Optional<T> {
    /// What is written, when it is there and not switched off.
    pub fn as_ref(&self) -> Option<&T> {
        match self {
            Optional::Present(value) => Some(value),
            _ => None,
        }
    }

    /// What is written, when it is there and not switched off.
    pub fn into_option(self) -> Option<T> {
        match self {
            Optional::Present(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is there and not switched off.
    pub fn is_present(&self) -> bool {
        matches!(self, Optional::Present(_))
    }

    /// Whether it is not written at all; for `#[serde(skip_serializing_if)]`.
    pub fn is_absent(&self) -> bool {
        matches!(self, Optional::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(OPTIONAL, OptionalVisitor(PhantomData))
    }
}

struct OptionalVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OptionalVisitor<T> {
    type Value = Optional<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Optional<T>, E> {
        Ok(Optional::Disabled)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Optional<T>, D::Error> {
        T::deserialize(deserializer).map(Optional::Present)
    }

    /// From formats that know nothing of the three states.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Optional<T>, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| value.map_or(Optional::Absent, Optional::Present))
    }
}

impl<T: Serialize> Serialize for Optional<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Optional::Absent => serializer.serialize_none(),
            Optional::Disabled => serializer.collect_map([("enabled", false)]),
            Optional::Present(value) => value.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Optional<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Optional_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Option::<T>::json_schema(generator);
        let section = T::json_schema(generator);
        if let Some(object) = section.as_object().filter(|object| object.contains_key("properties")) {
            // `enabled` stands beside the section's own keys.
            let mut object = object.clone();
            if let Some(properties) = object.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
                properties.insert("enabled".to_owned(), serde_json::json!({"type": "boolean", "default": true}));
            }
            object.insert("type".to_owned(), serde_json::json!(["object", "null"]));
            schema = Schema::from(object);
        }
        schema
    }
}

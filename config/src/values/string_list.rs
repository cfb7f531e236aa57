//! Lists of text that may be written as one text with commas.

use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// A list of texts, written as a list or as one text that is split at each `,`. Space around the parts is trimmed and
/// empty parts are dropped, so that `"a, b,"` is two, and an empty text is an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StringList(pub Vec<String>);

impl Deref for StringList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for StringList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Vec::<String>::deserialize(deserializer)?;
        let trimmed = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
        Ok(Self(trimmed.map(str::to_owned).collect()))
    }
}

impl<S: Into<String>> FromIterator<S> for StringList {
    fn from_iter<I: IntoIterator<Item = S>>(parts: I) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }
}

impl JsonSchema for StringList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StringList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A list of texts, or one text with commas.",
            "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}],
        })
    }
}

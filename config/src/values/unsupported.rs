//! Keys that are known and mean nothing here.

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use crate::problem::Problems;
use crate::section::Section;

/// A key of the Collector that is known and not supported: whatever stands there is a problem that says so, apart from typing
/// mistakes. The field needs `#[serde(default)]` and `#[schemars(skip)]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Unsupported {
    /// A problem for each of these keys that is written; the second word says what to do instead.
    #[must_use]
    pub fn problems(section: &Section, keys: &[(&str, &str)]) -> Problems {
        let written = keys.iter().filter(|(key, _)| section.has(key));
        let problem = |(key, instead): &(&str, &str)| {
            section.error(key, format!("`{key}` is not supported yet")).with_help(*instead)
        };
        written.map(problem).collect()
    }
}

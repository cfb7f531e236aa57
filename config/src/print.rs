//! The effective configuration as YAML.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::load::Loaded;
use crate::node::{Node, Origin, Value};
use crate::redact::{REDACTED, is_secret_key, url_passwords};
use crate::scalar::{Meaning, meaning};
use crate::yaml;

/// Writes the merged configuration with its references replaced, in the order of writing.
///
/// When `redacted`, what stands under a key that looks like a secret is `[REDACTED]`, passwords in URLs are too, and a
/// value that came from the environment or a file is shown as the reference it came through. Otherwise everything
/// is shown, and the text can be loaded again: `$` is doubled where it would start a reference.
pub fn print(loaded: &Loaded, redacted: bool) -> String {
    let shown = Shown { node: &loaded.tree.root, redacted, secret: false };
    yaml::write(&shown).unwrap_or_else(|error| format!("# the configuration cannot be written: {error}\n"))
}

/// A node on its way out.
struct Shown<'n> {
    node: &'n Node,
    redacted: bool,
    /// Whether it stands under a key that looks like a secret.
    secret: bool,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Shown { node, redacted, secret } = *self;
        match &node.value {
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Shown { node: item, redacted, secret })?;
                }
                list.end()
            }
            Value::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for entry in map.iter() {
                    let secret = secret || is_secret_key(&entry.key);
                    let hide_key = redacted && matches!(node.origin, Origin::Environment(_));
                    let key = if hide_key { REDACTED } else { &entry.key };
                    out.serialize_entry(key, &Shown { node: &entry.node, redacted, secret })?;
                }
                out.end()
            }
            _ if redacted && secret && !node.is_null() => serializer.serialize_str(REDACTED),
            _ if redacted && node.origin != Origin::Written => {
                serializer.serialize_str(node.origin.reference().unwrap_or(REDACTED))
            }
            Value::Broken => serializer.serialize_unit(),
            Value::Plain(text) => match meaning(text) {
                Meaning::Null => serializer.serialize_unit(),
                Meaning::Bool(value) => serializer.serialize_bool(value),
                Meaning::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                    (Ok(value), _) => serializer.serialize_i64(value),
                    (_, Ok(value)) => serializer.serialize_u64(value),
                    _ => serializer.serialize_str(text),
                },
                Meaning::Float(value) => serializer.serialize_f64(value),
                Meaning::Text => serializer.serialize_str(&text_shown(text, redacted)),
            },
            Value::Text(text) => serializer.serialize_str(&text_shown(text, redacted)),
        }
    }
}

fn text_shown(text: &str, redacted: bool) -> String {
    let text = if redacted { url_passwords(text) } else { text.to_owned() };
    if text.contains("${") || text.contains("$$") { text.replace('$', "$$") } else { text }
}

#[cfg(test)]
mod tests;

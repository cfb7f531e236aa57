//! The tree of selectors, and the walk of a document along it.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{BadDocument, DEPTH_MAX, Field};

/// Where selectors end or part.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The cells that want the value that stands here.
    cells: Vec<usize>,
    children: Vec<(Box<str>, Node)>,
}

/// Walks one node's children through the value that stands there.
struct Walk<'n, 'f, 'a> {
    node: &'n Node,
    fields: &'f mut Vec<Field<'a>>,
}

/// Which child a key names.
struct Child<'n>(&'n Node);

impl Node {
    pub(super) fn add(&mut self, steps: &[Box<str>], cell: usize) {
        let Some((step, rest)) = steps.split_first() else { return self.cells.push(cell) };
        let at = self.children.iter().position(|(key, _)| key == step).unwrap_or_else(|| {
            self.children.push((step.clone(), Self::default()));
            self.children.len() - 1
        });
        self.children[at].1.add(rest, cell);
    }

    fn child(&self, key: &str) -> Option<&Self> {
        self.children.iter().find_map(|(known, child)| (**known == *key).then_some(child))
    }

    /// Forgets what an earlier value of the same key has given.
    fn clear(&self, fields: &mut [Field<'_>]) {
        self.cells.iter().for_each(|cell| fields[*cell] = Field::Null);
        self.children.iter().for_each(|(_, child)| child.clear(fields));
    }

    /// Gives a value to the cells that want it.
    fn give<'a>(&self, raw: &'a str, fields: &mut [Field<'a>]) -> serde_json::Result<()> {
        let Some((last, others)) = self.cells.split_last() else { return Ok(()) };
        let field = scalar(raw)?;
        others.iter().for_each(|cell| fields[*cell] = field.clone());
        fields[*last] = field;
        Ok(())
    }
}

/// Refuses what is nested too deep. Brackets in text do not count.
///
/// # Errors
/// It is.
pub fn check_depth(text: &str) -> Result<(), BadDocument> {
    if brackets(text.as_bytes()) <= DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(BadDocument::TooDeep);
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// How many brackets are opened, in text or not. Most documents have too few to be too deep, wherever these stand.
fn brackets(bytes: &[u8]) -> usize {
    // Counted in bytes as far as a byte counts, many are counted by one instruction. `{` and `[` differ in one bit, and no other
    // byte becomes `{` by setting it.
    let few = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    bytes.chunks(usize::from(u8::MAX)).map(|bytes| usize::from(few(bytes))).sum()
}

/// Reads a document.
pub(super) fn read<'a>(root: &Node, text: &'a str, fields: &mut Vec<Field<'a>>) -> Result<(), BadDocument> {
    let walked = (|| {
        let mut parser = serde_json::Deserializer::from_str(text);
        Walk { node: root, fields }.deserialize(&mut parser)?;
        parser.end()
    })();
    walked.map_err(|error| BadDocument::NotJson(error.to_string()))?;
    root.give(text.trim_ascii(), fields).map_err(|error| BadDocument::NotJson(error.to_string()))
}

impl<'a> Walk<'_, '_, 'a> {
    /// Takes a value that is wanted whole; perhaps something inside it is wanted too.
    fn whole<E: serde::de::Error>(&mut self, child: &Node, raw: &'a RawValue) -> Result<(), E> {
        child.clear(self.fields);
        child.give(raw.get(), self.fields).map_err(E::custom)?;
        if child.children.is_empty() {
            return Ok(());
        }
        let mut parser = serde_json::Deserializer::from_str(raw.get());
        Walk { node: child, fields: self.fields }.deserialize(&mut parser).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        let node = self.node;
        while let Some(child) = map.next_key_seed(Child(node))? {
            match child {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(child) if child.cells.is_empty() => {
                    child.clear(self.fields);
                    map.next_value_seed(Walk { node: child, fields: self.fields })?;
                }
                Some(child) => {
                    let raw = map.next_value::<&'de RawValue>()?;
                    self.whole(child, raw)?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut seq: S) -> Result<(), S::Error> {
        let mut index = 0_usize;
        loop {
            let child = self.node.children.iter().find(|(key, _)| key.parse() == Ok(index)).map(|(_, child)| child);
            let more = match child {
                None => seq.next_element::<IgnoredAny>()?.is_some(),
                Some(child) if child.cells.is_empty() => {
                    seq.next_element_seed(Walk { node: child, fields: self.fields })?.is_some()
                }
                Some(child) => match seq.next_element::<&'de RawValue>()? {
                    Some(raw) => self.whole(child, raw).map(|()| true)?,
                    None => false,
                },
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    // A scalar where an object was expected: nothing in it is wanted.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de, 'n> DeserializeSeed<'de> for Child<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Child<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(key))
    }
}

/// The value of a piece of JSON.
fn scalar(raw: &str) -> serde_json::Result<Field<'_>> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => match raw[1..].strip_suffix('"') {
            Some(plain) if !plain.contains('\\') => Field::Text(Cow::Borrowed(plain)),
            _ => Field::Text(Cow::Owned(serde_json::from_str(raw)?)),
        },
        Some(b'n') => Field::Null,
        Some(b't') => Field::Bool(true),
        Some(b'f') => Field::Bool(false),
        Some(b'-' | b'0'..=b'9') => match raw.parse() {
            Ok(int) => Field::Int(int),
            Err(_) if raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
                Field::Double(serde_json::from_str(raw)?)
            }
            Err(_) => Field::Json(raw),
        },
        _ => Field::Json(raw),
    })
}

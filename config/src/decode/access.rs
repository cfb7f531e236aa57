//! The elements of a list, the entries of a map, the variant of an enum.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::cursor::{Cursor, NullRule};
use super::error::{Error, Kind};
use super::{Path, Segment};
use crate::node::{Entry, Map, Node, Origin};
use crate::redact::REDACTED;

/// The elements of a list.
pub(super) struct Items<'a> {
    list: Cursor<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    /// Whether the elements are parts of one string: then their problems are the string's.
    split: bool,
}

/// The entries of a map.
pub(super) struct Pairs<'a> {
    map: Cursor<'a>,
    entries: std::slice::Iter<'a, Entry>,
    /// The keys a struct has; `None` for a map that takes any.
    fields: Option<&'static [&'static str]>,
    current: Option<&'a Entry>,
}

/// A variant: a name alone, or a name with content.
pub(super) struct OneVariant<'a> {
    cursor: Cursor<'a>,
    name: &'a str,
    content: Option<&'a Entry>,
}

impl<'a> Items<'a> {
    pub(super) fn new(list: Cursor<'a>, items: &'a [Node]) -> Self {
        Self { list, items: items.iter().enumerate(), split: false }
    }

    pub(super) fn split(list: Cursor<'a>, parts: &'a [Node]) -> Self {
        Self { list, items: parts.iter().enumerate(), split: true }
    }

    #[inline(never)]
    fn advance(&mut self) -> Option<(&'a Node, Path<'a>)> {
        let list = self.list;
        let (index, item) = self.items.find(|(_, item)| self.split || !list.context.is_removed(item))?;
        if self.split {
            // A part of a string cannot be taken out of the tree: the string is.
            return Some((item, Path { parent: list.path.parent, node: list.path.node, segment: list.path.segment }));
        }
        Some((item, list.path.child(item, Segment::Item(index))))
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    #[inline(never)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((item, path)) = self.advance() else { return Ok(None) };
        seed.deserialize(Cursor::new(self.list.context, item, &path, NullRule::Zero)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        None
    }
}

impl<'a> Pairs<'a> {
    pub(super) fn new(map: Cursor<'a>, entries: &'a Map, fields: Option<&'static [&'static str]>) -> Self {
        Self { map, entries: entries.iter(), fields, current: None }
    }

    /// The next entry that the one who decodes is to see.
    #[inline(never)]
    fn advance(&mut self) -> Option<&'a Entry> {
        let Cursor { context, path, .. } = self.map;
        for entry in self.entries.by_ref() {
            if context.is_removed(&entry.node) || self.map.hidden_key == Some(&*entry.key) {
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&&*entry.key)
            {
                context.unknown_key(path, self.map.node, entry, fields);
                continue;
            }
            return Some(entry);
        }
        None
    }

    /// The problem is the key's, and taking its value out takes the entry out.
    #[cold]
    fn blame_key(&self, entry: &'a Entry, mut error: Error) -> Error {
        let path = self.map.path.child(&entry.node, self.segment(entry));
        let mut spot = self.map.context.spot(&path, &entry.node, &error.kind);
        spot.place = entry.place;
        spot.value = Some(entry.key.to_string());
        error.spot = Some(spot);
        error
    }

    #[inline(never)]
    fn segment(&self, entry: &'a Entry) -> Segment<'a> {
        match (self.fields, &self.map.node.origin) {
            (Some(_), _) => Segment::Field(&entry.key),
            // A key that came from the environment is as little to be shown as a value.
            (None, Origin::Environment(_)) => Segment::Key(REDACTED),
            (None, _) => Segment::Key(&entry.key),
        }
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.advance() else { return Ok(None) };
        self.current = Some(entry);
        let key: StrDeserializer<'_, Error> = (*entry.key).into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| self.blame_key(entry, error))
    }

    // Once for each type and not for each field: configurations have hundreds.
    #[inline(never)]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let entry = self.current.take().expect("serde asks for a value after its key");
        let path = self.map.path.child(&entry.node, self.segment(entry));
        let nulls = if self.fields.is_some() { NullRule::KeepDefault } else { NullRule::Zero };
        seed.deserialize(Cursor::new(self.map.context, &entry.node, &path, nulls))
    }
}

impl<'a> OneVariant<'a> {
    pub(super) fn unit(cursor: Cursor<'a>, name: &'a str) -> Self {
        Self { cursor, name, content: None }
    }

    pub(super) fn with_content(cursor: Cursor<'a>, entry: &'a Entry) -> Self {
        Self { cursor, name: &entry.key, content: Some(entry) }
    }

    /// Gives the content to `take`, at its own place.
    fn content<T>(self, take: impl FnOnce(Cursor<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let Some(entry) = self.content else {
            return Err(Error::new(Kind::Custom(format!("has the value \"{}\" without its settings", self.name))));
        };
        let path = self.cursor.path.child(&entry.node, Segment::Field(&entry.key));
        take(Cursor::new(self.cursor.context, &entry.node, &path, NullRule::Zero))
    }
}

impl<'de> EnumAccess<'de> for OneVariant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for OneVariant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Type("string"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.content(|cursor| seed.deserialize(cursor))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.content(|cursor| cursor.deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.content(|cursor| cursor.deserialize_struct("", fields, visitor))
    }
}

//! Attributes: sorted by key, packed into one allocation beside a shared list of keys.
//!
//! A series' attributes are read rarely (at first sight, and by exporters that render them once) and kept by the million. So
//! the keys, which thousands of series share, stand in a [`Shape`]; the values are packed bytes. Packing is canonical: equal
//! attributes have equal bytes, whatever order they came in.

mod packed;
mod value;

use std::sync::Arc;

pub use packed::{ArrayRef, MapRef, ValueRef};
pub use value::Value;

use crate::fingerprint::Digest;

/// An attribute list with unique keys in byte order. Cheap to clone the keys of, one allocation for the values.
#[derive(Clone)]
pub struct Attributes {
    shape: Arc<Shape>,
    values: Box<[u8]>,
}

/// The keys of an attribute list, in byte order, unique. Shared by all series of a kind.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shape(Box<[Box<str>]>);

/// Collects attributes in any order and packs them. Reuse one builder for many lists: it keeps its buffers.
#[derive(Debug, Default)]
pub struct AttributesBuilder {
    entries: Vec<Entry>,
    keys: String,
    values: Vec<u8>,
    /// The shape of the list before: rows and events of a kind share it, and then no key is copied again.
    last: Option<Arc<Shape>>,
}

/// Where one key and its packed value stand in the builder's buffers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: (u32, u32),
    value: (u32, u32),
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn empty() -> Self {
        static EMPTY: std::sync::LazyLock<Arc<Shape>> = std::sync::LazyLock::new(|| Arc::new(Shape(Box::default())));
        Self { shape: EMPTY.clone(), values: Box::default() }
    }

    /// From pairs in any order; of equal keys the last wins.
    pub fn from_pairs<'a, K: AsRef<str>, V: Into<ValueRef<'a>>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut builder = AttributesBuilder::default();
        for (key, value) in pairs {
            builder.push(key.as_ref(), value);
        }
        builder.finish()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.iter().find_map(|(candidate, value)| (candidate == key).then_some(value))
    }

    /// Keys in byte order with their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, ValueRef<'_>)> {
        let mut rest = &*self.values;
        self.shape.0.iter().map(move |key| (&**key, packed::take(&mut rest)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shape.0.is_empty()
    }

    /// The shared list of keys.
    #[must_use]
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// The same attributes over an equal, already shared shape.
    ///
    /// # Panics
    /// In debug builds, when the shapes differ.
    #[must_use]
    pub(crate) fn with_shape(self, shape: Arc<Shape>) -> Self {
        debug_assert_eq!(self.shape, shape);
        Self { shape, ..self }
    }

    /// Bytes on the heap that this list alone keeps; the shape is shared and not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn digest(&self, digest: &mut Digest) {
        for key in &self.shape.0 {
            digest.bytes(key.as_bytes());
        }
        digest.bytes(&self.values);
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Attributes {
    /// Equal keys and equal packed values: doubles by their bits, so NaN equals itself and 0.0 differs from -0.0.
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && (Arc::ptr_eq(&self.shape, &other.shape) || self.shape == other.shape)
    }
}

impl Eq for Attributes {}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Shape {
    /// The keys, in byte order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|key| &**key)
    }
}

impl AttributesBuilder {
    /// Adds one attribute; of equal keys the last wins.
    ///
    /// # Panics
    /// When one list grows past 4 GiB; every door caps bodies and cells far below.
    pub fn push<'a>(&mut self, key: &str, value: impl Into<ValueRef<'a>>) {
        let key_start = self.keys.len();
        self.keys.push_str(key);
        let value_start = self.values.len();
        packed::put(&mut self.values, &value.into());
        self.entries.push(Entry {
            key: (position(key_start), position(self.keys.len())),
            value: (position(value_start), position(self.values.len())),
        });
    }

    /// Packs what was pushed and starts anew.
    #[must_use]
    pub fn finish(&mut self) -> Attributes {
        let attributes = if self.entries.is_empty() { Attributes::empty() } else { self.pack() };
        self.clear();
        attributes
    }

    /// Forgets what was pushed.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.values.clear();
    }

    fn pack(&mut self) -> Attributes {
        let (keys, values) = (&self.keys, &self.values);
        let key = |entry: &Entry| &keys[entry.key.0 as usize..entry.key.1 as usize];
        // A stable sort leaves the last of equal keys last; the reversal makes it the first, which `dedup` keeps.
        self.entries.reverse();
        self.entries.sort_by(|a, b| key(a).cmp(key(b)));
        self.entries.dedup_by(|b, a| key(a) == key(b));
        let mut packed = Vec::with_capacity(values.len());
        for entry in &self.entries {
            packed.extend_from_slice(&values[entry.value.0 as usize..entry.value.1 as usize]);
        }
        let keys = self.entries.iter().map(key);
        let shape = match &self.last {
            Some(last) if last.keys().eq(keys.clone()) => last.clone(),
            _ => Arc::new(Shape(keys.map(Into::into).collect())),
        };
        self.last = Some(shape.clone());
        Attributes { shape, values: packed.into() }
    }
}

fn position(length: usize) -> u32 {
    u32::try_from(length).expect("an attribute list stays below 4 GiB")
}

#[cfg(test)]
mod tests;

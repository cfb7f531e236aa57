//! The tree of what was written: every node with its place, every scalar with its text.

use std::collections::HashMap;
use std::sync::Arc;

use crate::place::Place;
use crate::scalar::{Meaning, meaning};

/// The whole configuration after merging and substitution, with places.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) root: Node,
}

/// One value.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
    /// The text a reference gave before it was read as YAML: what a string gets, whatever the value is.
    pub(crate) raw: Option<Box<str>>,
    /// Where the text came from, when it is not in the file itself.
    pub(crate) origin: Origin,
}

/// What a node holds.
#[derive(Clone)]
pub(crate) enum Value {
    /// Its problem has been told already; nothing more is to be said about it.
    Broken,
    /// A scalar without quotes: its meaning depends on its text.
    Plain(String),
    /// A scalar that is text whatever it looks like.
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Whether a node's text stands in the file, or came from outside and must not be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    #[default]
    Written,
    /// From the environment, through this reference.
    Environment(Arc<str>),
    /// From a file, through this reference.
    File(Arc<str>),
}

/// A map in the order of writing.
#[derive(Clone, Default)]
pub(crate) struct Map {
    entries: Vec<Entry>,
    index: HashMap<Arc<str>, usize>,
}

/// One key of a map.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, place: Place) -> Self {
        Self { value, place, raw: None, origin: Origin::Written }
    }

    pub(crate) fn null(place: Place) -> Self {
        Self::new(Value::Plain(String::new()), place)
    }

    pub(crate) fn empty_map(place: Place) -> Self {
        Self::new(Value::Map(Map::default()), place)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if meaning(text) == Meaning::Null)
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.value, Value::Broken)
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text of a scalar, as a string target gets it.
    pub(crate) fn text(&self) -> Option<&str> {
        match (&self.raw, &self.value) {
            (Some(raw), _) => Some(raw),
            (None, Value::Plain(text) | Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The first scalar with this text, itself or below.
    pub(crate) fn find(&self, wanted: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(map) => map.iter().find_map(|entry| entry.node.find(wanted)),
            Value::List(items) => items.iter().find_map(|item| item.find(wanted)),
            _ => (self.text() == Some(wanted)).then_some(self),
        }
    }

    /// The name of the node's type in the Collector's messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Broken => "nil",
            Value::Plain(text) => meaning(text).type_name(),
            Value::Text(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
        }
    }

    /// The name of the node's kind in the Collector's messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "slice",
            Value::Map(_) => "map",
            _ => self.type_name(),
        }
    }

    /// How many nodes it is, itself included.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(map) => map.iter().map(|entry| entry.node.count()).sum(),
            _ => 0,
        }
    }

    /// How many lists and maps stand one in the other, itself included.
    pub(crate) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(map) => 1 + map.iter().map(|entry| entry.node.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether both mean the same, wherever they stand and whatever the order of their keys.
    pub(crate) fn means(&self, other: &Node) -> bool {
        if self.raw != other.raw {
            return false;
        }
        match (&self.value, &other.value) {
            (Value::Broken, Value::Broken) => true,
            (Value::Plain(a), Value::Plain(b)) => same_plain(a, b),
            (Value::Text(a), Value::Text(b)) => a == b,
            // Quotes change nothing about a scalar that is text without them.
            (Value::Plain(plain), Value::Text(text)) | (Value::Text(text), Value::Plain(plain)) => {
                plain == text && meaning(plain) == Meaning::Text
            }
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.means(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().all(|entry| b.get(&entry.key).is_some_and(|b| entry.node.means(b)))
            }
            _ => false,
        }
    }
}

/// Whether two plain scalars mean the same. A float must be spelled the same: `1.10` and `1.1` differ as strings.
fn same_plain(a: &str, b: &str) -> bool {
    match (meaning(a), meaning(b)) {
        (Meaning::Float(_) | Meaning::Text, _) => a == b,
        (a, b) => a == b,
    }
}

impl Map {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// The entries to change; their keys must stay as they are.
    pub(crate) fn entries_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.entries.iter_mut()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).map(|index| &self.entries[*index])
    }

    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.index.get(key).map(|index| &mut self.entries[*index])
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Puts an entry at the end, or in the place of the one with the same key.
    pub(crate) fn put(&mut self, entry: Entry) {
        if let Some(index) = self.index.get(&entry.key) {
            self.entries[*index] = entry;
            return;
        }
        self.index.insert(Arc::clone(&entry.key), self.entries.len());
        self.entries.push(entry);
    }
}

impl Origin {
    /// The reference the text came through, as it was written.
    pub(crate) fn reference(&self) -> Option<&str> {
        match self {
            Origin::Written => None,
            Origin::Environment(reference) | Origin::File(reference) => Some(reference),
        }
    }
}

impl std::fmt::Debug for Node {
    /// The shape only: a value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Value::Broken => f.write_str("<broken>"),
            Value::Plain(_) | Value::Text(_) => f.write_str(self.type_name()),
            Value::List(items) => f.debug_list().entries(items).finish(),
            // A secret that reads as a map has its text in the keys.
            Value::Map(_) if matches!(self.origin, Origin::Environment(_)) => f.write_str("map"),
            Value::Map(map) => f.debug_map().entries(map.iter().map(|entry| (&entry.key, &entry.node))).finish(),
        }
    }
}

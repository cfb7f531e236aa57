//! Fields of a JSON document as the cells of a record, found in one pass over its text.
//!
//! A [`Selector`] names a field as users do: as a JSON pointer (`/data/amount`, RFC 6901) or a dotted path (`data.amount`). A [`Selection`] is a
//! list of selectors, made into a tree once. Reading a document walks that tree and the text together: what nobody
//! asked for is passed over without being built, text without escapes is borrowed, and no tree of values is made.

mod path;
mod walk;

use std::borrow::Cow;

pub use path::Selector;
pub use walk::check_depth;

use self::walk::Node;
use super::{Cell, CellType, Record};

/// Selectors, ready to read documents. The cell of a selector has its index in the list.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    root: Node,
    cells: usize,
}

/// The selected fields of one document.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<Field<'a>>);

/// The value of a selected field.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<'a> {
    /// It is not there, or null.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A number with a fraction or an exponent.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// The JSON of an object, an array or a whole number of more than 64 bits.
    Json(&'a str),
}

/// A document that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadDocument {
    /// It is not UTF-8.
    NotUtf8,
    /// It is no JSON; what the parser said.
    NotJson(String),
    /// It is nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// How deep a document may be nested: documents of known senders stay below 12.
pub const DEPTH_MAX: usize = 64;

impl Selection {
    /// The fields that these selectors name.
    #[must_use]
    pub fn new(selectors: &[Selector]) -> Self {
        let mut root = Node::default();
        for (cell, selector) in selectors.iter().enumerate() {
            root.add(selector.steps(), cell);
        }
        Self { root, cells: selectors.len() }
    }

    /// Reads a document. Of equal keys in one object the last counts, as in JavaScript.
    ///
    /// # Errors
    /// When it is no JSON document as a whole, or is nested too deep.
    pub fn read<'a>(&self, document: &'a [u8]) -> Result<Fields<'a>, BadDocument> {
        self.read_text(std::str::from_utf8(document).map_err(|_| BadDocument::NotUtf8)?)
    }

    /// The same of what is known to be UTF-8.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_text<'a>(&self, text: &'a str) -> Result<Fields<'a>, BadDocument> {
        let mut fields = vec![Field::Null; self.cells];
        walk::check_depth(text)?;
        walk::read(&self.root, text, &mut fields)?;
        Ok(Fields(fields))
    }
}

impl<'a> Fields<'a> {
    /// The field of the `index`th selector.
    #[must_use]
    pub fn get(&self, index: usize) -> &Field<'a> {
        &self.0[index]
    }
}

impl Field<'_> {
    /// As a cell.
    #[must_use]
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(flag) => Cell::Bool(*flag),
            Self::Int(int) => Cell::Int(*int),
            Self::Double(double) => Cell::Double(*double),
            Self::Text(text) => Cell::Text(text.as_bytes()),
            Self::Json(json) => Cell::Text(json.as_bytes()),
        }
    }

    /// What it is; nothing when it is null.
    #[must_use]
    pub fn cell_type(&self) -> Option<CellType> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => CellType::Boolean,
            Self::Int(_) | Self::Double(_) => CellType::Number,
            Self::Text(_) => CellType::String,
            Self::Json(json) if json.starts_with('{') => CellType::Object,
            Self::Json(json) if json.starts_with('[') => CellType::Array,
            Self::Json(_) => CellType::Number,
        })
    }
}

impl Record for Fields<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.0[index].cell()
    }

    fn cell_type(&self, index: usize) -> Option<CellType> {
        self.0[index].cell_type()
    }
}

impl std::fmt::Display for BadDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("it is not UTF-8"),
            Self::NotJson(why) => write!(f, "it is not JSON: {why}"),
            Self::TooDeep => write!(f, "it is nested deeper than {DEPTH_MAX} levels"),
        }
    }
}

impl std::error::Error for BadDocument {}

#[cfg(test)]
mod tests;

//! Owned values, for building what is nested and for bodies of log records.

use super::packed::{self, ValueRef};

/// An owned attribute value (OTLP `AnyValue`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value.
    #[default]
    Empty,
    /// Text.
    Str(Box<str>),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in the order they came.
    Map(Vec<(Box<str>, Value)>),
}

impl Value {
    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
            Self::Str(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Array(items) => items.iter().map(|item| size_of::<Self>() + item.heap_bytes()).sum(),
            Self::Map(pairs) => {
                pairs.iter().map(|(k, v)| size_of::<(Box<str>, Self)>() + k.len() + v.heap_bytes()).sum()
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Empty => Self::Empty,
            ValueRef::Str(text) => Self::Str(text.into()),
            ValueRef::Bool(flag) => Self::Bool(flag),
            ValueRef::Int(int) => Self::Int(int),
            ValueRef::Double(double) => Self::Double(double),
            ValueRef::Bytes(bytes) => Self::Bytes(bytes.into()),
            ValueRef::Array(array) => Self::Array(array.iter().map(Self::from).collect()),
            ValueRef::Map(map) => Self::Map(map.iter().map(|(key, value)| (key.into(), value.into())).collect()),
            ValueRef::Owned(value) => value.clone(),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        packed::write_text(&ValueRef::Owned(self), f)
    }
}

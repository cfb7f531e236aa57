//! The packed form of values, and borrowed views of it.
//!
//! A value is a tag byte and its payload: varint length and bytes for text, bytes, lists and maps; eight little-endian bytes
//! for numbers. Packed bytes live in memory only; they are no wire or disk format.

use super::value::Value;

/// A borrowed attribute value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Empty,
    /// Text.
    Str(&'a str),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A packed list.
    Array(ArrayRef<'a>),
    /// Packed keys and values.
    Map(MapRef<'a>),
    /// An owned value seen from outside; packing unfolds it.
    Owned(&'a Value),
}

/// A packed list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrayRef<'a>(&'a [u8]);

/// Packed keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapRef<'a>(&'a [u8]);

const EMPTY: u8 = 0;
const STR: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INT: u8 = 4;
const DOUBLE: u8 = 5;
const BYTES: u8 = 6;
const ARRAY: u8 = 7;
const MAP: u8 = 8;

impl<'a> ValueRef<'a> {
    /// The text, when it is text.
    #[must_use]
    pub const fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Owned(Value::Str(text)) => Some(text),
            _ => None,
        }
    }
}

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a String> for ValueRef<'a> {
    fn from(text: &'a String) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        Self::Owned(value)
    }
}

impl From<i64> for ValueRef<'_> {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<bool> for ValueRef<'_> {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<f64> for ValueRef<'_> {
    fn from(double: f64) -> Self {
        Self::Double(double)
    }
}

/// The string form of a value in labels (OTel "AnyValue string representation"): text as it is, JSON for lists and maps,
/// base64 for bytes.
impl std::fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_text(self, f)
    }
}

impl<'a> ArrayRef<'a> {
    /// The items.
    pub fn iter(&self) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || (!rest.is_empty()).then(|| take(&mut rest)))
    }
}

impl<'a> MapRef<'a> {
    /// Keys and values, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, ValueRef<'a>)> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let length = take_varint(&mut rest);
                (text(take_bytes(&mut rest, length)), take(&mut rest))
            })
        })
    }
}

pub(super) fn put(out: &mut Vec<u8>, value: &ValueRef<'_>) {
    match value {
        ValueRef::Empty | ValueRef::Owned(Value::Empty) => out.push(EMPTY),
        ValueRef::Str(text) => put_bytes(out, STR, text.as_bytes()),
        ValueRef::Bool(flag) | ValueRef::Owned(Value::Bool(flag)) => out.push(if *flag { TRUE } else { FALSE }),
        ValueRef::Int(int) | ValueRef::Owned(Value::Int(int)) => put_fixed(out, INT, int.to_le_bytes()),
        ValueRef::Double(double) | ValueRef::Owned(Value::Double(double)) => {
            put_fixed(out, DOUBLE, double.to_le_bytes())
        }
        ValueRef::Bytes(bytes) => put_bytes(out, BYTES, bytes),
        ValueRef::Array(ArrayRef(packed)) => put_bytes(out, ARRAY, packed),
        ValueRef::Map(MapRef(packed)) => put_bytes(out, MAP, packed),
        ValueRef::Owned(Value::Str(text)) => put_bytes(out, STR, text.as_bytes()),
        ValueRef::Owned(Value::Bytes(bytes)) => put_bytes(out, BYTES, bytes),
        ValueRef::Owned(Value::Array(items)) => {
            let mut packed = Vec::new();
            items.iter().for_each(|item| put(&mut packed, &ValueRef::Owned(item)));
            put_bytes(out, ARRAY, &packed);
        }
        ValueRef::Owned(Value::Map(pairs)) => {
            let mut packed = Vec::new();
            for (key, value) in pairs {
                put_varint(&mut packed, key.len());
                packed.extend_from_slice(key.as_bytes());
                put(&mut packed, &ValueRef::Owned(value));
            }
            put_bytes(out, MAP, &packed);
        }
    }
}

/// Takes the next value off `rest`, which `put` wrote.
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> ValueRef<'a> {
    match take_bytes(rest, 1)[0] {
        EMPTY => ValueRef::Empty,
        FALSE => ValueRef::Bool(false),
        TRUE => ValueRef::Bool(true),
        INT => ValueRef::Int(i64::from_le_bytes(take_fixed(rest))),
        DOUBLE => ValueRef::Double(f64::from_le_bytes(take_fixed(rest))),
        tag => {
            let length = take_varint(rest);
            let bytes = take_bytes(rest, length);
            match tag {
                STR => ValueRef::Str(text(bytes)),
                BYTES => ValueRef::Bytes(bytes),
                ARRAY => ValueRef::Array(ArrayRef(bytes)),
                MAP => ValueRef::Map(MapRef(bytes)),
                _ => unreachable!("only `put` writes tags"),
            }
        }
    }
}

fn put_fixed(out: &mut Vec<u8>, tag: u8, bytes: [u8; 8]) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take_bytes(rest, 1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn take_fixed(rest: &mut &[u8]) -> [u8; 8] {
    take_bytes(rest, 8).try_into().expect("eight bytes were taken")
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn text(bytes: &[u8]) -> &str {
    // Checked again because `unsafe` is forbidden; values are read at first sights only.
    std::str::from_utf8(bytes).expect("only `put` writes text, from str")
}

pub(super) fn write_text(value: &ValueRef<'_>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match value {
        ValueRef::Empty => Ok(()),
        ValueRef::Str(text) => f.write_str(text),
        ValueRef::Owned(Value::Str(text)) => f.write_str(text),
        ValueRef::Bytes(bytes) => write_base64(bytes, f),
        ValueRef::Owned(Value::Bytes(bytes)) => write_base64(bytes, f),
        other => write_json(other, f),
    }
}

fn write_json(value: &ValueRef<'_>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match value {
        ValueRef::Empty => f.write_str("null"),
        ValueRef::Str(text) => write_json_string(text, f),
        ValueRef::Bool(flag) => write!(f, "{flag}"),
        ValueRef::Int(int) => write!(f, "{int}"),
        ValueRef::Double(double) => f.write_str(zmij::Buffer::new().format(*double)),
        ValueRef::Bytes(bytes) => {
            f.write_str("\"")?;
            write_base64(bytes, f)?;
            f.write_str("\"")
        }
        ValueRef::Array(array) => write_list(array.iter(), f),
        ValueRef::Map(map) => write_object(map.iter(), f),
        ValueRef::Owned(Value::Array(items)) => write_list(items.iter().map(ValueRef::Owned), f),
        ValueRef::Owned(Value::Map(pairs)) => write_object(pairs.iter().map(|(k, v)| (&**k, ValueRef::Owned(v))), f),
        ValueRef::Owned(Value::Empty) => write_json(&ValueRef::Empty, f),
        ValueRef::Owned(Value::Str(text)) => write_json(&ValueRef::Str(text), f),
        ValueRef::Owned(Value::Bool(flag)) => write_json(&ValueRef::Bool(*flag), f),
        ValueRef::Owned(Value::Int(int)) => write_json(&ValueRef::Int(*int), f),
        ValueRef::Owned(Value::Double(double)) => write_json(&ValueRef::Double(*double), f),
        ValueRef::Owned(Value::Bytes(bytes)) => write_json(&ValueRef::Bytes(bytes), f),
    }
}

fn write_list<'a>(items: impl Iterator<Item = ValueRef<'a>>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str("[")?;
    for (index, item) in items.enumerate() {
        f.write_str(if index > 0 { "," } else { "" })?;
        write_json(&item, f)?;
    }
    f.write_str("]")
}

fn write_object<'a>(
    pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>,
    f: &mut std::fmt::Formatter<'_>,
) -> std::fmt::Result {
    f.write_str("{")?;
    for (index, (key, value)) in pairs.enumerate() {
        f.write_str(if index > 0 { "," } else { "" })?;
        write_json_string(key, f)?;
        f.write_str(":")?;
        write_json(&value, f)?;
    }
    f.write_str("}")
}

fn write_json_string(text: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
            c => std::fmt::Write::write_char(f, c)?,
        }
    }
    f.write_str("\"")
}

fn write_base64(bytes: &[u8], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let c = if position <= chunk.len() { ALPHABET[(group >> (18 - 6 * position)) as usize & 63] } else { b'=' };
            std::fmt::Write::write_char(f, char::from(c))?;
        }
    }
    Ok(())
}

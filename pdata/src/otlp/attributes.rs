//! Attributes, resources and scopes on the wire.

use super::wire::{Fields, Malformed, Payload, Write};
use super::{VALUE_DEPTH_MAX, VALUES_MAX};
use crate::{Attributes, AttributesBuilder, Origin, Scope, Value, ValueRef};

/// Adds one `KeyValue` to a list in the making. A pair without a value counts as an empty value.
pub(super) fn push(builder: &mut AttributesBuilder, pair: &[u8]) -> Result<(), Malformed> {
    let (mut fields, mut key, mut value) = (Fields::of(pair), "", None);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.payload.text()?,
            2 => value = Some(field.payload.bytes()?),
            _ => {}
        }
    }
    match value.map(scalar).transpose()?.flatten() {
        Some(scalar) => builder.push(key, scalar),
        None => {
            let nested = value.map_or(Ok(Value::Empty), self::value)?;
            builder.push(key, &nested);
        }
    }
    Ok(())
}

/// The attributes among the fields of a message.
pub(super) fn collect(builder: &mut AttributesBuilder, message: &[u8], number: u32) -> Result<Attributes, Malformed> {
    builder.clear();
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        if field.number == number {
            push(builder, field.payload.bytes()?)?;
        }
    }
    Ok(builder.finish())
}

/// An `AnyValue` that borrows, when it is one.
fn scalar(message: &[u8]) -> Result<Option<ValueRef<'_>>, Malformed> {
    let (mut fields, mut value) = (Fields::of(message), Some(ValueRef::Empty));
    while let Some(field) = fields.next()? {
        value = match field.number {
            1 => Some(ValueRef::Str(field.payload.text()?)),
            2 => Some(ValueRef::Bool(field.payload.varint()? != 0)),
            3 => Some(ValueRef::Int(field.payload.varint()? as i64)),
            4 => Some(ValueRef::Double(field.payload.double()?)),
            5 | 6 => None,
            7 => Some(ValueRef::Bytes(field.payload.bytes()?)),
            _ => value,
        };
    }
    Ok(value)
}

/// An `AnyValue`, owned.
pub(super) fn value(message: &[u8]) -> Result<Value, Malformed> {
    nested(message, 0, &mut 0)
}

/// A value at some depth; `seen` counts all values of the outermost one.
fn nested(message: &[u8], depth: usize, seen: &mut usize) -> Result<Value, Malformed> {
    *seen += 1;
    if depth > VALUE_DEPTH_MAX {
        return Err(Malformed::Depth);
    }
    if *seen > VALUES_MAX {
        return Err(Malformed::TooMuch);
    }
    let (mut fields, mut value) = (Fields::of(message), Value::Empty);
    while let Some(field) = fields.next()? {
        value = match field.number {
            1 => Value::Str(field.payload.text()?.into()),
            2 => Value::Bool(field.payload.varint()? != 0),
            3 => Value::Int(field.payload.varint()? as i64),
            4 => Value::Double(field.payload.double()?),
            5 => array(field.payload, depth, seen)?,
            6 => map(field.payload, depth, seen)?,
            7 => Value::Bytes(field.payload.bytes()?.into()),
            _ => value,
        };
    }
    Ok(value)
}

fn array(payload: Payload<'_>, depth: usize, seen: &mut usize) -> Result<Value, Malformed> {
    let (mut fields, mut items) = (Fields::of(payload.bytes()?), Vec::new());
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            items.push(nested(field.payload.bytes()?, depth + 1, seen)?);
        }
    }
    Ok(Value::Array(items))
}

fn map(payload: Payload<'_>, depth: usize, seen: &mut usize) -> Result<Value, Malformed> {
    let (mut fields, mut pairs) = (Fields::of(payload.bytes()?), Vec::new());
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            continue;
        }
        let (mut pair, mut key, mut inner) = (Fields::of(field.payload.bytes()?), "", Value::Empty);
        while let Some(field) = pair.next()? {
            match field.number {
                1 => key = field.payload.text()?,
                2 => inner = nested(field.payload.bytes()?, depth + 1, seen)?,
                _ => {}
            }
        }
        // A pair without a value counts too.
        *seen += 1;
        if *seen > VALUES_MAX {
            return Err(Malformed::TooMuch);
        }
        pairs.push((key.into(), inner));
    }
    Ok(Value::Map(pairs))
}

/// What stands above points and records: the raw bytes of a resource and a scope with their schema URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RawOrigin<'a> {
    pub(super) resource: &'a [u8],
    pub(super) resource_schema_url: &'a [u8],
    pub(super) scope: &'a [u8],
    pub(super) scope_schema_url: &'a [u8],
}

impl<'a> RawOrigin<'a> {
    /// What a `Resource…` message says of all that stands in it. It may say so after what stands in it: that is for a second walk.
    pub(super) fn of_resource(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut origin, mut fields) = (Self::default(), Fields::of(message));
        while let Some(field) = fields.next()? {
            match field.number {
                1 => origin.resource = field.payload.only(origin.resource)?,
                3 => origin.resource_schema_url = field.payload.bytes()?,
                _ => {}
            }
        }
        Ok(origin)
    }

    /// The same with what a `Scope…` message says.
    pub(super) fn with_scope(mut self, message: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.scope = field.payload.only(self.scope)?,
                3 => self.scope_schema_url = field.payload.bytes()?,
                _ => {}
            }
        }
        Ok(self)
    }

    pub(super) fn decode(&self, builder: &mut AttributesBuilder) -> Result<Origin, Malformed> {
        let text = |bytes| std::str::from_utf8(bytes).map(Box::from).map_err(|_| Malformed::Text);
        let mut scope = Scope {
            schema_url: text(self.scope_schema_url)?,
            attributes: collect(builder, self.scope, 3)?,
            ..Scope::default()
        };
        let mut fields = Fields::of(self.scope);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => scope.name = field.payload.text()?.into(),
                2 => scope.version = field.payload.text()?.into(),
                _ => {}
            }
        }
        let resource = collect(builder, self.resource, 1)?;
        Ok(Origin { resource, resource_schema_url: text(self.resource_schema_url)?, scope })
    }
}

/// Writes all attributes as fields `number` of the message in hand.
pub(super) fn write(out: &mut Vec<u8>, number: u32, attributes: &Attributes) {
    for (key, value) in attributes.iter() {
        write_pair(out, number, key, &value);
    }
}

/// Attributes are encoded once per series and copied a million times, so their lengths are exact: the body is written first.
fn write_pair(out: &mut Vec<u8>, number: u32, key: &str, value: &ValueRef<'_>) {
    let (mut pair, mut inner) = (Vec::with_capacity(64), Vec::with_capacity(32));
    pair.bytes_field(1, key.as_bytes());
    if !matches!(value, ValueRef::Empty | ValueRef::Owned(Value::Empty)) {
        write_value(&mut inner, value);
        pair.bytes_field(2, &inner);
    }
    out.bytes_field(number, &pair);
}

/// Writes the fields of an `AnyValue`.
pub(super) fn write_value(out: &mut Vec<u8>, value: &ValueRef<'_>) {
    match value {
        ValueRef::Empty => {}
        ValueRef::Str(text) => out.bytes_field(1, text.as_bytes()),
        ValueRef::Bool(flag) => out.varint_field(2, u64::from(*flag)),
        ValueRef::Int(int) => out.varint_field(3, *int as u64),
        ValueRef::Double(double) => out.double_field(4, *double),
        ValueRef::Bytes(bytes) => out.bytes_field(7, bytes),
        ValueRef::Array(array) => write_array(out, array.iter()),
        ValueRef::Map(map) => write_map(out, map.iter()),
        ValueRef::Owned(Value::Empty) => {}
        ValueRef::Owned(Value::Str(text)) => out.bytes_field(1, text.as_bytes()),
        ValueRef::Owned(Value::Bool(flag)) => out.varint_field(2, u64::from(*flag)),
        ValueRef::Owned(Value::Int(int)) => out.varint_field(3, *int as u64),
        ValueRef::Owned(Value::Double(double)) => out.double_field(4, *double),
        ValueRef::Owned(Value::Bytes(bytes)) => out.bytes_field(7, bytes),
        ValueRef::Owned(Value::Array(items)) => write_array(out, items.iter().map(ValueRef::Owned)),
        ValueRef::Owned(Value::Map(pairs)) => {
            write_map(out, pairs.iter().map(|(key, value)| (&**key, ValueRef::Owned(value))))
        }
    }
}

fn write_array<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = ValueRef<'a>>) {
    out.message_field(5, |out| items.for_each(|item| out.message_field(1, |out| write_value(out, &item))));
}

fn write_map<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>) {
    out.message_field(6, |out| pairs.for_each(|(key, value)| write_pair(out, 1, key, &value)));
}

/// Writes field 1 of a `Resource…` message, its resource.
pub(super) fn write_resource(out: &mut Vec<u8>, origin: &Origin) {
    out.message_field(1, |out| write(out, 1, &origin.resource));
}

/// Writes field 1 of a `Scope…` message, its scope.
pub(super) fn write_scope(out: &mut Vec<u8>, scope: &Scope) {
    out.message_field(1, |out| {
        write_text(out, 1, &scope.name);
        write_text(out, 2, &scope.version);
        write(out, 3, &scope.attributes);
    });
}

/// Writes a text field unless it is empty, as proto3 does.
pub(super) fn write_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        out.bytes_field(number, text.as_bytes());
    }
}

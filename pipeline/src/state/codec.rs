//! Bytes of a row: a check, the table's letter, the row's id, and what the row says.
//!
//! Numbers are LEB128 varints or eight little-endian bytes; text and bytes have their length in front. Every row can be told
//! from damage by itself, without the tree that leads to it.

use std::sync::Arc;

use pdata::{
    ArrayRef, Attributes, AttributesBuilder, Fingerprint, Hint, Identity, Kind, MapRef, Metric, Number, Origin, Scope,
    Seed, Temporality, UnixNanos, Value, ValueRef,
};

/// Which table a row belongs to, as it stands in the row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Meta = b'M',
    Family = b'F',
    Series = b'S',
    Value = b'V',
    Cursor = b'C',
    Spool = b'R',
    Young = b'Y',
}

/// What series of one metric and one set of keys share, so that a row per series says only its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) origin: Arc<Origin>,
    pub(super) metric: Arc<Metric>,
    pub(super) keys: Box<[Box<str>]>,
}

/// Reads what the `put_` functions wrote; `None` means that the bytes are not what they were.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// Key of the check of rows that hold the seed itself; all other rows are keyed by that seed, so that bytes that came from
/// outside (a spooled body) are never taken for a row when a damaged file is picked over.
pub(super) const FIRST: Seed = Seed::from_bytes(*b"weir ledger rows");

/// Nested attribute values deeper than this are damage: JSON bodies are capped at 32 levels at the doors.
const DEPTH_MAX: usize = 64;

/// Writes a row's bytes into `out`, which is emptied first.
pub(super) fn seal(out: &mut Vec<u8>, key: &Seed, table: Table, id: u64, put: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.push(table as u8);
    put_varint(out, id);
    put(out);
    let check = check(key, &out[4..]);
    out[..4].copy_from_slice(&check);
}

/// What a row says, if it is sound and is row `id` of `table`.
pub(super) fn unseal<'a>(row: &'a [u8], key: &Seed, table: Table, id: u64) -> Option<Reader<'a>> {
    let (found, stated, reader) = open(row, key)?;
    (found == table && stated == id).then_some(reader)
}

/// A sound row of any table: its letter, its id, and what it says.
pub(super) fn open<'a>(row: &'a [u8], key: &Seed) -> Option<(Table, u64, Reader<'a>)> {
    let (stated, rest) = row.split_at_checked(4)?;
    if stated != check(key, rest) {
        return None;
    }
    let (letter, rest) = rest.split_first()?;
    let table = match *letter {
        b'M' => Table::Meta,
        b'F' => Table::Family,
        b'S' => Table::Series,
        b'V' => Table::Value,
        b'C' => Table::Cursor,
        b'R' => Table::Spool,
        b'Y' => Table::Young,
        _ => return None,
    };
    let mut reader = Reader(rest);
    let id = reader.varint()?;
    Some((table, id, reader))
}

fn check(key: &Seed, bytes: &[u8]) -> [u8; 4] {
    let [low, ..] = key.fingerprint(bytes).0;
    (low as u32).to_le_bytes()
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_fingerprint(out: &mut Vec<u8>, fingerprint: Fingerprint) {
    fingerprint.0.iter().for_each(|half| out.extend_from_slice(&half.to_le_bytes()));
}

pub(super) fn put_number(out: &mut Vec<u8>, number: Number) {
    match number {
        Number::Int(int) => {
            out.push(0);
            // Zigzag, so that small negative numbers stay short.
            put_varint(out, ((int << 1) ^ (int >> 63)) as u64);
        }
        Number::Double(double) => {
            out.push(1);
            out.extend_from_slice(&double.to_le_bytes());
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn double(&mut self) -> Option<f64> {
        self.fixed().map(f64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Option<UnixNanos> {
        self.varint().map(UnixNanos)
    }

    pub(super) fn fingerprint(&mut self) -> Option<Fingerprint> {
        Some(Fingerprint([u64::from_le_bytes(self.fixed()?), u64::from_le_bytes(self.fixed()?)]))
    }

    pub(super) fn number(&mut self) -> Option<Number> {
        match self.byte()? {
            0 => self.varint().map(|zigzag| Number::Int((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))),
            1 => self.double().map(Number::Double),
            _ => None,
        }
    }

    /// A count of things that take at least one byte each, so that damage cannot ask for much memory.
    pub(super) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }
}

impl Family {
    pub(super) fn of(identity: &Identity) -> Self {
        Self {
            origin: identity.origin.clone(),
            metric: identity.metric.clone(),
            keys: identity.attributes.shape().keys().map(Into::into).collect(),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let Origin { resource, resource_schema_url, scope } = &*self.origin;
        put_attributes(out, resource);
        for text in [resource_schema_url, &scope.name, &scope.version, &scope.schema_url] {
            put_bytes(out, text.as_bytes());
        }
        put_attributes(out, &scope.attributes);
        for text in [&self.metric.name, &self.metric.unit, &self.metric.description] {
            put_bytes(out, text.as_bytes());
        }
        out.push(kind_code(self.metric.kind));
        out.push(match self.metric.hint {
            Hint::None => 0,
            Hint::Unknown => 1,
            Hint::Info => 2,
            Hint::StateSet => 3,
        });
        put_varint(out, self.keys.len() as u64);
        self.keys.iter().for_each(|key| put_bytes(out, key.as_bytes()));
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let resource = take_attributes(reader)?;
        let resource_schema_url = reader.text()?.into();
        let (name, version, schema_url) = (reader.text()?.into(), reader.text()?.into(), reader.text()?.into());
        let scope = Scope { name, version, schema_url, attributes: take_attributes(reader)? };
        let (name, unit, description) = (reader.text()?.into(), reader.text()?.into(), reader.text()?.into());
        let kind = kind_of(reader.byte()?)?;
        let hint = match reader.byte()? {
            0 => Hint::None,
            1 => Hint::Unknown,
            2 => Hint::Info,
            3 => Hint::StateSet,
            _ => return None,
        };
        let keys = (0..reader.count()?).map(|_| reader.text().map(Into::into)).collect::<Option<_>>()?;
        Some(Self {
            origin: Arc::new(Origin { resource, resource_schema_url, scope }),
            metric: Arc::new(Metric { name, unit, description, kind, hint }),
            keys,
        })
    }

    /// The identity that has these packed attribute values.
    pub(super) fn identity(&self, values: &[u8], builder: &mut AttributesBuilder) -> Option<Identity> {
        let mut reader = Reader(values);
        builder.clear();
        for key in &self.keys {
            push_value(&mut reader, builder, key)?;
        }
        Some(Identity { origin: self.origin.clone(), metric: self.metric.clone(), attributes: builder.finish() })
    }
}

/// Writes the attribute values of a series; the keys stand in its family.
pub(super) fn put_values(out: &mut Vec<u8>, attributes: &Attributes) {
    attributes.iter().for_each(|(_, value)| put_value(out, &value));
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put_varint(out, attributes.len() as u64);
    for (key, value) in attributes.iter() {
        put_bytes(out, key.as_bytes());
        put_value(out, &value);
    }
}

fn take_attributes(reader: &mut Reader<'_>) -> Option<Attributes> {
    let mut builder = AttributesBuilder::default();
    for _ in 0..reader.count()? {
        let key = reader.text()?;
        push_value(reader, &mut builder, key)?;
    }
    Some(builder.finish())
}

fn push_value(reader: &mut Reader<'_>, builder: &mut AttributesBuilder, key: &str) -> Option<()> {
    // Text is by far the most common value and needs no owned copy.
    if let Some((1, rest)) = reader.0.split_first() {
        reader.0 = rest;
        builder.push(key, reader.text()?);
    } else {
        builder.push(key, &take_value(reader, 0)?);
    }
    Some(())
}

fn put_value(out: &mut Vec<u8>, value: &ValueRef<'_>) {
    match value {
        ValueRef::Empty => out.push(0),
        ValueRef::Str(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
        ValueRef::Bool(flag) => out.push(if *flag { 3 } else { 2 }),
        ValueRef::Int(int) => {
            out.push(4);
            out.extend_from_slice(&int.to_le_bytes());
        }
        ValueRef::Double(double) => {
            out.push(5);
            out.extend_from_slice(&double.to_le_bytes());
        }
        ValueRef::Bytes(bytes) => {
            out.push(6);
            put_bytes(out, bytes);
        }
        ValueRef::Array(array) => put_array(out, *array),
        ValueRef::Map(map) => put_map(out, *map),
        ValueRef::Owned(value) => put_owned(out, value),
    }
}

fn put_array(out: &mut Vec<u8>, array: ArrayRef<'_>) {
    out.push(7);
    put_varint(out, array.iter().count() as u64);
    array.iter().for_each(|item| put_value(out, &item));
}

fn put_map(out: &mut Vec<u8>, map: MapRef<'_>) {
    out.push(8);
    put_varint(out, map.iter().count() as u64);
    for (key, value) in map.iter() {
        put_bytes(out, key.as_bytes());
        put_value(out, &value);
    }
}

/// Owned values come from builders only; packed attributes give the borrowed forms. They are packed the same way.
fn put_owned(out: &mut Vec<u8>, value: &Value) {
    let attributes = Attributes::from_pairs([("", value)]);
    attributes.iter().for_each(|(_, packed)| put_value(out, &packed));
}

fn take_value(reader: &mut Reader<'_>, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match reader.byte()? {
        0 => Value::Empty,
        1 => Value::Str(reader.text()?.into()),
        2 => Value::Bool(false),
        3 => Value::Bool(true),
        4 => Value::Int(i64::from_le_bytes(reader.fixed()?)),
        5 => Value::Double(reader.double()?),
        6 => Value::Bytes(reader.bytes()?.into()),
        7 => Value::Array((0..reader.count()?).map(|_| take_value(reader, depth + 1)).collect::<Option<_>>()?),
        8 => {
            let count = reader.count()?;
            let pair = |_| Some((reader.text()?.into(), take_value(reader, depth + 1)?));
            Value::Map((0..count).map(pair).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// A letter for the kinds that a ledger keeps. It never changes its meaning.
fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Gauge => 1,
        Kind::Sum { monotonic: false, .. } => 2,
        Kind::Sum { monotonic: true, .. } => 3,
        Kind::Histogram { .. } => 4,
        Kind::ExponentialHistogram { .. } | Kind::Summary => 0,
    }
}

fn kind_of(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::Gauge),
        2 => Some(Kind::UP_DOWN_COUNTER),
        3 => Some(Kind::COUNTER),
        4 => Some(Kind::Histogram { temporality: Temporality::Cumulative }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Empty),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Double),
            ".{0,8}".prop_map(|text| Value::Str(text.into())),
            proptest::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Value::Bytes(bytes.into())),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::vec((".{0,4}".prop_map(Into::into), inner), 0..3).prop_map(Value::Map),
            ]
        })
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        proptest::collection::vec((".{0,6}", value()), 0..5)
            .prop_map(|pairs| Attributes::from_pairs(pairs.iter().map(|(key, value)| (key, value))))
    }

    proptest! {
        #[test]
        fn an_identity_comes_back_as_it_was(resource in attributes(), attributes in attributes(), name in ".{0,9}") {
            let origin = Origin { resource, resource_schema_url: "u".into(), scope: Scope::default() };
            let metric = Metric { hint: Hint::StateSet, ..Metric::new(name, Kind::COUNTER) };
            let identity = Identity { origin: Arc::new(origin), metric: Arc::new(metric), attributes };
            let (mut family, mut values) = (Vec::new(), Vec::new());
            seal(&mut family, &FIRST, Table::Family, 300, |out| Family::of(&identity).put(out));
            put_values(&mut values, &identity.attributes);
            let read = Family::take(&mut unseal(&family, &FIRST, Table::Family, 300).expect("sound")).expect("whole");
            prop_assert_eq!(read.identity(&values, &mut AttributesBuilder::default()).expect("whole"), identity);
        }

        #[test]
        fn a_damaged_row_is_told_from_a_sound_one(at in 0_usize..40, bit in 0..8, bytes in any::<[u8; 32]>()) {
            let mut row = Vec::new();
            seal(&mut row, &FIRST, Table::Value, 7, |out| out.extend_from_slice(&bytes));
            prop_assume!(at < row.len());
            row[at] ^= 1_u8 << bit;
            prop_assert!(open(&row, &FIRST).is_none());
        }

        #[test]
        fn bytes_from_anywhere_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Family::take(&mut Reader(&bytes));
            let _ = take_value(&mut Reader(&bytes), 0);
            let _ = open(&bytes, &FIRST);
        }
    }

    #[test]
    fn a_row_is_not_taken_for_another_one() {
        let mut row = Vec::new();
        seal(&mut row, &FIRST, Table::Value, 7, |_| {});
        assert!(unseal(&row, &FIRST, Table::Value, 7).is_some());
        assert!(unseal(&row, &FIRST, Table::Value, 8).is_none());
        assert!(unseal(&row, &FIRST, Table::Series, 7).is_none());
    }
}

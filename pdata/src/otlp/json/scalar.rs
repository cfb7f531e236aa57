//! Values that are no objects and no arrays.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::schema::{Field, Kind};
use crate::otlp::wire::Write as _;

/// Reads the value of a scalar field.
#[derive(Clone, Copy)]
pub(super) struct Scalar {
    pub(super) field: &'static Field,
}

/// A value as it stands on the wire.
#[derive(Debug)]
pub(super) enum Wire {
    Bytes(Vec<u8>),
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
}

impl Wire {
    pub(super) fn write_field(&self, number: u32, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.bytes_field(number, bytes),
            Self::Varint(value) => out.varint_field(number, *value),
            Self::Fixed64(value) => out.fixed64_field(number, *value),
            Self::Fixed32(value) => out.fixed32_field(number, *value),
        }
    }

    /// One of a packed run of numbers.
    pub(super) fn write_packed(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Varint(value) => out.varint(*value),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Wire;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Wire, D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar {
    type Value = Wire;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            Kind::Message(_) => "an object",
            Kind::Text => "a text",
            Kind::Bytes => "a text in base64",
            Kind::Id => "hex digits, two for each byte of an id",
            Kind::Bool => "true or false",
            Kind::Double => "a number, or one of the texts NaN, Infinity and -Infinity",
            Kind::Fixed64 => "an integer from 0 to 2^64 - 1, as number or text",
            Kind::Sfixed64 => "an integer of 64 bits, as number or text",
            Kind::Fixed32 => "an integer from 0 to 2^32 - 1",
            Kind::Uint32 | Kind::Int64 | Kind::Uint64 => "an integer",
            Kind::Sint32 => "an integer of 32 bits",
            Kind::Enum(_) => "the number of an enum's value",
        };
        write!(f, "{what} in `{}`", self.field.name)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Wire, E> {
        match self.field.kind {
            Kind::Bool => Ok(Wire::Varint(flag.into())),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(flag), &self)),
        }
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<Wire, E> {
        self.integer(i128::from(int))
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<Wire, E> {
        self.integer(i128::from(int))
    }

    fn visit_f64<E: Error>(self, double: f64) -> Result<Wire, E> {
        if let Kind::Double = self.field.kind {
            return Ok(Wire::Fixed64(double.to_bits()));
        }
        // ProtoJSON: 1.0 and 1e3 are integers too. 2^65 is far above what any field takes.
        let whole = double.fract() == 0.0 && double.abs() < 36_893_488_147_419_103_232.0;
        if whole { self.integer(double as i128) } else { Err(E::invalid_value(unexpected(double), &self)) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Wire, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(shown(text)), &self);
        match self.field.kind {
            Kind::Text => Ok(Wire::Bytes(text.as_bytes().to_vec())),
            Kind::Bytes => base64(text).map(Wire::Bytes).ok_or_else(wrong),
            Kind::Id => hex(text).map(Wire::Bytes).ok_or_else(wrong),
            Kind::Double => double(text).map(|double| Wire::Fixed64(double.to_bits())).ok_or_else(wrong),
            Kind::Enum(values) => {
                let named = values.iter().find(|(name, _)| *name == text).map(|(_, value)| Wire::Varint(*value));
                named.ok_or_else(wrong)
            }
            Kind::Bool | Kind::Message(_) => Err(E::invalid_type(serde::de::Unexpected::Str(shown(text)), &self)),
            Kind::Fixed64
            | Kind::Sfixed64
            | Kind::Fixed32
            | Kind::Uint32
            | Kind::Int64
            | Kind::Uint64
            | Kind::Sint32 => self.integer(text.parse().map_err(|_| wrong())?),
        }
    }
}

impl Scalar {
    fn integer<E: Error>(self, int: i128) -> Result<Wire, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Other(&int.to_string()), &self);
        match self.field.kind {
            Kind::Double => Ok(Wire::Fixed64((int as f64).to_bits())),
            Kind::Fixed64 => u64::try_from(int).map(Wire::Fixed64).map_err(|_| wrong()),
            Kind::Sfixed64 => i64::try_from(int).map(|int| Wire::Fixed64(int as u64)).map_err(|_| wrong()),
            Kind::Fixed32 => u32::try_from(int).map(Wire::Fixed32).map_err(|_| wrong()),
            Kind::Sint32 => i32::try_from(int)
                .map(|int| Wire::Varint(u64::from((int << 1 ^ int >> 31) as u32)))
                .map_err(|_| wrong()),
            Kind::Uint32 | Kind::Int64 | Kind::Uint64 | Kind::Enum(_) => {
                let signed = i64::try_from(int).map(|int| int as u64);
                signed.or_else(|_| u64::try_from(int)).map(Wire::Varint).map_err(|_| wrong())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Other("an integer"), &self)),
        }
    }
}

/// The beginning of a text, for an error.
fn shown(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

fn unexpected<'a>(double: f64) -> serde::de::Unexpected<'a> {
    serde::de::Unexpected::Float(double)
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads `inf` and `nan` too, which are none of ProtoJSON's.
        number if number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            number.parse().ok()
        }
        _ => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Base64 of either alphabet, with or without padding, as ProtoJSON lets it be written.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let (mut out, mut bits, mut held) = (Vec::with_capacity(digits.len() * 3 / 4), 0_u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

//! OTLP's protobuf form → its JSON form, by the same schema that reads it.
//!
//! Written as the specification asks: names in lowerCamelCase, ids as hex digits, enums as numbers, integers of 64 bits as texts. What the
//! schema does not know is left out, as it is by every reader.

use std::fmt;
use std::io::Write as _;

use super::schema::{Field, Kind, Message};
use crate::otlp::VALUE_DEPTH_MAX;
use crate::otlp::wire::{Fields, Malformed, Payload};

/// Messages within messages at most: those of a request, and values as deep as they may nest, of which each level takes up to three.
const DEPTH_MAX: usize = 16 + 3 * VALUE_DEPTH_MAX;

/// How far a text may go on.
#[derive(Clone, Copy)]
struct Bounds {
    /// Levels that may still be opened.
    depth: usize,
    /// Bytes of the whole.
    most: usize,
}

/// Appends a message as an object. `most` is looked at before each object, element and text, so what is appended passes it by no more than one
/// text's escapes: a few bytes on the wire can be names of many letters.
pub(super) fn message(
    bytes: &[u8],
    message: &'static Message,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    object(bytes, message, Bounds { depth: DEPTH_MAX, most }, out)
}

fn object(bytes: &[u8], message: &'static Message, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let bounds = bounds.deeper()?;
    bounds.hold(out, 0)?;
    // The wire may hold the elements of a field apart; an object has them together.
    let mut found = Vec::new();
    let mut fields = Fields::of(bytes);
    while let Some(read) = fields.next()? {
        if let Some(place) = message.0.iter().position(|field| field.number == read.number) {
            found.push((place, read.payload));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    out.push(b'{');
    if let (true, [Field { name, repeated: true, .. }]) = (found.is_empty(), message.0) {
        // What is only a list has it also when it is empty: some readers ask for it.
        put(format_args!("\"{name}\":[]"), out);
    }
    for (index, same) in found.chunk_by(|one, two| one.0 == two.0).enumerate() {
        let field = &message.0[same[0].0];
        if index > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b"\":");
        if field.repeated {
            array(same, field, bounds, out)?;
        } else {
            single(same, field, bounds, out)?;
        }
    }
    out.push(b'}');
    Ok(())
}

impl Bounds {
    fn deeper(self) -> Result<Self, Malformed> {
        let depth = self.depth.checked_sub(1).ok_or(Malformed::Depth)?;
        Ok(Self { depth, ..self })
    }

    /// Whether so many more bytes are within bounds.
    fn hold(self, out: &[u8], more: usize) -> Result<(), Malformed> {
        if out.len() + more > self.most { Err(Malformed::TooMuch) } else { Ok(()) }
    }
}

fn array(same: &[(usize, Payload<'_>)], field: &Field, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'[');
    let empty = out.len();
    let next = |out: &mut Vec<u8>| {
        if out.len() > empty {
            out.push(b',');
        }
    };
    for (_, payload) in same {
        bounds.hold(out, 0)?;
        // Numbers may stand packed, or one by one.
        match field.kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => payload.each_fixed64(|bits| {
                bounds.hold(out, 0)?;
                next(out);
                scalar(Payload::of_fixed64(bits), field.kind, out)
            })?,
            Kind::Uint32 | Kind::Int64 | Kind::Uint64 | Kind::Sint32 => payload.each_varint(|value| {
                bounds.hold(out, 0)?;
                next(out);
                scalar(Payload::of_varint(value), field.kind, out)
            })?,
            _ => {
                next(out);
                value(*payload, field.kind, bounds, out)?;
            }
        }
    }
    out.push(b']');
    Ok(())
}

fn single(same: &[(usize, Payload<'_>)], field: &Field, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let [.., (_, last)] = same else { return Ok(()) };
    if let (Kind::Message(_), [_, _, ..]) = (field.kind, same) {
        return Err(Malformed::Split);
    }
    value(*last, field.kind, bounds, out)
}

fn value(payload: Payload<'_>, kind: Kind, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match kind {
        Kind::Message(message) => object(payload.bytes()?, message, bounds, out),
        Kind::Text | Kind::Bytes => {
            bounds.hold(out, payload.bytes()?.len())?;
            scalar(payload, kind, out)
        }
        _ => scalar(payload, kind, out),
    }
}

fn scalar(payload: Payload<'_>, kind: Kind, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match kind {
        Kind::Text => text(payload.text()?, out),
        Kind::Id => hex(payload.bytes()?, out),
        Kind::Bytes => base64(payload.bytes()?, out),
        Kind::Bool => put(format_args!("{}", payload.varint()? != 0), out),
        Kind::Double => double(payload.double()?, out),
        Kind::Fixed64 => put(format_args!("\"{}\"", payload.fixed64()?), out),
        Kind::Sfixed64 => put(format_args!("\"{}\"", payload.fixed64()?.cast_signed()), out),
        Kind::Uint64 => put(format_args!("\"{}\"", payload.varint()?), out),
        Kind::Int64 => put(format_args!("\"{}\"", payload.varint()?.cast_signed()), out),
        Kind::Fixed32 => put(format_args!("{}", payload.fixed32()?), out),
        Kind::Uint32 => put(format_args!("{}", payload.varint()? as u32), out),
        Kind::Sint32 => put(format_args!("{}", payload.sint32()?), out),
        Kind::Enum(_) => put(format_args!("{}", payload.varint()? as i32), out),
        Kind::Message(_) => return Err(Malformed::Type),
    }
    Ok(())
}

fn put(shown: fmt::Arguments<'_>, out: &mut Vec<u8>) {
    out.write_fmt(shown).expect("a buffer takes everything");
}

fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a buffer takes every text");
}

fn double(double: f64, out: &mut Vec<u8>) {
    let word = match double {
        nan if nan.is_nan() => "\"NaN\"",
        f64::INFINITY => "\"Infinity\"",
        f64::NEG_INFINITY => "\"-Infinity\"",
        finite => return out.extend_from_slice(zmij::Buffer::new().format_finite(finite).as_bytes()),
    };
    out.extend_from_slice(word.as_bytes());
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    out.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)])));
    out.push(b'"');
}

/// RFC 4648, the alphabet that ProtoJSON writes, padded.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            out.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
    out.push(b'"');
}

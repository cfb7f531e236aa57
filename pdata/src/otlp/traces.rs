//! Spans on the wire: counted and looked over, not taken apart.

use std::collections::HashMap;

use bytes::Bytes;

use super::attributes;
use super::wire::{Fields, Malformed, Write as _};
use crate::AttributesBuilder;
use crate::traces::{SpanView, Traces};

/// Takes in a whole `ExportTraceServiceRequest`.
///
/// # Errors
/// When the bytes are no valid message down to the fields of spans; nothing of it is taken then.
pub fn decode_traces(body: Bytes) -> Result<Traces, Malformed> {
    let mut spans = 0;
    walk(&body, &mut |message| {
        span(message)?;
        spans += 1;
        Ok(())
    })?;
    Ok(Traces::of(body, spans))
}

/// Appends an `ExportTraceServiceRequest` with all spans to `out`: the one it came as.
pub fn encode_traces(traces: &Traces, out: &mut Vec<u8>) {
    out.extend_from_slice(traces.body());
}

impl Traces {
    /// Shows each span, in the order they stand.
    pub fn each_span(&self, mut each: impl FnMut(SpanView<'_>)) {
        let shown = walk(self.body(), &mut |message| {
            each(span(message)?);
            Ok(())
        });
        debug_assert!(shown.is_ok(), "these bytes were looked over when they came in");
    }

    /// The parts of it by the value of an attribute of the resource, in the order in which they begin; with no value are those whose
    /// resource does not have it, or cannot be read. Resources go whole, as the bytes they came as.
    #[must_use]
    pub fn parts(&self, by: &str) -> Vec<(String, Self)> {
        let (mut parts, mut places) = (Vec::<(String, Vec<u8>, usize)>::new(), HashMap::new());
        let mut builder = AttributesBuilder::default();
        let shown = nested(self.body(), 1, &mut |resource| {
            let key = key_of(resource, by, &mut builder).unwrap_or_default();
            let place = *places.entry(key).or_insert_with_key(|key| {
                parts.push((key.clone(), Vec::new(), 0));
                parts.len() - 1
            });
            let (_, body, spans) = &mut parts[place];
            body.bytes_field(1, resource);
            nested(resource, 2, &mut |scope| {
                nested(scope, 2, &mut |_| {
                    *spans += 1;
                    Ok(())
                })
            })
        });
        debug_assert!(shown.is_ok(), "these bytes were looked over when they came in");
        if parts.len() < 2 {
            // What this version does not know of a request stays with it.
            return vec![(parts.pop().map(|(key, ..)| key).unwrap_or_default(), self.clone())];
        }
        parts.into_iter().map(|(key, body, spans)| (key, Self::of(body.into(), spans))).collect()
    }
}

/// The value of an attribute of what `resource_spans` (1) belong to: `resource` (1) → `attributes` (1).
fn key_of(resource_spans: &[u8], by: &str, builder: &mut AttributesBuilder) -> Result<String, Malformed> {
    let mut key = String::new();
    nested(resource_spans, 1, &mut |resource| {
        let attributes = attributes::collect(builder, resource, 1)?;
        if let Some(value) = attributes.get(by) {
            key = value.to_string();
        }
        Ok(())
    })?;
    Ok(key)
}

/// `resource_spans` (1) → `scope_spans` (2) → `spans` (2).
fn walk(body: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), Malformed>) -> Result<(), Malformed> {
    nested(body, 1, &mut |resource| nested(resource, 2, &mut |scope| nested(scope, 2, each)))
}

fn nested(message: &[u8], number: u32, each: &mut impl FnMut(&[u8]) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        if field.number == number {
            each(field.payload.bytes()?)?;
        }
    }
    Ok(())
}

fn span(message: &[u8]) -> Result<SpanView<'_>, Malformed> {
    let mut view = SpanView { name: "", trace_id: &[], span_id: &[], start: 0, end: 0 };
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => view.trace_id = field.payload.bytes()?,
            2 => view.span_id = field.payload.bytes()?,
            5 => view.name = field.payload.text()?,
            7 => view.start = field.payload.fixed64()?,
            8 => view.end = field.payload.fixed64()?,
            _ => {}
        }
    }
    Ok(view)
}

//! Spans: passed through as they came.

use bytes::Bytes;

/// A batch's worth of spans, as the bytes of an OTLP `ExportTraceServiceRequest`. Nothing in weir changes a span, so nothing takes
/// them apart: what leaves is what came, fields included that this version does not know.
///
/// Made by [`decode_traces`](crate::otlp::decode_traces), which has counted the spans and found the bytes well formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    body: Bytes,
    spans: usize,
}

/// What there is to tell of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanView<'a> {
    /// Its name.
    pub name: &'a str,
    /// 16 bytes; empty when unset.
    pub trace_id: &'a [u8],
    /// 8 bytes; empty when unset.
    pub span_id: &'a [u8],
    /// When it began, in nanoseconds since 1970; 0 when unset.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970; 0 when unset.
    pub end: u64,
}

impl Traces {
    /// Bytes that hold so many spans; the decoder's.
    pub(crate) const fn of(body: Bytes, spans: usize) -> Self {
        Self { body, spans }
    }

    /// Spans in it.
    #[must_use]
    pub const fn spans(&self) -> usize {
        self.spans
    }

    /// The request it came as.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes this batch keeps alive, for budgets.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.body.len()
    }
}

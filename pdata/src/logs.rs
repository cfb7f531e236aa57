//! Log records: events and rows that leave as they are.

use std::sync::Arc;

use crate::attributes::{Attributes, Value};
use crate::metric::Origin;
use crate::time::UnixNanos;

/// One log record (OTLP `LogRecord`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRecord {
    /// Resource and scope.
    pub origin: Arc<Origin>,
    /// When it happened; unset when unknown.
    pub time: UnixNanos,
    /// When it was seen first by a collector.
    pub observed_time: UnixNanos,
    /// How bad it is.
    pub severity: Severity,
    /// Severity in the source's own words; empty when unknown.
    pub severity_text: Box<str>,
    /// Name of the event, for records that are events; empty otherwise.
    pub event_name: Box<str>,
    /// The body.
    pub body: Value,
    /// Attributes.
    pub attributes: Attributes,
    /// Trace id; all zero when unset.
    pub trace_id: [u8; 16],
    /// Span id; all zero when unset.
    pub span_id: [u8; 8],
    /// W3C trace flags and reserved bits.
    pub flags: u32,
}

/// OTLP severity number: 0 unset, 1-4 trace, 5-8 debug, 9-12 info, 13-16 warn, 17-20 error, 21-24 fatal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Severity(pub u8);

/// A batch's worth of log records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs {
    /// The records, in the order they came.
    pub records: Vec<LogRecord>,
}

impl Logs {
    /// Bytes this batch keeps alive, for budgets.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.records
            .iter()
            .map(|record| {
                size_of::<LogRecord>()
                    + record.severity_text.len()
                    + record.event_name.len()
                    + record.body.heap_bytes()
                    + record.attributes.heap_bytes()
            })
            .sum()
    }
}

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

impl Severity {
    /// From a number of 1 to 24, or a word: those of OTLP (`warn`, `ERROR2`) and of syslog (`notice`, `crit`), whatever their case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return (1..=24).contains(&number).then_some(Self(number));
        }
        let word = text.trim_end_matches(['1', '2', '3', '4']);
        let step = match text.get(word.len()..)? {
            "" => 0,
            step => step.parse::<u8>().ok().filter(|step| *step <= 4)? - 1,
        };
        let known = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
        let words: [(&[&str], u8); 10] = [
            (&["trace"], 1),
            (&["debug"], 5),
            (&["info", "information", "informational", "log"], 9),
            (&["notice"], 10),
            (&["warn", "warning"], 13),
            (&["error", "err"], 17),
            (&["critical", "crit"], 18),
            (&["alert"], 19),
            (&["fatal", "emerg", "emergency"], 21),
            (&["panic"], 22),
        ];
        words.iter().find(|(names, _)| known(names)).map(|(_, number)| Self(number + step))
    }
}

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
        self.records.iter().map(LogRecord::heap_bytes).sum()
    }
}

impl LogRecord {
    /// Bytes it keeps alive, itself included and its origin not: records share origins.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.severity_text.len()
            + self.event_name.len()
            + self.body.heap_bytes()
            + self.attributes.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_numbers_or_words() {
        let parse = |text| Severity::parse(text).map(|severity| severity.0);
        for (text, number) in [
            ("9", 9),
            ("24", 24),
            ("INFO", 9),
            ("Warning", 13),
            ("error3", 19),
            ("fatal4", 24),
            (" notice ", 10),
            ("crit", 18),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for wrong in ["", "0", "25", "-1", "loud", "error5", "error22", "3x", "é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

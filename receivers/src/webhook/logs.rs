//! Events as log records.

use std::sync::Arc;

use pdata::{AttributesBuilder, LogRecord, Logs, Origin, Severity, UnixNanos, Value};
use pipeline::mapping::counted::{Condition, CountAttribute, TimeCell, When};
use pipeline::mapping::{Cell, Record};

use super::check::Check;
use super::field::Event;
use super::metric::pairs;
use super::settings;

/// How an event becomes a log record.
#[derive(Clone, Debug)]
pub(super) struct LogRules {
    origin: Arc<Origin>,
    when: Vec<Condition>,
    body: Option<usize>,
    timestamp: Option<TimeCell>,
    severity: Option<usize>,
    event_name: Option<usize>,
    attributes: Vec<CountAttribute>,
    static_attributes: Vec<(Box<str>, Box<str>)>,
}

/// Longest name of an event, and of a severity, in bytes.
const WORD_BYTES: usize = 256;

/// Words for severities, with the first number of their range in OTLP.
const SEVERITIES: &[(u8, &[&str])] = &[
    (1, &["trace", "verbose"]),
    (5, &["debug"]),
    (9, &["info", "information", "informational"]),
    (10, &["notice"]),
    (13, &["warn", "warning"]),
    (17, &["error", "err", "failure"]),
    (21, &["fatal", "critical", "crit", "alert", "emergency", "emerg", "panic"]),
];

impl settings::Logs {
    /// The rules of the key that stands at `path`.
    pub(super) fn rules(&self, path: &str, origin: &Arc<Origin>, check: &mut Check<'_>) -> LogRules {
        let mut field =
            |key: &str, name: &Option<String>| name.as_deref().and_then(|name| check.field(path, key, name));
        let body = field("body", &self.body);
        let severity = field("severity", &self.severity);
        let event_name = field("event_name", &self.event_name);
        let timestamp = field("timestamp", &self.timestamp);
        LogRules {
            origin: origin.clone(),
            when: check.conditions(&format!("{path}.when"), &self.when),
            body,
            timestamp: timestamp.map(|cell| TimeCell { cell, unit: self.time_unit.into() }),
            severity,
            event_name,
            attributes: check.attributes(&format!("{path}.attributes"), &self.attributes),
            static_attributes: pairs(&self.static_attributes),
        }
    }
}

impl LogRules {
    /// The record of an event, in OTLP's form; `None` when it is to have none.
    pub(super) fn spooled(&self, event: &Event<'_>, document: &str, when: When) -> Option<Vec<u8>> {
        let mut scratch = Vec::new();
        if !self.when.iter().all(|condition| condition.holds(event, &mut scratch)) {
            return None;
        }
        let records = vec![self.record(event, document, when)];
        let mut spooled = Vec::new();
        pdata::otlp::encode_logs(&Logs { records }, &mut spooled);
        Some(spooled)
    }

    fn record(&self, event: &Event<'_>, document: &str, when: When) -> LogRecord {
        let mut builder = AttributesBuilder::default();
        self.static_attributes.iter().for_each(|(key, value)| builder.push(key, &**value));
        self.attributes.iter().for_each(|attribute| attribute.push(event, &mut builder));
        let word = |cell: Option<usize>| cell.map(|cell| text(event.cell(cell), WORD_BYTES)).unwrap_or_default();
        let severity_text = word(self.severity);
        let own = self.timestamp.and_then(|cell| cell.read(event).ok());
        LogRecord {
            origin: self.origin.clone(),
            time: own.or(when.stated).unwrap_or(UnixNanos::UNSET),
            observed_time: when.received,
            severity: severity(&severity_text),
            severity_text,
            event_name: word(self.event_name),
            body: match self.body {
                None => Value::from(document),
                Some(cell) => match event.cell(cell) {
                    Cell::Null => Value::Empty,
                    cell => Value::from(&*text(cell, usize::MAX)),
                },
            },
            attributes: builder.finish(),
            ..LogRecord::default()
        }
    }
}

fn text(cell: Cell<'_>, max: usize) -> Box<str> {
    let text = cell.text().unwrap_or_default();
    text[..text.floor_char_boundary(max)].into()
}

fn severity(word: &str) -> Severity {
    let is = |words: &&[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    Severity(SEVERITIES.iter().find(|(_, words)| is(words)).map_or(0, |(number, _)| *number))
}

//! Records as log records.

use std::sync::Arc;

use pdata::{AttributesBuilder, LogRecord, Origin, Severity, UnixNanos, Value};

use super::columns::{MissingColumn, index_of};
use super::rule::AttributeRule;
use super::{Cell, Record, value};

/// How a record becomes a log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRule {
    /// The column with the body.
    pub body: Box<str>,
    /// Columns that become attributes.
    pub attributes: Vec<AttributeRule>,
    /// Attributes of every record. A column of the same name wins.
    pub static_attributes: Vec<(Box<str>, Box<str>)>,
    /// Attributes of the resource of every record.
    pub resource: Vec<(Box<str>, Box<str>)>,
    /// Columns that become attributes of the resource.
    pub resource_columns: Vec<AttributeRule>,
    /// The column with the time when it happened.
    pub time: Option<Box<str>>,
    /// The column with the severity: a number of 1 to 24, or a word.
    pub severity: Option<Box<str>>,
    /// Cells of the severity column that mean something else than [`Severity::parse`] says, compared exactly.
    pub severities: Vec<(Box<str>, Severity)>,
    /// The column with the name of the event.
    pub event_name: Option<Box<str>>,
    /// The column with the trace id: 32 hexadecimal digits or 16 bytes.
    pub trace_id: Option<Box<str>>,
    /// The column with the span id: 16 hexadecimal digits or 8 bytes.
    pub span_id: Option<Box<str>>,
}

/// Maps records to log records by one rule.
#[derive(Debug)]
pub struct LogMapper {
    rule: LogRule,
    columns: LogColumns,
    builder: AttributesBuilder,
    /// The last origin: records of one resource mostly stand together.
    origin: Arc<Origin>,
    unread: Unread,
}

/// Cells of log records that could not be read as what their rule says: the record goes without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many.
    pub cells: u64,
    /// The first of them, told with its column.
    pub first: Option<String>,
}

#[derive(Debug)]
struct LogColumns {
    body: usize,
    attributes: Vec<usize>,
    resource: Vec<usize>,
    time: Option<usize>,
    severity: Option<usize>,
    event_name: Option<usize>,
    trace_id: Option<usize>,
    span_id: Option<usize>,
}

impl LogRule {
    /// All columns that it names.
    pub fn columns(&self) -> impl Iterator<Item = &Box<str>> {
        let attributes = self.attributes.iter().chain(&self.resource_columns).map(|attribute| &attribute.column);
        let single = [&self.time, &self.severity, &self.event_name, &self.trace_id, &self.span_id];
        std::iter::once(&self.body).chain(attributes).chain(single.into_iter().flatten())
    }
}

impl LogMapper {
    /// A mapper for a result with these columns.
    ///
    /// # Errors
    /// When the rule names a column that is not among them.
    pub fn new(rule: LogRule, names: &[&str]) -> Result<Self, MissingColumn> {
        let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        let find = |column: &str| index_of(&names, column, "logs");
        let all = |rules: &[AttributeRule]| rules.iter().map(|rule| find(&rule.column)).collect::<Result<Vec<_>, _>>();
        let optional = |column: &Option<Box<str>>| column.as_deref().map(find).transpose();
        let columns = LogColumns {
            body: find(&rule.body)?,
            attributes: all(&rule.attributes)?,
            resource: all(&rule.resource_columns)?,
            time: optional(&rule.time)?,
            severity: optional(&rule.severity)?,
            event_name: optional(&rule.event_name)?,
            trace_id: optional(&rule.trace_id)?,
            span_id: optional(&rule.span_id)?,
        };
        let (builder, origin, unread) = (AttributesBuilder::default(), Arc::default(), Unread::default());
        Ok(Self { rule, columns, builder, origin, unread })
    }

    /// The log record of a record that was seen at `observed`. Attributes are text, as the Collector makes them; a NULL leaves its
    /// attribute out, and a NULL body leaves the body empty.
    pub fn map<R: Record + ?Sized>(&mut self, record: &R, observed: UnixNanos) -> LogRecord {
        self.rule.resource.iter().for_each(|(key, value)| self.builder.push(key, &**value));
        push(&mut self.builder, &self.rule.resource_columns, &self.columns.resource, record);
        let resource = self.builder.finish();
        if self.origin.resource != resource {
            self.origin = Arc::new(Origin { resource, ..Origin::default() });
        }
        self.rule.static_attributes.iter().for_each(|(key, value)| self.builder.push(key, &**value));
        push(&mut self.builder, &self.rule.attributes, &self.columns.attributes, record);
        let attributes = self.builder.finish();
        let text = |cell| value::text(cell).map_or_else(Box::default, |(text, _)| text.into());
        let cell = |column: Option<usize>| column.map_or(Cell::Null, |index| record.cell(index));
        let (severity, severity_text) = self.severity(cell(self.columns.severity));
        let rule = &self.rule;
        LogRecord {
            origin: self.origin.clone(),
            time: self.unread.read(cell(self.columns.time), &rule.time, "time", value::time),
            observed_time: observed,
            severity,
            severity_text,
            event_name: text(cell(self.columns.event_name)),
            body: value::text(record.cell(self.columns.body)).map_or(Value::Empty, |(text, _)| Value::from(&*text)),
            attributes,
            trace_id: self.unread.read(cell(self.columns.trace_id), &rule.trace_id, "trace id", id),
            span_id: self.unread.read(cell(self.columns.span_id), &rule.span_id, "span id", id),
            flags: 0,
        }
    }

    /// The cells that could not be read since this was last asked.
    pub fn take_unread(&mut self) -> Unread {
        std::mem::take(&mut self.unread)
    }

    /// The severity in a cell, and its own words where it has any.
    fn severity(&mut self, cell: Cell<'_>) -> (Severity, Box<str>) {
        let Some((text, _)) = value::text(cell) else { return Default::default() };
        let mapped = self.rule.severities.iter().find(|(known, _)| **known == *text).map(|(_, severity)| *severity);
        let read = |_| mapped.or_else(|| Severity::parse(&text));
        let severity = self.unread.read(cell, &self.rule.severity, "severity", read);
        let words = text.parse::<i64>().is_err();
        (severity, if words { text.as_ref().into() } else { Box::default() })
    }
}

impl Unread {
    /// Adds those of another mapper.
    pub fn add(&mut self, other: Self) {
        self.cells += other.cells;
        self.first = self.first.take().or(other.first);
    }

    /// What a cell holds; nothing for NULL, and nothing and a count for what it does not hold.
    fn read<'c, T: Default>(
        &mut self,
        cell: Cell<'c>,
        column: &Option<Box<str>>,
        what: &str,
        read: impl FnOnce(Cell<'c>) -> Option<T>,
    ) -> T {
        if cell == Cell::Null {
            return T::default();
        }
        read(cell).unwrap_or_else(|| {
            self.cells += 1;
            let column = column.as_deref().unwrap_or_default();
            self.first.get_or_insert_with(|| format!("logs: column '{column}' holds no {what}"));
            T::default()
        })
    }
}

fn push<R: Record + ?Sized>(builder: &mut AttributesBuilder, rules: &[AttributeRule], indices: &[usize], record: &R) {
    for (rule, index) in rules.iter().zip(indices) {
        if let Some((text, _)) = value::text(record.cell(*index)) {
            builder.push(&rule.column, &*text);
        }
    }
}

/// An id of so many bytes, or of twice as many hexadecimal digits (a UUID's dashes are passed over). All zero stands for none.
fn id<const N: usize>(cell: Cell<'_>) -> Option<[u8; N]> {
    let (Cell::Text(bytes) | Cell::Bytes(bytes)) = cell else { return None };
    if let (Cell::Bytes(_), Ok(id)) = (cell, bytes.try_into()) {
        return Some(id);
    }
    let mut id = [0; N];
    let mut digits = bytes.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    for byte in &mut id {
        let pair = digits.next()??.checked_mul(16)? + digits.next()??;
        *byte = u8::try_from(pair).ok()?;
    }
    digits.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> LogRule {
        LogRule {
            body: "body".into(),
            attributes: vec![AttributeRule { column: "user".into(), null: None }],
            static_attributes: vec![("source".into(), "audit".into()), ("user".into(), "nobody".into())],
            time: Some("at".into()),
            severity: Some("level".into()),
            severities: vec![("3".into(), Severity(17)), ("loud".into(), Severity(13))],
            event_name: Some("event".into()),
            trace_id: Some("trace".into()),
            span_id: Some("span".into()),
            ..LogRule::default()
        }
    }

    const COLUMNS: [&str; 7] = ["body", "user", "at", "level", "event", "trace", "span"];

    fn map(mapper: &mut LogMapper, cells: [Cell<'_>; 7]) -> LogRecord {
        mapper.map(&cells[..], UnixNanos(9))
    }

    #[test]
    fn every_column_finds_its_place() {
        let mut mapper = LogMapper::new(rule(), &COLUMNS).unwrap();
        let record = map(
            &mut mapper,
            [
                Cell::Text(b"hello"),
                Cell::Text(b"ann"),
                Cell::Text(b"2026-11-21 03:24:16.5"),
                Cell::Text(b"Warning"),
                Cell::Text(b"login"),
                Cell::Text(b"0af7651916cd43dd8448eb211c80319c"),
                Cell::Bytes(&[1, 2, 3, 4, 5, 6, 7, 8]),
            ],
        );
        assert_eq!(
            (record.body, record.time, record.observed_time),
            (Value::from("hello"), UnixNanos(1_795_231_456_500_000_000), UnixNanos(9))
        );
        assert_eq!((record.severity, &*record.severity_text, &*record.event_name), (Severity(13), "Warning", "login"));
        assert_eq!((record.trace_id[0], record.trace_id[15]), (0x0a, 0x9c));
        assert_eq!(record.span_id, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(format!("{:?}", record.attributes), r#"{"source": Str("audit"), "user": Str("ann")}"#);
        assert_eq!(mapper.take_unread(), Unread::default());
    }

    #[test]
    fn severities_that_the_user_maps_win_over_those_that_are_known() {
        let mut mapper = LogMapper::new(rule(), &COLUMNS).unwrap();
        let mut severity = |cell| {
            let record =
                map(&mut mapper, [Cell::Null, Cell::Null, Cell::Null, cell, Cell::Null, Cell::Null, Cell::Null]);
            (record.severity.0, record.severity_text.into_string())
        };
        assert_eq!(severity(Cell::Int(3)), (17, String::new()));
        assert_eq!(severity(Cell::Int(9)), (9, String::new()));
        assert_eq!(severity(Cell::Text(b"loud")), (13, "loud".into()));
        assert_eq!(severity(Cell::Null), (0, String::new()));
    }

    #[test]
    fn a_cell_that_is_not_what_its_rule_says_is_left_out_and_counted() {
        let mut mapper = LogMapper::new(rule(), &COLUMNS).unwrap();
        let odd = Cell::Text(b"odd");
        let record = map(&mut mapper, [odd, odd, odd, odd, odd, odd, odd]);
        assert_eq!((record.time, record.severity, record.trace_id), (UnixNanos::UNSET, Severity(0), [0; 16]));
        assert_eq!(&*record.severity_text, "odd");
        let unread = mapper.take_unread();
        assert_eq!((unread.cells, unread.first.unwrap().as_str()), (4, "logs: column 'level' holds no severity"));
    }
}

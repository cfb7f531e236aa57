//! Records as log records.

use std::sync::Arc;

use pdata::{AttributesBuilder, LogRecord, Origin, UnixNanos, Value};

use super::columns::{MissingColumn, index_of};
use super::rule::AttributeRule;
use super::{Record, value};

/// How a record becomes a log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRule {
    /// The column with the body.
    pub body: Box<str>,
    /// Columns that become attributes.
    pub attributes: Vec<AttributeRule>,
    /// Attributes of the resource of every record.
    pub resource: Vec<(Box<str>, Box<str>)>,
    /// Columns that become attributes of the resource.
    pub resource_columns: Vec<AttributeRule>,
}

/// Maps records to log records by one rule.
#[derive(Debug)]
pub struct LogMapper {
    rule: LogRule,
    body: usize,
    attributes: Vec<usize>,
    resource: Vec<usize>,
    builder: AttributesBuilder,
    /// The last origin: records of one resource mostly stand together.
    origin: Arc<Origin>,
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
        Ok(Self {
            body: find(&rule.body)?,
            attributes: all(&rule.attributes)?,
            resource: all(&rule.resource_columns)?,
            rule,
            builder: AttributesBuilder::default(),
            origin: Arc::default(),
        })
    }

    /// The log record of a record that was seen at `observed`. Attributes are text, as the Collector makes them; a NULL leaves its
    /// attribute out, and a NULL body leaves the body empty.
    pub fn map<R: Record + ?Sized>(&mut self, record: &R, observed: UnixNanos) -> LogRecord {
        self.rule.resource.iter().for_each(|(key, value)| self.builder.push(key, &**value));
        push(&mut self.builder, &self.rule.resource_columns, &self.resource, record);
        let resource = self.builder.finish();
        if self.origin.resource != resource {
            self.origin = Arc::new(Origin { resource, ..Origin::default() });
        }
        push(&mut self.builder, &self.rule.attributes, &self.attributes, record);
        LogRecord {
            origin: self.origin.clone(),
            observed_time: observed,
            body: value::text(record.cell(self.body)).map_or(Value::Empty, |(text, _)| Value::from(&*text)),
            attributes: self.builder.finish(),
            ..LogRecord::default()
        }
    }
}

fn push<R: Record + ?Sized>(builder: &mut AttributesBuilder, rules: &[AttributeRule], indices: &[usize], record: &R) {
    for (rule, index) in rules.iter().zip(indices) {
        if let Some((text, _)) = value::text(record.cell(*index)) {
            builder.push(&rule.column, &*text);
        }
    }
}

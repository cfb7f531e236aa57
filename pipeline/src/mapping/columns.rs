//! Rules against the columns of a result: names become indices, once per shape of result.

use super::key::KeyColumn;
use super::rule::{AttributeRule, MetricRule, ValueRule};

/// A column that a rule names and the result does not have, or has twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingColumn {
    /// What the rule names.
    pub column: Box<str>,
    /// Which rule: a metric's name, or what else wants it.
    pub wanted_by: Box<str>,
    /// The columns of the result.
    pub found: Vec<Box<str>>,
}

/// The indices of one metric's columns.
#[derive(Clone, Debug)]
pub(super) struct MetricColumns {
    /// Which key of [`Columns::keys`] its series have.
    pub(super) key: usize,
    pub(super) value: ValueColumns,
    pub(super) start: Option<usize>,
    pub(super) time: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum ValueColumns {
    /// Also `Info` with a column, and the state's column.
    One(usize),
    None,
    Buckets {
        bounds: Box<[usize]>,
        count: usize,
        sum: Option<usize>,
    },
}

/// The rules of a source against one shape of result.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// The columns, to see when the shape changes.
    pub(super) names: Vec<Box<str>>,
    /// Distinct lists of key columns: metrics with the same attributes share one hash per record. Resource columns come first.
    pub(super) keys: Vec<Vec<KeyColumn>>,
    pub(super) metrics: Vec<MetricColumns>,
}

impl Columns {
    /// Finds the columns of all rules.
    pub(super) fn new(
        names: &[&str],
        resource: &[AttributeRule],
        metrics: &[MetricRule],
    ) -> Result<Self, MissingColumn> {
        let mut columns = Self { names: names.iter().map(|name| (*name).into()).collect(), ..Self::default() };
        for rule in metrics {
            let compiled = columns.metric(rule, resource)?;
            columns.metrics.push(compiled);
        }
        Ok(columns)
    }

    /// Whether a result has the same columns in the same order.
    pub(super) fn fits(&self, names: &[&str]) -> bool {
        self.names.len() == names.len() && self.names.iter().zip(names).all(|(a, b)| **a == **b)
    }

    fn metric(&mut self, rule: &MetricRule, resource: &[AttributeRule]) -> Result<MetricColumns, MissingColumn> {
        let names = std::mem::take(&mut self.names);
        let find = |column: &str| index_of(&names, column, &rule.metric.name);
        let optional = |column: &Option<Box<str>>| column.as_deref().map(find).transpose();
        let result = (|| {
            let value = match &rule.value {
                ValueRule::Number { column, .. } => ValueColumns::One(find(column)?),
                ValueRule::State(state) => ValueColumns::One(find(&state.column)?),
                ValueRule::Info { column, .. } => optional(column)?.map_or(ValueColumns::None, ValueColumns::One),
                ValueRule::Buckets { bounds, count, sum, .. } => ValueColumns::Buckets {
                    bounds: bounds.iter().map(|(_, column)| find(column)).collect::<Result<_, _>>()?,
                    count: find(count)?,
                    sum: optional(sum)?,
                },
            };
            let key = resource
                .iter()
                .chain(&rule.attributes)
                .map(|attribute| Ok(KeyColumn { index: find(&attribute.column)?, null: attribute.null.clone() }));
            let key = key.collect::<Result<Vec<_>, _>>()?;
            Ok((value, key, optional(&rule.start_column)?, optional(&rule.time_column)?))
        })();
        self.names = names;
        let (value, key, start, time) = result?;
        let key = self.keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        });
        Ok(MetricColumns { key, value, start, time })
    }
}

/// Where a column stands. One that stands twice is as bad as none: which of them was meant?
pub(super) fn index_of(names: &[Box<str>], column: &str, wanted_by: &str) -> Result<usize, MissingColumn> {
    let mut places = names.iter().enumerate().filter(|(_, name)| &***name == column).map(|(index, _)| index);
    match (places.next(), places.next()) {
        (Some(index), None) => Ok(index),
        _ => Err(MissingColumn { column: column.into(), wanted_by: wanted_by.into(), found: names.to_vec() }),
    }
}

impl std::fmt::Display for MissingColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, wanted_by, found } = self;
        if found.iter().any(|name| name == column) {
            return write!(
                f,
                "column '{column}' (of {wanted_by}) stands more than once in the result; name one of them `as`"
            );
        }
        write!(f, "column '{column}' (of {wanted_by}) not found in result set")?;
        if let Some(near) = found.iter().find(|name| name.eq_ignore_ascii_case(column)) {
            return write!(f, "; it has '{near}': names are compared exactly");
        }
        // Results of `select *` can be wide; ten names are enough to see what went wrong.
        let shown: Vec<_> = found.iter().take(10).map(|name| &**name).collect();
        write!(f, "; it has {}{}", shown.join(", "), if found.len() > 10 { ", …" } else { "" })
    }
}

impl std::error::Error for MissingColumn {}

//! New rows into counters that survive: what a row does to the ledger's series.

use std::sync::Arc;

use pdata::{Attributes, Metric, Origin, UnixNanos};
use pipeline::Meters;
use pipeline::mapping::counted::{CountAttribute, CountRule, CountRules, CountValue, Counted, Observed, When};
use pipeline::mapping::{AttributeRule, MapError, Record};
use pipeline::state::{Entry, Ledger};

use super::track::progress::find;

/// One metric that counts new rows, by the names of its columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CountedMetric {
    pub(crate) metric: Arc<Metric>,
    pub(crate) value: NewRows,
    pub(crate) attributes: Vec<AttributeRule>,
    pub(crate) static_attributes: Vec<(Box<str>, Box<str>)>,
}

/// What a new row does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NewRows {
    /// Adds one.
    Count,
    /// Adds what the column says.
    Add { column: Box<str> },
    /// Puts what the column says into a histogram.
    Observe { column: Box<str>, bounds: Arc<[f64]> },
}

/// Counts the rows of one query.
pub(crate) struct Counting {
    metrics: Arc<[CountedMetric]>,
    origin: Arc<Origin>,
    ledger: Ledger,
    meters: Meters,
    /// The receiver and the query.
    labels: [String; 2],
    columns: Vec<Box<str>>,
    counted: Option<Counted>,
    entry: Entry,
}

impl CountedMetric {
    /// The columns that it names.
    #[cfg(feature = "sql-server")]
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|attribute| &*attribute.column).chain(self.number())
    }

    /// The column that must be a number.
    #[cfg(feature = "sql-server")]
    pub(crate) fn number(&self) -> Option<&str> {
        match &self.value {
            NewRows::Count => None,
            NewRows::Add { column } | NewRows::Observe { column, .. } => Some(column),
        }
    }

    fn rule(&self, names: &[&str]) -> Result<CountRule, MapError> {
        let find = |column: &str| find(names, column, &self.metric.name);
        let value = match &self.value {
            NewRows::Count => CountValue::Add { cell: None, scale: None },
            NewRows::Add { column } => CountValue::Add { cell: Some(find(column)?), scale: None },
            NewRows::Observe { column, bounds } => CountValue::Observe {
                observed: Observed::Cell { cell: find(column)?, scale: None },
                bounds: bounds.clone(),
            },
        };
        let attribute = |attribute: &AttributeRule| {
            let (key, null) = (attribute.column.clone(), attribute.null.clone());
            find(&key).map(|cell| CountAttribute { null, ..CountAttribute::new(key, cell) })
        };
        Ok(CountRule {
            metric: self.metric.clone(),
            value,
            when: Vec::new(),
            attributes: self.attributes.iter().map(attribute).collect::<Result<_, _>>()?,
            static_attributes: self.static_attributes.clone(),
            time: None,
        })
    }
}

impl Counting {
    pub(crate) fn new(
        metrics: Arc<[CountedMetric]>,
        resource: &[(Box<str>, Box<str>)],
        ledger: Ledger,
        meters: Meters,
        labels: [String; 2],
    ) -> Self {
        let resource = Attributes::from_pairs(resource.iter().map(|(key, value)| (&**key, &**value)));
        let origin = Arc::new(Origin { resource, ..Origin::default() });
        Self { metrics, origin, ledger, meters, labels, columns: Vec::new(), counted: None, entry: Entry::new() }
    }

    #[cfg(feature = "sql-server")]
    pub(crate) fn metrics(&self) -> &[CountedMetric] {
        &self.metrics
    }

    /// Begins a read of a result with these columns.
    pub(crate) fn begin(&mut self, names: &[&str]) -> Result<(), MapError> {
        self.entry = Entry::new();
        let same = self.columns.len() == names.len() && self.columns.iter().zip(names).all(|(a, b)| **a == **b);
        if same && self.counted.is_some() {
            return Ok(());
        }
        let rules = self.metrics.iter().map(|metric| metric.rule(names)).collect::<Result<_, _>>()?;
        let rules = CountRules { origin: self.origin.clone(), metrics: rules };
        let [receiver, query] = self.labels.clone();
        let labels = vec![("receiver", receiver), ("scraper", query)];
        let counted = Counted::new(Arc::new(rules), self.ledger.clone(), &self.meters, labels);
        self.counted = Some(counted.map_err(|fault| MapError::Rule(fault.to_string()))?);
        self.columns = names.iter().map(|name| (*name).into()).collect();
        Ok(())
    }

    /// Counts one row into the page.
    pub(crate) fn row<R: Record + ?Sized>(&mut self, row: &R, time: UnixNanos) {
        let Some(counted) = &mut self.counted else { return };
        let applied = counted.apply(row, When { received: time, stated: None }, &mut self.entry);
        counted.note(&applied);
    }

    /// What the rows since the last page did.
    pub(crate) fn take(&mut self) -> Entry {
        std::mem::take(&mut self.entry)
    }
}

//! What a record does to a metric, cells by index.

use std::sync::Arc;

use pdata::{Metric, Origin, UnixNanos};

use super::attribute::CountAttribute;
use super::condition::Condition;
use super::outcome::Skip;
use super::time::time_in;
use crate::mapping::{Record, TimeUnit};

/// What the records of a source do.
#[derive(Clone, Debug, Default)]
pub struct CountRules {
    /// Resource and scope of all series.
    pub origin: Arc<Origin>,
    /// The metrics. Each record may change several.
    pub metrics: Vec<CountRule>,
}

/// One metric.
#[derive(Clone, Debug)]
pub struct CountRule {
    /// Name, unit, description and type. The type fits the value: a cumulative sum for `Add`, a gauge for `Set`, `State` and `Info`, a
    /// cumulative histogram for `Observe`.
    pub metric: Arc<Metric>,
    /// What a record does.
    pub value: CountValue,
    /// All of these must hold, else the record does nothing here.
    pub when: Vec<Condition>,
    /// Cells that become attributes, of different keys.
    pub attributes: Vec<CountAttribute>,
    /// Attributes that every series gets. A cell's attribute of the same key wins.
    pub static_attributes: Vec<(Box<str>, Box<str>)>,
    /// For gauges: since when the value is true. NULL, and `None`: since the record's stated time, else its arrival.
    pub time: Option<TimeCell>,
}

/// What a record does to a series.
#[derive(Clone, Debug, PartialEq)]
pub enum CountValue {
    /// Adds to a sum.
    Add {
        /// How much; `None` counts records.
        cell: Option<usize>,
        /// What the number is multiplied with, such as 0.001 for milliseconds; then it is a double.
        scale: Option<f64>,
    },
    /// Sets a gauge. Of two values that of the newer time stays, of equal times the one that came later.
    Set {
        /// The value.
        cell: usize,
        /// As above.
        scale: Option<f64>,
    },
    /// Puts one value into a histogram.
    Observe {
        /// The value.
        observed: Observed,
        /// Upper bounds, inclusive, strictly ascending and finite; the bucket above the last is not written.
        bounds: Arc<[f64]>,
    },
    /// Sets one of several states to 1 and the others to 0: a series each.
    State {
        /// The cell that names the state.
        cell: usize,
        /// The attribute that names the state of a series.
        label: Box<str>,
        /// All states, compared exactly. Another one is passed over.
        states: Box<[Box<str>]>,
    },
    /// Sets a gauge to 1: its attributes are the message.
    Info,
}

/// What a histogram observes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// A number.
    Cell {
        /// Where.
        cell: usize,
        /// What the number is multiplied with.
        scale: Option<f64>,
    },
    /// The seconds between two times. A negative difference is passed over.
    Between {
        /// The earlier one.
        from: TimeCell,
        /// The later one.
        to: TimeCell,
    },
}

/// A cell that holds a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeCell {
    /// Where.
    pub cell: usize,
    /// What a number counts. Text that is no number is RFC 3339.
    pub unit: TimeUnit,
}

impl TimeCell {
    /// The time of a record.
    ///
    /// # Errors
    /// [`Skip::Null`] when there is none, [`Skip::NotATime`] when it cannot be read.
    pub fn read<R: Record + ?Sized>(self, record: &R) -> Result<UnixNanos, Skip> {
        match record.cell(self.cell) {
            crate::mapping::Cell::Null => Err(Skip::Null),
            cell => time_in(cell, self.unit).ok_or(Skip::NotATime),
        }
    }
}

//! How a record becomes points, in the user's words: columns by name.

use std::sync::Arc;

use pdata::Metric;

/// One metric of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRule {
    /// Name, unit, description and type.
    pub metric: Arc<Metric>,
    /// Where its value comes from.
    pub value: ValueRule,
    /// Columns that become attributes.
    pub attributes: Vec<AttributeRule>,
    /// Attributes that every point gets. A column of the same name wins.
    pub static_attributes: Vec<(Box<str>, Box<str>)>,
    /// Column with the start time; beats `start`.
    pub start_column: Option<Box<str>>,
    /// Column with the time; otherwise the time of the read.
    pub time_column: Option<Box<str>>,
    /// Start time of points whose record gives none.
    pub start: StartRule,
    /// What becomes of two records that make the same series.
    pub on_duplicate: OnDuplicate,
}

/// Where the value of a point comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRule {
    /// A number in a column.
    Number {
        /// The column.
        column: Box<str>,
        /// How the cell is read.
        read: ValueType,
        /// What a NULL does.
        null: OnNull,
    },
    /// Always 1: labels are the message.
    Info {
        /// A column whose NULL is treated as `null` says; none means that every record counts.
        column: Option<Box<str>>,
        /// What a NULL does; a zero makes no sense here and counts as leaving out.
        null: OnNull,
    },
    /// A state out of a known set, as 0/1 series.
    State(StateRule),
    /// A histogram whose buckets are counted by the source.
    Buckets {
        /// Upper bounds, strictly ascending and finite, each with the column that counts observations up to it: cumulative, as
        /// Prometheus' `le` buckets are.
        bounds: Vec<(f64, Box<str>)>,
        /// Column with the number of all observations: the bucket `+Inf`.
        count: Box<str>,
        /// Column with the sum of the observations.
        sum: Option<Box<str>>,
        /// What a NULL in a bucket or count does. A NULL sum is an unknown sum.
        null: OnNull,
    },
}

/// The known states of a thing, and how they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRule {
    /// The column with the state.
    pub column: Box<str>,
    /// The attribute that names the state.
    pub label: Box<str>,
    /// All states, compared exactly.
    pub states: Vec<Box<str>>,
    /// One series a state, or the active one alone.
    pub encoding: Encoding,
    /// What a state outside the set does.
    pub unknown: OnUnknown,
    /// What a NULL does; `None`: what an unknown state does.
    pub null: Option<OnNull>,
}

/// How a cell is read as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueType {
    /// A whole number. A double with a fraction is an error.
    #[default]
    Int,
    /// A double.
    Double,
    /// Whatever the cell is: 2^62 stays whole and 0.25 stays a double.
    Number,
}

/// What a NULL where a value should be does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNull {
    /// The record makes no point.
    #[default]
    Omit,
    /// The value is 0.
    Zero,
    /// The read fails.
    Error,
}

/// Which states have a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// All of them: 1 for the active state, 0 for the others.
    #[default]
    All,
    /// The active one alone, with 1.
    Active,
}

/// What a state outside the known set does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// All known states are 0.
    #[default]
    Zeros,
    /// The record makes no point.
    Drop,
    /// The read fails.
    Error,
}

/// What becomes of two records of one read that make the same series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The later one counts.
    #[default]
    Last,
    /// The earlier one counts.
    First,
    /// They add up; whole numbers stay exact past 64 bits and become a double only where the sum does not fit.
    Sum,
    /// The read fails.
    Error,
}

/// Start time of points whose record gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartRule {
    /// Unknown.
    #[default]
    Unset,
    /// When the mapper was made.
    AtStart,
    /// The time of the last successful read; this long before the read when there was none.
    LastRead(std::time::Duration),
}

/// A column that becomes an attribute of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttributeRule {
    /// The column and the attribute's key.
    pub column: Box<str>,
    /// What stands for NULL and for the empty text; `None`: NULL leaves the attribute out, the empty text stays empty.
    pub null: Option<Box<str>>,
}

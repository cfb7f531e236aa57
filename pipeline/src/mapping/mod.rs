//! Records to points: rows of a database and events of a webhook are mapped by the same rules.
//!
//! A [`Record`] is flat: cells by index. A [`MetricRule`] says in the user's words how a record becomes a point; a [`Mapper`] holds
//! the rules of one source, is told the columns of a result once ([`Mapper::begin`]), takes its records
//! ([`Mapper::record`]) and gives pages of points ([`Mapper::next_page`]).
//!
//! The law of the data path holds here: the identity of a series is worked out at its first sight. After that a record costs one
//! keyed hash of its key cells and one comparison, and allocates nothing. The mapper holds the series of the last successful
//! read, so it knows which of them are gone and gives those an end marker.
//!
//! Records that are counted rather than shown (events, rows that are read once) become tallies of a ledger: module `counted`.
//!
//! Points are made when the last record has been taken, not before: who reads a database must not wait for a full inbox with a
//! transaction open, duplicates can be merged wherever they stand, and a failed read leaves nothing behind.

mod columns;
#[cfg(feature = "ledger")]
pub mod counted;
mod held;
mod histogram;
mod key;
mod logs;
mod mapper;
mod outcome;
mod rule;
pub mod select;
mod tally;
mod value;

use pdata::UnixNanos;

pub use columns::MissingColumn;
pub use logs::{LogMapper, LogRule, Unread};
pub use mapper::{Mapper, MapperRules, PAGE_POINTS};
pub use outcome::{MapCounts, MapError};
pub use rule::{
    AttributeRule, Encoding, MetricRule, OnDuplicate, OnNull, OnUnknown, StartRule, StateRule, ValueRule, ValueType,
};
pub use value::time as time_of;

/// One row or event, before it is mapped.
pub trait Record {
    /// The cell of the `index`th column. Asked for columns that [`Mapper::begin`] was told of, and for no other.
    fn cell(&self, index: usize) -> Cell<'_>;

    /// What type of value the source has there; sources that know more of it than the cell shows say so. None for NULL.
    fn cell_type(&self, index: usize) -> Option<CellType> {
        match self.cell(index) {
            Cell::Null => None,
            Cell::Bool(_) => Some(CellType::Boolean),
            Cell::Int(_) | Cell::Double(_) => Some(CellType::Number),
            Cell::Text(_) | Cell::Bytes(_) | Cell::Time(_) => Some(CellType::String),
        }
    }
}

/// The types of values, as JSON has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellType {
    /// True or false.
    Boolean,
    /// A number of any size.
    Number,
    /// Text, bytes, or a time.
    String,
    /// Named values.
    Object,
    /// Values in a row.
    Array,
}

/// One value of a record, as its source has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
    /// Text as the source gave it. Databases do not promise that it is UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A point in time.
    Time(UnixNanos),
}

impl<'a> Cell<'a> {
    /// The cell as text, as it would be an attribute; `None` for NULL. Bad UTF-8 is replaced by U+FFFD.
    #[must_use]
    pub fn text(self) -> Option<std::borrow::Cow<'a, str>> {
        value::text(self).map(|(text, _)| text)
    }
}

/// The time in a cell: nanoseconds since 1970, RFC 3339, or what SQLite's `datetime()` writes.
#[must_use]
pub fn time(cell: Cell<'_>) -> Option<UnixNanos> {
    value::time(cell)
}

/// What a number that stands for a time counts since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds, with a fraction or without.
    #[default]
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl Record for [Cell<'_>] {
    fn cell(&self, index: usize) -> Cell<'_> {
        self[index]
    }
}

#[cfg(test)]
mod tests;

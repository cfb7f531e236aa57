//! What the mapping of one read comes to.

use super::columns::MissingColumn;

/// What one read came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapCounts {
    /// Records taken.
    pub records: u64,
    /// Points left out because their value was NULL.
    pub nulls: u64,
    /// Records whose state is none of the known ones.
    pub unknown_states: u64,
    /// Points that were merged into, or gave way to, another record's.
    pub merged: u64,
    /// Points left out because a cell could not be read as its rule says.
    pub errors: u64,
    /// The first of those errors, told with metric and column.
    pub first_error: Option<String>,
    /// Attributes and fields whose bad UTF-8 was replaced by U+FFFD; counted at the first sight of a series.
    pub replaced_text: u64,
}

/// Why a read fails while it is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapError {
    /// A rule names a column that the result does not have.
    Column(MissingColumn),
    /// More records than `max_records`.
    TooMany(usize),
    /// What a rule calls an error: a NULL, an unknown state, a duplicate.
    Rule(String),
    /// The agent's byte budget is used up.
    Budget(String),
}

impl From<MissingColumn> for MapError {
    fn from(missing: MissingColumn) -> Self {
        Self::Column(missing)
    }
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Column(missing) => missing.fmt(f),
            Self::TooMany(max) => write!(f, "more than {max} rows (max_rows)"),
            Self::Rule(why) | Self::Budget(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for MapError {}

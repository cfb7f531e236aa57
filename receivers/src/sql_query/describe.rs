//! What a database says of a statement that is not run: the drivers' part of `weir validate --connect`.

use super::source::ReadError;
#[cfg(feature = "sql-server")]
use super::source::Reason;

/// What came of asking; `Err`: nothing could be asked at all.
pub(crate) type Description = Result<Answers, ReadError>;

/// What a database says of some statements.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Statements of `session` that it does not take, by their place in the list.
    pub(crate) session: Vec<(usize, Refused)>,
    /// For each statement that was asked about, in order.
    pub(crate) statements: Vec<Result<Described, Refused>>,
}

/// What a statement would give.
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// The columns of its rows; none when it gives no rows.
    pub(crate) columns: Vec<Column>,
    /// How many parameters (`$1`, …) it has.
    pub(crate) parameters: usize,
}

/// A column of a result.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
}

/// What the type of a column says about its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They are numbers, or can be read as such: times and truth values.
    Number,
    /// They are text of this type, in which numbers may be written.
    Text(Box<str>),
    /// They have this type and are never numbers.
    #[cfg_attr(not(feature = "sql-server"), expect(dead_code, reason = "in a file, any column may hold numbers"))]
    NoNumber(Box<str>),
    /// It says nothing.
    Unknown,
}

/// Why a statement would not run.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) error: ReadError,
    /// Where in the statement, in characters from its beginning.
    pub(crate) at: Option<usize>,
}

impl Refused {
    #[cfg(feature = "sql-server")]
    pub(crate) fn new(reason: Reason, why: impl Into<String>) -> Self {
        ReadError::new(reason, why).into()
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self { error, at: None }
    }
}

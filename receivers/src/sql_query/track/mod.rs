//! Reading only what is new: how far a query has been read, kept between reads and restarts.
//!
//! [`mark`] is what a row's tracking columns say; [`progress`] sits where rows come in, sees that they come in order, and says up to
//! which mark a page is whole; [`keeper`] moves the cursor when a page's verdict is in; [`late`] and [`seen`] are the two ways
//! not to miss rows that are committed after later ones were read.

pub(crate) mod keeper;
#[cfg(feature = "sql-postgres")]
pub(crate) mod late;
pub(crate) mod mark;
pub(crate) mod progress;
pub(crate) mod seen;

use std::sync::{Arc, Mutex, PoisonError};

use self::mark::{Mark, MarkType, Overlap};
use self::seen::Seen;

/// What a query tracks, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tracking {
    /// At least one.
    pub(crate) columns: Vec<TrackingColumn>,
    /// Where they begin.
    pub(crate) start: Vec<Mark>,
    /// Whether the SQL orders the rows: then the cursor moves page by page, else at the end of a read.
    pub(crate) ordered: bool,
    /// Rows of one read; the next one goes on.
    pub(crate) max_rows: u64,
    /// Whether the database reads no zone in a text that is a time: `2026-01-31 12:00:00.5` and not `2026-01-31T12:00:00.5Z`.
    pub(crate) zoneless: bool,
    /// Whether it is read in one transaction with others, which sees the database as its first statement found it.
    pub(crate) snapshot: bool,
    /// How rows that are committed late are met.
    pub(crate) late: Late,
}

/// A column that only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrackingColumn {
    pub(crate) name: Box<str>,
    /// Guessed from its first row where it is not written.
    pub(crate) of: Option<MarkType>,
}

/// How rows that are committed late are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// They are missed.
    Miss,
    /// Rows wait until all transactions that wrote when they were seen have ended. PostgreSQL only.
    Xmin,
    /// Each read begins so much earlier, and rows are known again by these columns.
    Overlap { overlap: Overlap, key: Vec<Box<str>>, max_keys: usize },
}

/// How far a query has been read.
pub(crate) type Marks = Vec<Mark>;

/// Keys of rows that were passed; shared by who reads and who keeps the cursor.
pub(crate) type SharedSeen = Arc<Mutex<Seen>>;

/// What a page means for the cursor, once its verdict is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// All rows up to here are in this page or before it; `None` inside of many rows with one mark.
    pub(crate) mark: Option<(Marks, Vec<MarkType>)>,
    /// Keys of its rows with their place on the line of the first column.
    pub(crate) keys: Vec<(u128, i64)>,
}

pub(crate) fn lock(seen: &SharedSeen) -> std::sync::MutexGuard<'_, Seen> {
    // Nothing that holds the lock can panic between two writes that belong together.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

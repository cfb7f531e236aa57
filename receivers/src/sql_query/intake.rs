//! Where the rows of one query go: into the mapper of its metrics, and into pages of log records.

use std::sync::Arc;

use pdata::{SeriesTable, UnixNanos};
use pipeline::mapping::{Cell, LogRule, MapError, Mapper, MapperRules, Record};

use super::pages::{Handed, Pages};
#[cfg(feature = "sql-server")]
use super::pages::{TIED_ROWS, tied};
use super::source::ReadError;
#[cfg(feature = "sql-postgres")]
use super::track::late::{Horizon, Scope};
#[cfg(feature = "sql-server")]
use super::track::progress::Progress;

/// What takes the rows of one query. It goes with the query to where its driver reads, and comes back.
pub(crate) struct Intake {
    pub(crate) mapper: Mapper,
    #[cfg_attr(not(feature = "sql-server"), expect(dead_code, reason = "files know their types cell by cell"))]
    pub(super) rules: Arc<MapperRules>,
    pub(crate) pages: Pages,
    /// In place of all rules.
    rows: Option<Rows>,
    /// The columns of the last result.
    columns: Vec<Box<str>>,
}

/// The cells of a row as text; `None`: NULL.
pub(crate) type Cells = Arc<[Option<Box<str>>]>;

/// Rows that are taken as they are: what a loop goes over.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Box<str>>,
    pub(crate) cells: Vec<Cells>,
    max: usize,
}

impl Intake {
    pub(crate) fn new(
        metrics: Arc<MapperRules>,
        logs: Arc<[LogRule]>,
        table: Arc<SeriesTable>,
        started: UnixNanos,
    ) -> Self {
        Self {
            mapper: Mapper::new(metrics.clone(), table, started),
            rules: metrics,
            pages: Pages::new(logs),
            rows: None,
            columns: Vec::new(),
        }
    }

    /// Takes up to `max` rows as they are.
    pub(crate) fn rows(max: usize, table: Arc<SeriesTable>, started: UnixNanos) -> Self {
        let nothing = Self::new(Arc::default(), Arc::new([]), table, started);
        Self { rows: Some(Rows { max, ..Rows::default() }), ..nothing }
    }

    /// The rows that were taken.
    pub(crate) fn into_rows(self) -> Rows {
        self.rows.unwrap_or_default()
    }

    /// Whether rows are taken as they are.
    #[cfg(feature = "sql-server")]
    pub(super) fn takes_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// Begins a read that finds nothing; whether there was an earlier one that could have found something.
    pub(crate) fn begin_empty(&mut self, time: UnixNanos) -> bool {
        let columns = std::mem::take(&mut self.columns);
        let names: Vec<&str> = columns.iter().map(|column| &**column).collect();
        !names.is_empty() && self.begin(&names, time).is_ok()
    }

    #[cfg(feature = "sql-server")]
    /// The rules of its log records.
    pub(super) fn log_rules(&self) -> &[LogRule] {
        self.pages.rules()
    }

    /// Begins a read of a result with these columns.
    pub(crate) fn begin(&mut self, columns: &[&str], time: UnixNanos) -> Result<(), MapError> {
        let same = self.columns.len() == columns.len() && self.columns.iter().zip(columns).all(|(a, b)| **a == **b);
        if !same {
            self.columns = columns.iter().map(|column| (*column).into()).collect();
        }
        if let Some(rows) = &mut self.rows {
            rows.columns.clone_from(&self.columns);
            rows.cells.clear();
            return Ok(());
        }
        self.mapper.begin(columns, time)?;
        self.pages.begin(columns, time)
    }

    /// Takes one row. Afterwards a full page must be handed over.
    pub(crate) fn row<R: Record + ?Sized>(&mut self, row: &R) -> Result<(), MapError> {
        if let Some(rows) = &mut self.rows {
            return rows.row(row);
        }
        if self.pages.is_wanted() && !self.pages.row(row)? {
            return Ok(());
        }
        self.mapper.record(row)
    }

    /// Whether a page must be handed over before the next row.
    pub(crate) fn is_full(&self) -> bool {
        self.pages.is_full()
    }

    /// Whether it has all rows that it wants: what comes after them is left, and need not be read.
    #[cfg_attr(not(feature = "sql-sqlite"), expect(dead_code, reason = "servers are told how many rows are wanted"))]
    pub(crate) fn has_enough(&self) -> bool {
        self.pages.progress.as_ref().is_some_and(|progress| progress.enough)
    }

    /// Whether its parameters are tracking values, of which a statement must have one at least.
    pub(crate) fn tracks(&self) -> bool {
        self.pages.progress.is_some()
    }

    /// Whether the parameter at this place is a number, for drivers that bind by type.
    #[cfg_attr(
        not(any(feature = "sql-sqlite", feature = "sql-mysql")),
        expect(dead_code, reason = "PostgreSQL works out the types of parameters")
    )]
    pub(crate) fn binds_number(&self, parameter: usize) -> bool {
        self.pages.progress.as_ref().is_some_and(|progress| progress.binds_number(parameter))
    }

    /// Hands a full page over, for drivers that read in a task. Waits while those before it are under way: the query's time runs.
    #[cfg(feature = "sql-server")]
    pub(crate) async fn hand_over(&mut self) -> Result<(), ReadError> {
        self.pages.hand_over().await
    }

    /// The same without waiting, for drivers that read on a thread.
    #[cfg_attr(not(feature = "sql-sqlite"), expect(dead_code, reason = "only files are read on threads"))]
    pub(crate) fn try_hand_over(&mut self) -> Result<Handed, ReadError> {
        self.pages.try_hand_over()
    }
}

/// For drivers whose servers are told how many rows are wanted.
#[cfg(feature = "sql-server")]
impl Intake {
    /// How many rows to ask for; 0: all of them. Some more than are wanted, to see where the rows with the last mark end.
    pub(crate) fn limit(&self) -> u32 {
        let wanted = self.pages.progress.as_ref().and_then(Progress::max_rows);
        let limit = wanted.map_or(0, |rows| rows.saturating_add(TIED_ROWS as u64));
        u32::try_from(limit).ok().filter(|limit| i32::try_from(*limit).is_ok()).unwrap_or(0)
    }

    /// No more rows come, though there are some.
    pub(crate) fn cut_short(&mut self) -> Result<(), MapError> {
        match &self.pages.progress {
            Some(progress) if !progress.enough => Err(MapError::Rule(tied())),
            _ => Ok(()),
        }
    }
}

/// For drivers whose servers tell who could still commit.
#[cfg(feature = "sql-postgres")]
impl Intake {
    /// Who must be waited for, where rows that are committed late must not be missed.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.pages.progress.as_ref().and_then(Progress::scope)
    }

    /// What the server says before the rows are read.
    pub(crate) fn before(&mut self, horizon: &Horizon) {
        if let Some(progress) = &mut self.pages.progress {
            progress.before(horizon);
        }
    }

    /// What it says after the last one.
    pub(crate) fn after(&mut self, horizon: Horizon) {
        if let Some(progress) = &mut self.pages.progress {
            progress.after(horizon);
        }
    }
}

impl Rows {
    fn row<R: Record + ?Sized>(&mut self, row: &R) -> Result<(), MapError> {
        if self.cells.len() >= self.max {
            return Err(MapError::TooMany(self.max));
        }
        let cell = |column| match row.cell(column) {
            Cell::Text(bytes) | Cell::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into()),
            Cell::Int(int) => Some(int.to_string().into()),
            Cell::Double(double) => Some(double.to_string().into()),
            Cell::Bool(flag) => Some(flag.to_string().into()),
            Cell::Time(time) => Some(time.0.to_string().into()),
            Cell::Null => None,
        };
        self.cells.push((0..self.columns.len()).map(cell).collect());
        Ok(())
    }
}

//! Where the rows of one query go: into the mapper of its metrics, and into pages of log records.

use std::sync::Arc;

use pdata::{SeriesTable, UnixNanos};
use pipeline::mapping::{Cell, LogRule, MapError, Mapper, MapperRules, Record};

use super::pages::{Handed, Pages};
use super::source::ReadError;

/// What takes the rows of one query. It goes with the query to where its driver reads, and comes back.
pub(crate) struct Intake {
    pub(crate) mapper: Mapper,
    #[cfg_attr(not(feature = "sql-postgres"), expect(dead_code, reason = "files know their types cell by cell"))]
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
    #[cfg(feature = "sql-postgres")]
    pub(super) fn takes_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// Begins a read that finds nothing; whether there was an earlier one that could have found something.
    pub(crate) fn begin_empty(&mut self, time: UnixNanos) -> bool {
        let columns = std::mem::take(&mut self.columns);
        let names: Vec<&str> = columns.iter().map(|column| &**column).collect();
        !names.is_empty() && self.begin(&names, time).is_ok()
    }

    #[cfg(feature = "sql-postgres")]
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
        self.mapper.record(row)?;
        if self.pages.is_wanted() { self.pages.row(row) } else { Ok(()) }
    }

    /// Whether a page must be handed over before the next row.
    pub(crate) fn is_full(&self) -> bool {
        self.pages.is_full()
    }

    /// Hands a full page over, for drivers that read in a task. Waits while those before it are under way: the query's time runs.
    #[cfg(feature = "sql-postgres")]
    pub(crate) async fn hand_over(&mut self) -> Result<(), ReadError> {
        self.pages.hand_over().await
    }

    /// The same without waiting, for drivers that read on a thread.
    #[cfg_attr(not(feature = "sql-sqlite"), expect(dead_code, reason = "only files are read on threads"))]
    pub(crate) fn try_hand_over(&mut self) -> Result<Handed, ReadError> {
        self.pages.try_hand_over()
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

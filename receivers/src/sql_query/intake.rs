//! Where the rows of one query go: into the mapper of its metrics, and into pages of log records.

use std::sync::Arc;

use pdata::{LogRecord, Logs, SeriesTable, UnixNanos};
use pipeline::budget::Permit;
use pipeline::mapping::{LogMapper, LogRule, MapError, Mapper, MapperRules, Record};
use pipeline::{Batch, Budget};

/// What takes the rows of one query. It goes with the query to where its driver reads, and comes back.
pub(crate) struct Intake {
    pub(crate) mapper: Mapper,
    #[cfg_attr(not(feature = "sql-postgres"), expect(dead_code, reason = "files know their types cell by cell"))]
    pub(super) rules: Arc<MapperRules>,
    logs: LogIntake,
}

struct LogIntake {
    rules: Arc<[LogRule]>,
    mappers: Vec<LogMapper>,
    columns: Vec<Box<str>>,
    budget: Budget,
    page: Vec<LogRecord>,
    page_bytes: usize,
    full: Vec<Batch>,
    observed: UnixNanos,
}

/// A page of log records is full at whichever of these comes first. Metrics pages are bounded by the mapper.
const LOG_PAGE_RECORDS: usize = 4096;
const LOG_PAGE_BYTES: usize = 1 << 20;

impl Intake {
    pub(crate) fn new(
        metrics: Arc<MapperRules>,
        logs: Arc<[LogRule]>,
        table: Arc<SeriesTable>,
        budget: Budget,
        started: UnixNanos,
    ) -> Self {
        let logs = LogIntake {
            rules: logs,
            mappers: Vec::new(),
            columns: Vec::new(),
            budget,
            page: Vec::new(),
            page_bytes: 0,
            full: Vec::new(),
            observed: UnixNanos::UNSET,
        };
        Self { mapper: Mapper::new(metrics.clone(), table, started), rules: metrics, logs }
    }

    #[cfg(feature = "sql-postgres")]
    /// The rules of its log records.
    pub(super) fn log_rules(&self) -> &[LogRule] {
        &self.logs.rules
    }

    /// Begins a read of a result with these columns.
    pub(crate) fn begin(&mut self, columns: &[&str], time: UnixNanos) -> Result<(), MapError> {
        self.mapper.begin(columns, time)?;
        self.logs.begin(columns, time)
    }

    /// Takes one row.
    pub(crate) fn row<R: Record + ?Sized>(&mut self, row: &R) -> Result<(), MapError> {
        self.mapper.record(row)?;
        if self.logs.mappers.is_empty() { Ok(()) } else { self.logs.row(row) }
    }

    /// The log records of a successful read. Records of a failed one are dropped at the next `begin`.
    pub(crate) fn take_logs(&mut self) -> Result<Vec<Batch>, MapError> {
        self.logs.finish_page()?;
        Ok(std::mem::take(&mut self.logs.full))
    }
}

impl LogIntake {
    fn begin(&mut self, columns: &[&str], time: UnixNanos) -> Result<(), MapError> {
        self.page.clear();
        self.page_bytes = 0;
        self.full.clear();
        self.observed = time;
        let fits = self.columns.len() == columns.len() && self.columns.iter().zip(columns).all(|(a, b)| **a == **b);
        if !fits || self.mappers.len() != self.rules.len() {
            self.mappers =
                self.rules.iter().map(|rule| LogMapper::new(rule.clone(), columns)).collect::<Result<_, _>>()?;
            self.columns = columns.iter().map(|column| (*column).into()).collect();
        }
        Ok(())
    }

    fn row<R: Record + ?Sized>(&mut self, row: &R) -> Result<(), MapError> {
        for mapper in &mut self.mappers {
            let record = mapper.map(row, self.observed);
            self.page_bytes += size_of::<LogRecord>() + record.body.heap_bytes() + record.attributes.heap_bytes();
            self.page.push(record);
        }
        if self.page.len() >= LOG_PAGE_RECORDS || self.page_bytes >= LOG_PAGE_BYTES {
            self.finish_page()?;
        }
        Ok(())
    }

    /// Makes a batch of what has come so far. Its permit is taken here and not when it is sent: until the read has ended, pages
    /// wait in memory, and the budget is what bounds them.
    fn finish_page(&mut self) -> Result<(), MapError> {
        if self.page.is_empty() {
            return Ok(());
        }
        let permit = self.permit()?;
        let records = std::mem::take(&mut self.page);
        self.page_bytes = 0;
        self.full.push(Batch::new(Logs { records }, self.observed).with_permit(permit));
        Ok(())
    }

    fn permit(&self) -> Result<Permit, MapError> {
        self.budget.take(self.page_bytes).map_err(|refusal| MapError::Budget(refusal.to_string()))
    }
}

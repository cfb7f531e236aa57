//! For benchmarks: SQLite rows to points, without an agent around them, and the bare `SELECT` to compare with.

use std::sync::Arc;

use config::Section;
use pdata::{SeriesTable, UnixNanos};
use pipeline::Clock;
use pipeline::mapping::Mapper;

use crate::sql_query::check::{CheckedQuery, check};
use crate::sql_query::driver::{self, Database};
use crate::sql_query::intake::Intake;
use crate::sql_query::source::{Job, Source, Work};
use crate::sql_query::sqlite::Here;

/// The first query of a section, read on the caller's thread as often as is asked.
pub struct RowsToPoints {
    here: Here,
    query: CheckedQuery,
    intake: Intake,
}

/// The first query of a section, read from its database as the receiver reads it, on the caller's thread. For drivers without threads of
/// their own.
pub struct ServerRows {
    runtime: tokio::runtime::Runtime,
    source: Arc<dyn Source>,
    query: CheckedQuery,
    intake: Option<Box<Intake>>,
}

/// A prepared statement's rows, each cell looked at and nothing made of it: the floor.
pub struct BareSelect {
    connection: rusqlite::Connection,
    sql: String,
}

impl RowsToPoints {
    /// From the body of a `sql_query` section.
    ///
    /// # Errors
    /// What is wrong with the section or the database.
    pub fn new(yaml: &str, table: Arc<SeriesTable>) -> Result<Self, String> {
        let section = Section::from_yaml("sql_query/bench", yaml).map_err(|problems| problems.to_string())?;
        let checked = check(&section).map_err(|problems| problems.to_string())?;
        let path = match &checked.targets.first().ok_or("there is no database")?.database {
            Database::Sqlite(path) => path.absolute(),
            #[cfg(feature = "sql-server")]
            _ => return Err("this benchmark reads SQLite".to_owned()),
        };
        let here = Here::open(path, checked.max_cell_bytes).map_err(|error| error.why)?;
        let query = checked.queries.into_iter().next().ok_or("there is no query")?;
        let (metrics, logs) = (query.metrics.clone(), query.logs.clone());
        let intake = Intake::new(metrics, logs, table, UnixNanos(1));
        Ok(Self { here, query, intake })
    }

    /// One collection: all rows read, mapped, made into pages, each page given to `page`. Gives the number of rows.
    ///
    /// # Errors
    /// Why the read failed.
    pub fn read(&mut self, mut page: impl FnMut(pdata::Metrics)) -> Result<u64, String> {
        self.here.read(&self.query.sql, &mut self.intake).map_err(|error| error.why)?;
        Ok(pages(&mut self.intake.mapper, &mut page))
    }
}

impl ServerRows {
    /// From the body of a `sql_query` section.
    ///
    /// # Errors
    /// What is wrong with the section.
    pub fn new(yaml: &str, table: Arc<SeriesTable>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let section = Section::from_yaml("sql_query/bench", yaml).map_err(|problems| problems.to_string())?;
        let checked = check(&section).map_err(|problems| problems.to_string())?;
        let target = checked.targets.first().ok_or("there is no database")?;
        let source = driver::open(&checked, target, Clock::system());
        let query = checked.queries.first().ok_or("there is no query")?.clone();
        let (metrics, logs) = (query.metrics.clone(), query.logs.clone());
        let intake = Some(Box::new(Intake::new(metrics, logs, table, UnixNanos(1))));
        Ok(Self { runtime, source, query, intake })
    }

    /// One collection: begun, read, mapped, made into pages, each page given to `page`. Gives the number of rows.
    ///
    /// # Errors
    /// Why the read failed.
    pub fn read(&mut self, mut page: impl FnMut(pdata::Metrics)) -> Result<u64, String> {
        let CheckedQuery { sql, timeout, .. } = &self.query;
        let intake = self.intake.take().ok_or("the last read did not come back")?;
        let work = Work { sql: sql.clone(), timeout: *timeout, parameters: Arc::new([]), intake };
        let job =
            Job { works: vec![work], row: Arc::default(), snapshot: false, deadline: Clock::system().now() + *timeout };
        let done = self.runtime.block_on(self.source.read(job)).pop().ok_or("nothing came back")?;
        done.result.map_err(|error| error.why)?;
        let rows = pages(&mut self.intake.insert(done.intake).mapper, &mut page);
        Ok(rows)
    }
}

/// Gives all pages of a read; gives the number of its rows.
fn pages(mapper: &mut Mapper, page: &mut dyn FnMut(pdata::Metrics)) -> u64 {
    mapper.finish();
    loop {
        let (metrics, last) = mapper.next_page();
        page(metrics);
        if last {
            mapper.commit();
            return mapper.counts().records;
        }
    }
}

impl BareSelect {
    /// Opens the database read-only.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(path: &std::path::Path, sql: &str) -> Result<Self, String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(|error| error.to_string())?;
        Ok(Self { connection, sql: sql.to_owned() })
    }

    /// Reads all rows; gives their number and the sum of their cells' sizes.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn read(&self) -> Result<(u64, u64), String> {
        self.rows().map_err(|error| error.to_string())
    }

    fn rows(&self) -> rusqlite::Result<(u64, u64)> {
        use rusqlite::types::ValueRef;
        let mut statement = self.connection.prepare_cached(&self.sql)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let (mut count, mut size) = (0, 0);
        while let Some(row) = rows.next()? {
            count += 1;
            for column in 0..columns {
                size += match row.get_ref(column)? {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
                    _ => 8,
                };
            }
        }
        Ok((count, size))
    }
}

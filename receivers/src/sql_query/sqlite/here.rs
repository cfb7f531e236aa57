//! Reading on the caller's own thread, without a pool: for benchmarks.

use std::time::Duration;

use pipeline::Clock;

use super::connection::{Connection, Settings};
use super::watch::Watch;
use crate::sql_query::intake::Intake;
use crate::sql_query::source::ReadError;

/// A connection and its watch.
pub(crate) struct Here {
    connection: Connection,
    settings: Settings,
    watch: Watch,
    clock: Clock,
}

impl Here {
    pub(crate) fn open(path: std::path::PathBuf, max_cell_bytes: u64) -> Result<Self, ReadError> {
        let clock = Clock::system();
        let settings = Settings { path, max_cell_bytes, statements: 1 };
        let watch = Watch::new(clock.now());
        watch.begin_job(1);
        watch.begin_query(clock.now() + Duration::from_secs(3600));
        Ok(Self { connection: Connection::open(&settings, &watch)?, settings, watch, clock })
    }

    pub(crate) fn read(&self, sql: &str, intake: &mut Intake) -> Result<(), ReadError> {
        self.connection.read((sql, &[]), intake, self.clock.wall(), &self.settings, &self.watch)
    }
}

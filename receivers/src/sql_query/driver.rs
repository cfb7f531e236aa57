//! The drivers of this build: from what was checked to what can be read.

use std::sync::Arc;

use pipeline::Clock;

use super::check::{Checked, Target};
use super::source::Source;

/// Which database, in its driver's words.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// A file.
    #[cfg(feature = "sql-sqlite")]
    Sqlite(super::sqlite::DatabasePath),
    /// A server.
    #[cfg(feature = "sql-postgres")]
    Postgres(Box<super::postgres::Dsn>),
    /// A server.
    #[cfg(feature = "sql-mysql")]
    MySql(Box<super::mysql::Dsn>),
}

impl Database {
    /// The file that it is, if it is one.
    pub(crate) fn file(&self) -> Option<std::path::PathBuf> {
        match self {
            #[cfg(feature = "sql-sqlite")]
            Self::Sqlite(path) => Some(path.absolute()),
            #[cfg(feature = "sql-postgres")]
            Self::Postgres(_) => None,
            #[cfg(feature = "sql-mysql")]
            Self::MySql(_) => None,
        }
    }

    /// On how many servers it may be found; 0: it is a file.
    pub(crate) fn servers(&self) -> usize {
        match self {
            #[cfg(feature = "sql-sqlite")]
            Self::Sqlite(_) => 0,
            #[cfg(feature = "sql-postgres")]
            Self::Postgres(dsn) => dsn.servers(),
            #[cfg(feature = "sql-mysql")]
            Self::MySql(dsn) => dsn.servers(),
        }
    }
}

/// Driver and cargo feature of the agent; whether this build has it.
pub(crate) const DRIVERS: &[(&str, &str, bool)] = &[
    ("sqlite", "receiver-sql-sqlite", cfg!(feature = "sql-sqlite")),
    ("postgres", "receiver-sql-postgres", cfg!(feature = "sql-postgres")),
    ("mysql", "receiver-sql-mysql", cfg!(feature = "sql-mysql")),
];

/// A driver for a database. Nothing is opened or connected before the first read.
pub(crate) fn open(checked: &Checked, target: &Target, clock: Clock) -> Arc<dyn Source> {
    match &target.database {
        #[cfg(feature = "sql-sqlite")]
        Database::Sqlite(path) => Arc::new(super::sqlite::Sqlite::new(
            path.absolute(),
            checked.max_cell_bytes,
            checked.queries.len(),
            checked.connections,
            clock,
        )),
        #[cfg(feature = "sql-postgres")]
        Database::Postgres(dsn) => Arc::new(super::postgres::open(setup(checked, &**dsn), clock)),
        #[cfg(feature = "sql-mysql")]
        Database::MySql(dsn) => Arc::new(super::mysql::open(setup(checked, &**dsn), clock)),
    }
}

#[cfg(feature = "sql-server")]
fn setup<Dsn: Clone>(checked: &Checked, dsn: &Dsn) -> super::server::Setup<Dsn> {
    super::server::Setup {
        dsn: dsn.clone(),
        session: checked.session.clone(),
        max_cell_bytes: checked.max_cell_bytes,
        connections: checked.connections,
    }
}

/// The drivers that this build has, for messages.
pub(crate) fn built() -> String {
    let built: Vec<&str> = DRIVERS.iter().filter(|(.., built)| *built).map(|(driver, ..)| *driver).collect();
    match built.as_slice() {
        [one] => format!("this build has the driver {one}"),
        several => format!("this build has the drivers {}", several.join(", ")),
    }
}

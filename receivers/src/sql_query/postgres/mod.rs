//! Driver `postgres`: PostgreSQL's own protocol, spoken here and not through a client library.
//!
//! A library that hides the frames would prepare named statements to learn of unknown types, which breaks under transaction
//! pooling, would take a cell of any size into memory, and would allocate for every row. Here a frame's length is looked at before
//! its body is read, a row is read where it stands in the buffer, and each column is asked for in the format that is wanted: numbers
//! and times in binary, everything else, known or not, as the server writes it.
//!
//! One collection is one read-only transaction, so that what `session` sets ends with it, whoever pools the connections on the way.

mod connect;
mod connection;
mod decode;
mod dsn;
mod error;
mod horizon;
mod out;
mod session;
mod wire;

use pipeline::Clock;
use tokio::time::Instant;

use self::connection::Connection;
use self::error::Trouble;
use super::server::{Pooled, Server, Setup};

pub(crate) use dsn::Dsn;

/// The driver.
pub(crate) type Postgres = Pooled<PostgresServer>;

/// A PostgreSQL server.
pub(crate) struct PostgresServer {
    setup: Setup<Dsn>,
    /// `session`, each ready to stand in the transaction.
    session: Vec<String>,
    shown: String,
}

/// A driver that connects when it is first asked to read.
pub(crate) fn open(setup: Setup<Dsn>, clock: Clock) -> Postgres {
    let connections = setup.connections;
    let session = setup.session.iter().map(|statement| session::local(statement)).collect();
    let shown = setup.dsn.shown();
    Pooled::new(PostgresServer { setup, session, shown }, connections, clock)
}

impl Server for PostgresServer {
    type Connection = Connection;

    fn shown(&self) -> &str {
        &self.shown
    }

    fn max_cell_bytes(&self) -> u64 {
        self.setup.max_cell_bytes
    }

    fn session(&self, parameters: &[Option<Box<str>>]) -> Vec<Option<String>> {
        self.session.iter().map(|statement| session::filled(statement, parameters)).collect()
    }

    async fn connect(&self, now: Instant) -> Result<Connection, Trouble> {
        Connection::open(&self.setup.dsn, self.setup.max_cell_bytes, now).await
    }

    async fn cancel(&self, key: &connect::CancelKey) -> Result<(), Trouble> {
        connect::cancel(&self.setup.dsn, key).await
    }
}

#[cfg(test)]
mod tests;

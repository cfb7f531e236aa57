//! Driver `mysql`: the protocol of MySQL and MariaDB, spoken here and not through a client library.
//!
//! As with PostgreSQL next door, a packet's length is looked at before its body is read, a row is read where it stands in the
//! buffer, and nothing is allocated for it. A library would add some forty crates, would take a row of any size into memory, and
//! knows how to send files of this machine to a server that asks for them; what is not spoken here cannot be asked for.
//!
//! Queries are prepared, run once and forgotten: the server says what a statement gives before it runs, several statements in one
//! are a syntax error, parameters need no quoting, and cells come in a form in which numbers are exact.
//!
//! One collection is one read-only transaction. What `session` sets would outlive it, so the connection is reset behind it.

mod auth;
mod bytes;
mod column;
mod connect;
mod connection;
mod dsn;
mod error;
mod greeting;
mod out;
mod row;
mod statement;
mod wire;

use pipeline::Clock;
use tokio::time::Instant;

use self::connection::Connection;
use self::error::Trouble;
use super::server::{Pooled, Server, Setup};

pub(crate) use dsn::Dsn;
pub(crate) use statement::check_session;

/// The driver.
pub(crate) type MySql = Pooled<MySqlServer>;

/// A server of MySQL or MariaDB.
pub(crate) struct MySqlServer {
    setup: Setup<Dsn>,
    shown: String,
}

/// A driver that connects when it is first asked to read.
pub(crate) fn open(setup: Setup<Dsn>, clock: Clock) -> MySql {
    let connections = setup.connections;
    let shown = setup.dsn.shown();
    Pooled::new(MySqlServer { setup, shown }, connections, clock)
}

impl Server for MySqlServer {
    type Connection = Connection;

    fn shown(&self) -> &str {
        &self.shown
    }

    fn max_cell_bytes(&self) -> u64 {
        self.setup.max_cell_bytes
    }

    fn session(&self, parameters: &[Option<Box<str>>]) -> Vec<Option<String>> {
        self.setup.session.iter().map(|written| statement::filled(written, parameters)).collect()
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

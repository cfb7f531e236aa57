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
mod pool;
mod tls;
mod wire;

pub(crate) use dsn::{Dsn, Mistake};
pub(crate) use pool::Postgres;

/// How a driver is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) dsn: Dsn,
    /// Statements at the beginning of each transaction, in the user's words.
    pub(crate) session: Vec<Box<str>>,
    pub(crate) max_cell_bytes: u64,
    /// Connections at most.
    pub(crate) connections: usize,
}

#[cfg(test)]
mod tests;

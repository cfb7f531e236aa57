//! Driver `sqlite`: threads of its own, each with one connection that can only read.
//!
//! A connection is opened read-only and locked down (see `connection`); a query's deadline is kept inside SQLite, so that it
//! holds for a query that gives no row for hours. Connections and their prepared statements are kept from read to read and
//! given up when the file was replaced.

mod connection;
mod describe;
mod error;
mod here;
mod path;
mod pool;
mod watch;

pub(crate) use here::Here;
pub(crate) use path::DatabasePath;
pub(crate) use pool::Sqlite;

#[cfg(test)]
mod tests;

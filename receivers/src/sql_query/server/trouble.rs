//! What goes wrong with a server.

use std::fmt::Debug;

use crate::sql_query::source::{ReadError, Reason};

/// Why something on a connection did not work.
#[derive(Debug)]
pub(crate) enum Trouble<E> {
    /// The server says so.
    Server(E),
    /// The stream broke.
    Io(std::io::Error),
    /// The server hung up.
    Closed,
    /// What came is not the protocol.
    Protocol(&'static str),
    /// A row with at least this many bytes.
    LargeRow(usize),
    /// It is ours: a rule, a bound, a column. The second: whether the result was not read to its end.
    Ours(ReadError, bool),
}

/// An error as a kind of server tells it.
pub(crate) trait Said: Debug + Send + Sync + 'static {
    /// What the server is, for messages.
    const KIND: &'static str;

    /// Whether the connection is of no use after it.
    fn ends_connection(&self) -> bool;

    /// Whether the connection had probably been lost before anything was asked.
    fn is_lost_connection(&self) -> bool;

    /// What is wrong and, where it is known, what to do. `sql`: the statement, if it was one of the user's.
    fn tell(&self, database: &str, sql: &str) -> ReadError;

    /// Where in the statement, in characters from its beginning.
    fn position(&self) -> Option<usize> {
        None
    }
}

/// What was asked when the trouble came.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The database, as messages name it.
    pub(crate) database: &'a str,
    pub(crate) max_cell_bytes: u64,
    /// The statement, if it was one of the user's.
    pub(crate) sql: &'a str,
}

/// A deadline was met, on either side.
pub(crate) const TIME_UP: &str = "the time was up before the query was (timeout)";

/// Nobody was let in.
pub(crate) fn unavailable<E>(why: String) -> Trouble<E> {
    Trouble::Ours(ReadError::new(Reason::Unavailable, why), true)
}

impl<E: Said> Trouble<E> {
    /// Whether the connection is of no use after it.
    pub(crate) fn breaks(&self) -> bool {
        match self {
            Self::Server(error) => error.ends_connection(),
            Self::Ours(_, unread) => *unread,
            _ => true,
        }
    }

    /// Whether the connection had probably been lost before anything was asked.
    pub(crate) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Server(error) => error.is_lost_connection(),
            Self::Io(_) | Self::Closed => true,
            _ => false,
        }
    }

    /// Where in the statement, in characters from its beginning.
    pub(crate) fn position(&self) -> Option<usize> {
        match self {
            Self::Server(error) => error.position(),
            _ => None,
        }
    }

    /// Says what is wrong and, where it is known, what to do.
    pub(crate) fn tell(&self, asked: Asked<'_>) -> ReadError {
        let Asked { database, max_cell_bytes, sql } = asked;
        match self {
            Self::Ours(error, _) => error.clone(),
            Self::Server(error) => error.tell(database, sql),
            Self::Io(error) => {
                ReadError::new(Reason::Unavailable, format!("the connection to {database} broke: {error}"))
            }
            Self::Closed => ReadError::new(
                Reason::Unavailable,
                format!("{database} closed the connection; is it a {} server, and up?", E::KIND),
            ),
            Self::Protocol(what) => {
                ReadError::new(Reason::Corrupt, format!("{database} does not speak {}'s protocol: {what}", E::KIND))
            }
            Self::LargeRow(bytes) => ReadError::new(
                Reason::Limit,
                format!(
                    "a row has {bytes} bytes and may have {max_cell_bytes} (max_cell_bytes); select fewer columns, or raise it"
                ),
            ),
        }
    }
}

impl<E> From<std::io::Error> for Trouble<E> {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

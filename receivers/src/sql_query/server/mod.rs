//! What the drivers of servers share: connections that are bounded and kept, deadlines that hold on both sides, back-off, and
//! what goes wrong. A driver brings its protocol.

mod inflow;
mod lock_key;
mod place;
mod pool;
mod tls;
mod trouble;

use std::future::Future;
use std::time::Duration;

use pdata::UnixNanos;
use tokio::time::Instant;

use super::describe::Described;
use super::intake::Intake;
use super::source::{ReadError, Reason};

pub(crate) use inflow::Inflow;
pub(crate) use lock_key::lock_key;
pub(crate) use place::{Host, Mistake, Password, decode, shown, unusable};
pub(crate) use pool::Pooled;
pub(crate) use tls::{FileNames, SslMode, told};
pub(crate) use trouble::{Said, TIME_UP, Trouble, unavailable};

/// A server, and how to get in.
pub(crate) trait Server: Send + Sync + 'static {
    type Connection: Connection;

    /// The database, as messages name it: without a password.
    fn shown(&self) -> &str;

    fn max_cell_bytes(&self) -> u64;

    /// The statements of `session` with these parameters in them; none for one that needs more than there are. The query that a
    /// loop goes over has none yet, so what needs them is left out there.
    fn session(&self, parameters: &[Option<Box<str>>]) -> Vec<Option<String>>;

    /// Logs in.
    fn connect(&self, now: Instant) -> impl Future<Output = Result<Self::Connection, TroubleOf<Self>>> + Send;

    /// Asks the server to end what a connection is doing, over a connection of its own.
    fn cancel(&self, key: &KeyOf<Self>) -> impl Future<Output = Result<(), TroubleOf<Self>>> + Send;
}

/// How a driver is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup<Dsn> {
    pub(crate) dsn: Dsn,
    /// Statements at the beginning of each transaction, in the user's words.
    pub(crate) session: Vec<Box<str>>,
    pub(crate) max_cell_bytes: u64,
    /// Connections at most.
    pub(crate) connections: usize,
}

/// A connection with somebody logged in: a transaction that only reads, and the queries in it.
pub(crate) trait Connection: Send + Sync + Sized + 'static {
    type Said: Said;
    /// What cancelling needs.
    type Key: Send + Sync + 'static;

    /// Poolers may give none.
    fn key(&self) -> Option<Self::Key>;

    fn opened(&self) -> Instant;

    /// Begins a transaction. What `session` sets in it ends with it.
    fn begin(
        &mut self,
        snapshot: bool,
        limits: Limits,
        session: &[String],
    ) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// Reads one query into `intake`.
    fn read(
        &mut self,
        sql: &str,
        parameters: &[Option<Box<str>>],
        intake: &mut Intake,
        began: UnixNanos,
        limits: &(dyn Fn() -> Limits + Sync),
    ) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// Sets something for the rest of the transaction, whatever fails in it.
    fn set(&mut self, statement: &str) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// What a statement would give, without running it. `complete`: whether everything is set that will be set when it is read.
    fn look_at(
        &mut self,
        sql: &str,
        limits: Limits,
        complete: bool,
    ) -> impl Future<Output = Result<Described, Trouble<Self::Said>>> + Send;

    /// After a statement that failed: what was seen before is seen again, and what was set is set.
    fn recover(&mut self) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// Tries once to take the lock of this name. The server gives it back by itself when it hears nothing for `lease`. Gives the
    /// number of the term, which is higher than that of every earlier one, or `None` when somebody else holds it.
    fn take_lock(
        &mut self,
        name: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<u64>, Trouble<Self::Said>>> + Send;

    /// Asks whether the lock is still held.
    fn check_lock(&mut self, name: &str) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// Ends the transaction. It wrote nothing, so it does not matter how.
    fn end(&mut self) -> impl Future<Output = Result<(), Trouble<Self::Said>>> + Send;

    /// Says good-bye.
    fn close(self) -> impl Future<Output = ()> + Send;
}

pub(crate) type TroubleOf<S> = Trouble<<<S as Server>::Connection as Connection>::Said>;

pub(crate) type KeyOf<S> = <<S as Server>::Connection as Connection>::Key;

/// The limits of a statement, as the server keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) statement_ms: u128,
    pub(crate) lock_ms: u128,
}

impl Limits {
    /// A wait for a lock ends a little before the statement's time is up, so that the message tells of the lock.
    pub(crate) fn within(time: Duration) -> Self {
        let statement_ms = time.as_millis().clamp(1, i32::MAX as u128);
        Self { statement_ms, lock_ms: (statement_ms - statement_ms / 20).max(1) }
    }

    /// Whether it is worth a word to the server to have these for those.
    pub(crate) fn differs(self, set: Self) -> bool {
        self.statement_ms.abs_diff(set.statement_ms) > set.statement_ms / 50
    }
}

/// A statement does something that only its running would show.
pub(crate) fn does_more(what: &str) -> ReadError {
    let why = format!("the statement does more than read this database, which is all it may do: {what}");
    ReadError::new(Reason::Statement, why)
}

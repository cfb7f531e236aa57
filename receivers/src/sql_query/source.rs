//! The seam between the receiver and its drivers: what is to be read, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use pdata::UnixNanos;
use pipeline::BoxFuture;
use pipeline::mapping::MapError;
use tokio::time::Instant;

use super::describe::Description;
use super::intake::{Cells, Intake};
use super::singleton::Lock;

/// A database that can be read.
pub(crate) trait Source: Send + Sync {
    /// Runs the queries of a job one after another and gives every query back, in order, with what came of it. The future must
    /// end within the job's deadlines; when it is dropped, the reading stops.
    fn read(&self, job: Job) -> BoxFuture<'static, Vec<Done>>;

    /// Asks what statements would give, and runs none of them: for `weir validate --connect`. The future must end within `time`.
    fn describe(&self, statements: Vec<Arc<str>>, time: Duration) -> BoxFuture<'static, Description>;

    /// A lock of this name in the database, whose holder is believed for `lease` after it was last heard; `None` where there is no
    /// such thing. It has a connection of its own.
    fn lock(&self, _name: &str, _lease: Duration) -> Option<Box<dyn Lock>> {
        None
    }

    /// Ends what the driver runs in the background. Reads in progress are interrupted.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Queries to be read together.
pub(crate) struct Job {
    pub(crate) works: Vec<Work>,
    /// What stands for `$1`, `$2`, … in `session`: the columns of the loop's row in whose turn they are; none without a loop.
    #[cfg_attr(not(feature = "sql-server"), expect(dead_code, reason = "files have no settings"))]
    pub(crate) row: Cells,
    /// Whether all of them must see one transaction.
    pub(crate) snapshot: bool,
    /// When nobody wants the results any more.
    pub(crate) deadline: Instant,
}

/// One query to be read.
pub(crate) struct Work {
    pub(crate) sql: Arc<str>,
    /// How long it may take from its first step, waiting for locks included.
    pub(crate) timeout: Duration,
    /// What stands for `$1`, `$2`, … in it: tracking values, and behind them the columns of a loop's row. `None`: NULL.
    pub(crate) parameters: Cells,
    /// Where its rows go.
    pub(crate) intake: Box<Intake>,
}

/// One query that was read, or was not.
pub(crate) struct Done {
    pub(crate) intake: Box<Intake>,
    pub(crate) result: Result<(), ReadError>,
    /// When its read began; when it failed before, when it was asked for.
    pub(crate) began: UnixNanos,
    /// How long it took, waiting for locks included.
    pub(crate) took: Duration,
}

/// Why a query could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    pub(crate) reason: Reason,
    /// One line for whoever runs the agent, with what to do about it where that is known.
    pub(crate) why: String,
}

/// The kinds of [`ReadError`]s, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The database is not there, or may not be read.
    Unavailable,
    /// It is no database, or a broken one.
    Corrupt,
    /// Somebody else holds a lock.
    Locked,
    /// The time was up.
    Timeout,
    /// The agent is stopping.
    Stopped,
    /// A bound was met: rows, cell size, byte budget.
    Limit,
    /// The result does not have the columns that the configuration names.
    Column,
    /// The statement is wrong or forbidden.
    Statement,
    /// A rule calls what was found an error.
    Data,
    /// Another agent has taken over.
    Replaced,
    /// Rows were lost on their way, and are read again.
    Lost,
    /// The cursor cannot be read or kept.
    Storage,
    /// Somebody else reads this query now.
    Overtaken,
}

/// What is wrong with a statement of a tracked query that takes no parameter.
pub(crate) const NO_PARAMETER: &str =
    "the statement has no parameter for the tracking value: every read would send all rows";

/// Gives all queries of a job back unread.
pub(crate) fn refuse(job: Job, asked: UnixNanos, error: &ReadError) -> Vec<Done> {
    let done =
        |work: Work| Done { intake: work.intake, result: Err(error.clone()), began: asked, took: Duration::ZERO };
    job.works.into_iter().map(done).collect()
}

impl ReadError {
    pub(crate) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

impl Reason {
    pub(crate) const ALL: [Self; 13] = [
        Self::Unavailable,
        Self::Corrupt,
        Self::Locked,
        Self::Timeout,
        Self::Stopped,
        Self::Limit,
        Self::Column,
        Self::Statement,
        Self::Data,
        Self::Replaced,
        Self::Lost,
        Self::Storage,
        Self::Overtaken,
    ];

    /// As counters name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Locked => "locked",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Limit => "limit",
            Self::Column => "column",
            Self::Statement => "statement",
            Self::Data => "data",
            Self::Replaced => "replaced",
            Self::Lost => "lost",
            Self::Storage => "storage",
            Self::Overtaken => "overtaken",
        }
    }
}

impl From<MapError> for ReadError {
    fn from(error: MapError) -> Self {
        let reason = match &error {
            MapError::Column(_) => Reason::Column,
            MapError::TooMany(_) | MapError::Budget(_) => Reason::Limit,
            MapError::Rule(_) => Reason::Data,
        };
        Self::new(reason, error.to_string())
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

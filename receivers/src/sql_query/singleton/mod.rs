//! Several agents with one configuration, of which one reads: a lock on each database, who holds it, and how that is known.
//!
//! A seat is asked before a read begins and again before anything of it is sent, and each time the lock itself is asked: an agent that
//! was frozen in between finds that its term is over. Terms have numbers that only grow; a cursor is saved with the number of the term
//! under which its rows were read, and a ledger refuses lower ones.

mod file;
mod keeper;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pipeline::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::file::FileLock;
pub(crate) use self::keeper::Keeper;
use super::source::{ReadError, Reason};

/// A lock that at most one agent holds. An attempt that is dropped has at most taken a lock that is given back by itself.
pub(crate) trait Lock: Send {
    /// Tries once to take it. Gives the number of the term, which is higher than that of every earlier one, or `None` when somebody
    /// else holds it.
    fn take(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>>;

    /// Asks whether it is still held. After an error it is not.
    fn check(&mut self) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Gives it back.
    fn release(&mut self) -> BoxFuture<'_, ()>;
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It reads, in the term with this number; 0 where nobody contends.
    Leads(u64),
    /// Another agent reads.
    StandsBy,
    /// The lock could not be asked, so it does not read.
    Unknown(ReadError),
}

/// Who may read one database.
#[derive(Clone, Default)]
pub(crate) struct Seat(Option<Arc<Contended>>);

struct Contended {
    asks: mpsc::Sender<Ask>,
    /// The number of the term as the keeper last knew it; 0: none.
    term: AtomicU64,
}

/// Who asks gets an answer.
type Ask = oneshot::Sender<Standing>;

/// How often an agent that stands by tries: a part of how long a take-over takes.
pub(crate) const TRY: Duration = Duration::from_secs(1);

/// Reads that may ask at the same time; more wait.
const ASKS: usize = 64;

impl Seat {
    /// Where this agent stands now. Asks the lock.
    pub(crate) async fn standing(&self) -> Standing {
        let Some(contended) = &self.0 else { return Standing::Leads(0) };
        let over = || Standing::Unknown(ReadError::new(Reason::Stopped, "the receiver is stopping"));
        let (reply, answer) = oneshot::channel();
        if contended.asks.send(reply).await.is_err() {
            return over();
        }
        answer.await.unwrap_or_else(|_| over())
    }

    /// Asks the lock whether this agent still reads in the term with this number.
    ///
    /// # Errors
    /// It does not: what it has read is another agent's to send.
    pub(crate) async fn confirm(&self, term: u64) -> Result<(), ReadError> {
        match self.standing().await {
            Standing::Leads(now) if now == term => Ok(()),
            Standing::Unknown(error) => Err(error),
            Standing::Leads(_) | Standing::StandsBy => {
                let why = "another agent has taken over in the middle of the read (singleton)";
                Err(ReadError::new(Reason::Replaced, why))
            }
        }
    }

    /// The number of the term as it was last known, which is what a cursor is saved with; 0: none, or nobody contends.
    pub(crate) fn term(&self) -> u64 {
        self.0.as_ref().map_or(0, |contended| contended.term.load(Ordering::Acquire))
    }
}

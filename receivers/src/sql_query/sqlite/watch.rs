//! How a connection's thread is kept to its deadline, and told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by a connection's callbacks and by who waits for it. Times count from `base`, so that they fit an atomic.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: Instant,
    /// Nanoseconds after `base` when the time of the running query is up.
    deadline: AtomicU64,
    /// The number of the running job.
    job: AtomicU64,
    /// Jobs up to this number are cancelled. A number and not a flag: who cancels late must not hit the next job.
    cancelled: AtomicU64,
}

/// Why a query must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Time,
    Cancelled,
}

/// Between looks at a lock that somebody else holds, or at a page that nobody takes. SQLite's own handler waits 1 to 100 ms; short, so that a cancelled or late
/// query ends at once.
const LOCK_POLL: Duration = Duration::from_millis(5);

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Inner {
            base: now,
            deadline: AtomicU64::new(0),
            job: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        }))
    }

    /// The thread begins with a job.
    pub(super) fn begin_job(&self, job: u64) {
        self.0.job.store(job, Ordering::Release);
    }

    /// The thread begins with a query that must end at `deadline`.
    pub(super) fn begin_query(&self, deadline: Instant) {
        let nanos = deadline.saturating_duration_since(self.0.base).as_nanos();
        self.0.deadline.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Ends a job, whether it runs or waits.
    pub(super) fn cancel(&self, job: u64) {
        self.0.cancelled.fetch_max(job, Ordering::AcqRel);
    }

    /// Whether the running query must end, and why.
    pub(super) fn over(&self) -> Option<Over> {
        if self.0.cancelled.load(Ordering::Acquire) >= self.0.job.load(Ordering::Acquire) {
            return Some(Over::Cancelled);
        }
        let late = self.0.base.elapsed().as_nanos() >= u128::from(self.0.deadline.load(Ordering::Acquire));
        late.then_some(Over::Time)
    }

    /// What SQLite calls while a lock is held by somebody else, and who reads while nobody takes the rows: whether to try again.
    pub(super) fn wait(&self) -> bool {
        if self.over().is_some() {
            return false;
        }
        std::thread::sleep(LOCK_POLL);
        true
    }
}

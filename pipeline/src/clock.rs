//! Time that tests can turn.

use std::time::Duration;

use pdata::UnixNanos;
use tokio::time::Instant;

/// The only source of time. Monotonic time is tokio's, which a paused test runtime steps; wall-clock time is the system's, or in
/// a stepped clock a fixed beginning plus tokio's time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Wall);

#[derive(Clone, Debug, Default)]
enum Wall {
    #[default]
    System,
    Stepped {
        began: Instant,
        at: UnixNanos,
    },
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Wall::System)
    }

    /// A clock whose wall time begins at `at` and moves with tokio's time: for tests with a paused runtime.
    #[must_use]
    pub fn stepped(at: UnixNanos) -> Self {
        Self(Wall::Stepped { began: Instant::now(), at })
    }

    /// Monotonic time, for deadlines and intervals.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall-clock time, for what leaves the agent.
    #[must_use]
    pub fn wall(&self) -> UnixNanos {
        match self.0 {
            Wall::System => system(),
            Wall::Stepped { began, at } => at.plus(began.elapsed()),
        }
    }

    /// Waits. Safe to drop.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos::UNSET.plus(since)
}

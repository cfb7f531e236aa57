//! How fast requests of a source may come.

use tokio::time::Instant;

/// A bucket of tokens, one a request.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(per_second: f64, at: Instant) -> Self {
        Self { per_second, tokens: per_second, at }
    }

    /// Whether one more may pass.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.per_second);
        self.at = now;
        let pass = self.tokens >= 1.0;
        if pass {
            self.tokens -= 1.0;
        }
        pass
    }
}

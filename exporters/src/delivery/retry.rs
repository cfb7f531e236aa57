//! When a batch is tried again.

use std::time::Duration;

use config::Duration as Span;
use pipeline::{BoxFuture, Clock, Level};

use super::backoff::Backoff;
use super::breaker::Breaker;
use super::counts::Counts;
use super::{Miss, Parcel, RetrySettings, Taken, short};

/// The policy of tower's retry layer. The layer clones it for each batch, so its back-off is the batch's own.
#[derive(Clone, Debug)]
pub(crate) struct Retries {
    enabled: bool,
    max_elapsed: Option<Duration>,
    backoff: Backoff,
    breaker: Breaker,
    counts: Counts,
    clock: Clock,
}

/// What to do about a miss.
struct Wait {
    span: Duration,
    /// Whether the end of an outage ends the wait: not where the destination asked for it.
    until_recovery: bool,
    held: Option<Holding>,
}

/// A batch that is held; dropped when it is not any more.
struct Holding(Level);

/// How long to wait after the destination refused our credentials: somebody has to mend them, and may be locked out by too many
/// attempts until then. A file with headers is read again within a second; this only decides when that is noticed.
const HOLD: Duration = Duration::from_secs(60);

impl Retries {
    pub(crate) fn new(settings: &RetrySettings, breaker: Breaker, counts: Counts, clock: Clock) -> Self {
        Self {
            enabled: settings.enabled,
            max_elapsed: (!settings.max_elapsed_time.is_zero()).then_some(settings.max_elapsed_time).map(Span::get),
            backoff: Backoff::new(settings),
            breaker,
            counts,
            clock,
        }
    }

    /// The same for what is on disk: it is never given up for its age.
    pub(crate) fn without_end(self) -> Self {
        Self { max_elapsed: None, ..self }
    }

    /// Nothing when the miss is final.
    fn wait(&mut self, parcel: &mut Parcel, miss: &Miss) -> Option<Wait> {
        match miss {
            Miss::Reject { .. } | Miss::Withdrawn => None,
            Miss::Held { .. } if !self.enabled => None,
            Miss::Held { why } => Some(self.hold(parcel, why)),
            Miss::Shut { after } => {
                // Not a try: also a batch that is tried once only waits for that one.
                if self.enabled {
                    self.within_time(parcel, *after)?;
                }
                Some(Wait { span: *after, until_recovery: true, held: None })
            }
            Miss::Retry { reason, after, why } => {
                let own = self.backoff.grow();
                self.within_time(parcel, own)?;
                self.counts.retries(*reason).add(1);
                let asked = after.unwrap_or_default();
                let span = own.max(asked);
                if let Some(more) = self.counts.told.retrying() {
                    tracing::warn!(error = %short(why), interval = ?span, unsaid = more, "Exporting failed. Will retry the request after interval.");
                }
                Some(Wait { span, until_recovery: asked < own, held: None })
            }
        }
    }

    /// As the Collector counts: the batch is given up when its time would be over before the wait that we choose; a longer wait that
    /// the destination asked for is kept, and the batch has one more try after it.
    fn within_time(&self, parcel: &Parcel, span: Duration) -> Option<()> {
        let elapsed = self.clock.now() - parcel.began;
        let within = self.enabled && self.max_elapsed.is_none_or(|max| elapsed + span <= max);
        if !within && self.enabled {
            self.counts.exhausted.add(1);
        }
        within.then_some(())
    }

    fn hold(&mut self, parcel: &mut Parcel, why: &str) -> Wait {
        let span = self.backoff.jitter(HOLD);
        self.counts.refused_entry.add(1);
        if let Some(more) = self.counts.told.holding() {
            tracing::error!(error = %short(why), interval = ?span, unsaid = more, "The destination refuses our credentials. Data is held, not dropped: mend them.");
        }
        // What the wait for a human takes does not count against the batch.
        parcel.began = self.clock.now() + span;
        self.counts.held.add(1);
        Wait { span, until_recovery: true, held: Some(Holding(self.counts.held.clone())) }
    }
}

impl tower::retry::Policy<Parcel, Taken, Miss> for Retries {
    type Future = BoxFuture<'static, ()>;

    fn retry(&mut self, parcel: &mut Parcel, outcome: &mut Result<Taken, Miss>) -> Option<Self::Future> {
        let miss = outcome.as_ref().err()?;
        let Wait { span, until_recovery, held } = self.wait(parcel, miss)?;
        let recovery = self.breaker.recovery();
        let clock = self.clock.clone();
        Some(Box::pin(async move {
            if until_recovery {
                tokio::select! {
                    () = clock.sleep(span) => {}
                    () = recovery => {}
                }
            } else {
                clock.sleep(span).await;
            }
            drop(held);
        }))
    }

    fn clone_request(&mut self, parcel: &Parcel) -> Option<Parcel> {
        Some(parcel.clone())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

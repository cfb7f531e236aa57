//! Points in pages of one collection.

use std::sync::Arc;
use std::time::Duration;

use pdata::{Metrics, Point, SeriesTable};
use pipeline::budget::Permit;
use pipeline::collection::Collected;
use pipeline::{Batch, Budget, Clock, Collection, OnFailure, Outlet, Page, Refusal, SourceId};
use tokio::time::Instant;

/// Sends collections of one source.
#[derive(Debug)]
pub(crate) struct Sender {
    source: SourceId,
    sequence: u64,
    pub(crate) ways: Ways,
}

/// What points need on their way out.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) clock: Clock,
    pub(crate) table: Arc<SeriesTable>,
    pub(crate) budget: Budget,
    pub(crate) outlet: Outlet,
}

/// Points a page: 300 KiB, so that a page is a small part of the byte budget.
pub(super) const POINTS: usize = 4096;

/// Between attempts to get a share of the byte budget: from, and at most.
const BUDGET_WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

impl Sender {
    pub(crate) fn new(source: SourceId, ways: Ways) -> Self {
        // Above the sequence of any earlier receiver with the same name: nobody collects once a nanosecond.
        let sequence = ways.clock.wall().0;
        Self { source, sequence, ways }
    }

    pub(super) fn source(&self) -> &SourceId {
        &self.source
    }

    /// The collection that was sent last.
    pub(crate) fn last(&self) -> Collected {
        (self.source.clone(), self.sequence)
    }

    /// Sends all pages as one collection; one without pages still becomes known to whoever waits for it. Safe to drop: the next
    /// collection voids what was sent of this one.
    ///
    /// # Errors
    /// When the byte budget has no room until the deadline; what was sent is void then.
    pub(crate) async fn send(
        &mut self,
        pages: impl Iterator<Item = Metrics>,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        self.sequence += 1;
        let mut pages = pages.peekable();
        let mut page = pages.next().unwrap_or_else(|| self.nothing());
        loop {
            let permit = match self.permit(page.heap_bytes(), deadline).await {
                Ok(permit) => permit,
                Err(refusal) => {
                    self.send_page(self.nothing(), Permit::none(), Page::Failed(OnFailure::Last)).await;
                    return Err(refusal);
                }
            };
            match pages.next() {
                Some(next) => self.send_page(std::mem::replace(&mut page, next), permit, Page::More).await,
                None => break self.send_page(page, permit, Page::Last).await,
            }
        }
        Ok(())
    }

    /// Says that a collection failed, and what is to be shown of its source.
    #[cfg(feature = "breaker")]
    pub(crate) async fn fail(&mut self, on_failure: OnFailure) {
        self.sequence += 1;
        self.send_page(self.nothing(), Permit::none(), Page::Failed(on_failure)).await;
    }

    async fn permit(&self, bytes: usize, deadline: Instant) -> Result<Permit, Refusal> {
        let mut wait = BUDGET_WAIT.0;
        loop {
            match self.ways.budget.take(bytes.max(size_of::<Point>())) {
                Ok(permit) => return Ok(permit),
                Err(refusal) if self.ways.clock.now() + wait >= deadline => return Err(refusal),
                Err(_) => self.ways.clock.sleep(wait).await,
            }
            wait = (wait * 2).min(BUDGET_WAIT.1);
        }
    }

    async fn send_page(&self, metrics: Metrics, permit: Permit, page: Page) {
        let collection = Collection { source: self.source.clone(), sequence: self.sequence, page };
        let batch = Batch::new(metrics, self.ways.clock.wall()).with_permit(permit).with_collection(collection);
        self.ways.outlet.send(batch).await;
    }

    /// A page without points.
    fn nothing(&self) -> Metrics {
        Metrics::new(self.ways.table.pin())
    }
}

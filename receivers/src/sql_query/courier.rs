//! Carries the pages of one read to the pipelines, while the read goes on.
//!
//! So many pages are under way at once and no more: a page counts until its verdict is in. Past that the reading waits, in the
//! database with a transaction open, which is why it waits no longer than its time-out. What was read by then still leaves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pdata::Logs;
use pipeline::{Batch, BoxFuture, Receipt, Stop, Verdict};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pages::{Page, WAITING};
use super::schedule::Around;
use super::source::ReadError;

/// Carries the pages of one read.
pub(crate) struct Courier {
    around: Arc<Around>,
    /// In which they were read: they are not sent in another.
    term: u64,
    pages: mpsc::Receiver<Page>,
    flights: VecDeque<Flight>,
    /// Until when a page may wait for its share of the byte budget.
    deadline: Instant,
    /// Log records that were sent.
    pub(crate) records: usize,
    trouble: Option<ReadError>,
}

/// A page under way.
struct Flight {
    verdict: BoxFuture<'static, Verdict>,
}

/// Pages under way, of at most 512 KiB each: with those in the making, 4 MiB that a read may add to memory before whoever exports
/// them copies them.
const UNDER_WAY: usize = 4;

/// How long stopping waits for verdicts. What has none by then is read again where that is possible.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl Courier {
    /// A courier, and where its pages come in.
    pub(crate) fn new(around: Arc<Around>, deadline: Instant) -> (Self, mpsc::Sender<Page>) {
        let (send, pages) = mpsc::channel(WAITING);
        (
            Self {
                term: around.seat.term(),
                around,
                pages,
                flights: VecDeque::new(),
                deadline,
                records: 0,
                trouble: None,
            },
            send,
        )
    }

    /// Carries what comes until the read is `over`, and then what is still there.
    pub(crate) async fn carry(mut self, mut over: Stop, mut stop: Stop) -> Self {
        let mut closed = false;
        let mut halt = None;
        while self.trouble.is_none() {
            let late = sleep_until(halt);
            tokio::select! {
                biased;
                verdict = landing(&mut self.flights) => self.landed(verdict),
                // Of a read that is over there is a page at most, which nothing is held back by any more.
                page = self.pages.recv(), if closed || self.flights.len() < UNDER_WAY => match page {
                    Some(page) => self.send(page).await,
                    None => return self,
                },
                () = over.requested(), if !closed => {
                    self.pages.close();
                    closed = true;
                }
                () = stop.requested(), if halt.is_none() => halt = Some(self.around.clock.now() + STOP_GRACE),
                () = late => break,
            }
        }
        // Who reads hears of it at the next page.
        self.pages.close();
        self
    }

    /// Sends a page: waits for its share of the byte budget, and for room in the inboxes.
    pub(crate) async fn send(&mut self, page: Page) {
        let Page { logs: records, bytes, .. } = page;
        if records.is_empty() {
            return;
        }
        let permit = match self.around.permit(bytes, self.deadline).await {
            Ok(permit) => permit,
            Err(error) => return self.trouble = Some(error),
        };
        if let Err(error) = self.around.seat.confirm(self.term).await {
            return self.trouble = Some(error);
        }
        self.records += records.len();
        let (receipt, waiter) = Receipt::pair();
        let batch = Batch::new(Logs { records }, self.around.clock.wall()).with_permit(permit).with_receipt(receipt);
        self.flights.push_back(Flight { verdict: Box::pin(waiter.verdict()) });
        self.around.outlet.send(batch).await;
    }

    /// Why the rest cannot be carried, if it cannot.
    pub(crate) fn trouble(&self) -> Option<&ReadError> {
        self.trouble.as_ref()
    }

    fn landed(&mut self, _verdict: Verdict) {
        self.flights.pop_front();
    }
}

/// The verdict of the page that has been under way for longest. Safe to drop.
async fn landing(flights: &mut VecDeque<Flight>) -> Verdict {
    match flights.front_mut() {
        Some(flight) => (&mut flight.verdict).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

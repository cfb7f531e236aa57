//! Carries the pages of one read to the pipelines, while the read goes on.
//!
//! So many pages are under way at once and no more: a page counts until its verdict is in. Past that the reading waits, in the
//! database with a transaction open, which is why it waits no longer than its time-out. What was read by then still leaves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pdata::Logs;
use pipeline::state::Entry;
use pipeline::{Batch, BoxFuture, Receipt, Stop, Verdict};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pages::{Page, WAITING};
use super::schedule::Around;
use super::source::{ReadError, Reason};
use super::track::Step;
use super::track::keeper::CursorKeeper;

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
    /// Keeps the cursor of a tracked query, on loan for this read.
    keeper: Option<Box<CursorKeeper>>,
    trouble: Option<ReadError>,
}

/// A page under way.
struct Flight {
    verdict: BoxFuture<'static, Verdict>,
    rows: usize,
    counts: Entry,
    step: Step,
}

/// Pages under way, of at most 512 KiB each: with those in the making, 4 MiB that a read may add to memory before whoever exports
/// them copies them.
const UNDER_WAY: usize = 4;

/// How long stopping waits for verdicts. What has none by then is read again where that is possible.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl Courier {
    /// A courier, and where its pages come in.
    pub(crate) fn new(
        around: Arc<Around>,
        keeper: Option<Box<CursorKeeper>>,
        deadline: Instant,
    ) -> (Self, mpsc::Sender<Page>) {
        let (send, pages) = mpsc::channel(WAITING);
        let flights = VecDeque::new();
        (Self { term: around.seat.term(), around, pages, flights, deadline, records: 0, keeper, trouble: None }, send)
    }

    /// Carries what comes until the read is `over`, and then what is still there.
    pub(crate) async fn carry(mut self, mut over: Stop, mut stop: Stop) -> Self {
        let mut closed = false;
        let mut halt = None;
        while self.trouble.is_none() {
            let late = sleep_until(halt);
            tokio::select! {
                biased;
                verdict = landing(&mut self.flights) => self.landed(verdict).await,
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
        let Page { logs: records, bytes, rows, counts, step } = page;
        if records.is_empty() && self.keeper.is_none() {
            return;
        }
        // What is read is another agent's to pass on, and to count.
        if let Err(error) = self.around.seat.confirm(self.term).await {
            return self.trouble = Some(error);
        }
        if records.is_empty() {
            let verdict = Box::pin(std::future::ready(Verdict::Delivered));
            return self.flights.push_back(Flight { verdict, rows, counts, step });
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
        self.flights.push_back(Flight { verdict: Box::pin(waiter.verdict()), rows, counts, step });
        self.around.outlet.send(batch).await;
    }

    /// Waits for all verdicts of a tracked query, whose read ends with them, and gives back who keeps its cursor. What is not tracked is
    /// nobody's to read again.
    pub(crate) async fn land(&mut self, mut stop: Stop) -> Option<Box<CursorKeeper>> {
        let mut halt = None;
        while self.keeper.is_some() && self.trouble.is_none() && !self.flights.is_empty() {
            let late = sleep_until(halt);
            tokio::select! {
                biased;
                verdict = landing(&mut self.flights) => self.landed(verdict).await,
                () = stop.requested(), if halt.is_none() => halt = Some(self.around.clock.now() + STOP_GRACE),
                () = late => break,
            }
        }
        self.keeper.take()
    }

    /// Why the rest cannot be carried, if it cannot.
    pub(crate) fn trouble(&self) -> Option<&ReadError> {
        self.trouble.as_ref()
    }

    /// A verdict has come. The cursor moves over what is delivered, discarded by a rule, or will never be taken; never over what
    /// is lost, nor over what was sent after that.
    async fn landed(&mut self, verdict: Verdict) {
        let Some(flight) = self.flights.pop_front() else { return };
        let Some(keeper) = &mut self.keeper else { return };
        if verdict == Verdict::Lost {
            let why = format!(
                "a page of {} rows was lost on its way to the destinations; the rows are read again",
                flight.rows
            );
            self.trouble = Some(ReadError::new(Reason::Lost, why));
        } else if let Err(error) = keeper.save(flight.step, flight.counts).await {
            self.trouble = Some(error);
        }
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

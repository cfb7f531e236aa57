//! Reads of pull receivers, and asking for one now.
//!
//! A *source* is one thing that is read as a whole: one query of one `sql_query` receiver against one target. Each read of it is
//! a *collection* with a sequence number and one or more pages. A collection becomes visible at its last page; an older one never
//! overwrites a newer; a failed one sends no end markers.
//!
//! A scrape may ask a receiver to read now ([`Demand`]). It shares only a read that began after it arrived.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::component::Collects;

/// One thing that is read as a whole; unique in the agent, stable while it runs. Example: `sql_query/inventory#3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub Arc<str>);

/// Which read of which source a batch belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// What was read.
    pub source: SourceId,
    /// Which read of it: rises by one or more with each read of a source, and never repeats.
    pub sequence: u64,
    /// Which part of the read.
    pub page: Page,
}

/// Which part of a read a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// More pages follow.
    More,
    /// The last page of a successful read: the whole of it becomes visible now.
    Last,
    /// The read failed: earlier pages of this sequence are void. The batch carries no points of this source.
    Failed(OnFailure),
}

/// What an endpoint shows of a source whose read failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing until the next success (the default).
    #[default]
    Omit,
    /// The last successful read.
    Last,
    /// The scrape fails as a whole.
    Fail,
}

/// A request to read now. Answer with [`Demand::answer`]; dropping it says that nothing was read.
#[derive(Debug)]
pub struct Demand {
    /// When the asking scrape gives up: results later than this are of no use to it.
    pub deadline: Instant,
    reply: oneshot::Sender<Vec<Collected>>,
}

/// One source that a demand has read: its batches have been sent, and the asker waits until its own exporter applied this
/// sequence (or a later one).
pub type Collected = (SourceId, u64);

/// The receiver's end: hears demands, and says when the first round of collections is done.
#[derive(Debug)]
pub struct CollectionDesk {
    demands: mpsc::Receiver<Demand>,
    first: watch::Sender<Option<Arc<Vec<Collected>>>>,
}

/// The exporter's end: one per receiver that feeds it.
#[derive(Clone, Debug)]
pub struct CollectionPort {
    /// Which receiver it is, for messages.
    pub receiver: Arc<str>,
    /// When it reads.
    pub collects: Collects,
    demands: mpsc::Sender<Demand>,
    first: watch::Receiver<Option<Arc<Vec<Collected>>>>,
}

/// Why a demand was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The deadline passed.
    Late,
    /// Too many scrapes wait already.
    Crowded,
    /// The receiver has stopped.
    Gone,
}

/// Demands that may wait at one receiver. Prometheus pairs scrape twice per interval; 64 leaves room for curious humans.
const DEMANDS_MAX: usize = 64;

impl CollectionDesk {
    /// The two ends for one receiver.
    #[must_use]
    pub fn pair(receiver: impl Into<Arc<str>>, collects: Collects) -> (Self, CollectionPort) {
        let (ask, demands) = mpsc::channel(DEMANDS_MAX);
        let (tell, first) = watch::channel(None);
        let port = CollectionPort { receiver: receiver.into(), collects, demands: ask, first };
        (Self { demands, first: tell }, port)
    }

    /// Waits for the next demand and takes all that wait with it: one read that begins now may serve them all. Empty when no
    /// exporter can ask any more. Safe to drop.
    pub async fn demanded(&mut self) -> Vec<Demand> {
        let mut demands = Vec::new();
        self.demands.recv_many(&mut demands, DEMANDS_MAX).await;
        demands
    }

    /// Says which collections the first round made; batches of all of them have been sent.
    pub fn first_round_done(&self, collected: Vec<Collected>) {
        self.first.send_if_modified(|first| {
            let new = first.is_none();
            if new {
                *first = Some(Arc::new(collected));
            }
            new
        });
    }
}

impl CollectionPort {
    /// Asks for a read now and waits until the receiver has sent it on, at most until `deadline`.
    ///
    /// # Errors
    /// When the receiver cannot answer in time; see [`Unmet`].
    pub async fn collect(&self, deadline: Instant) -> Result<Vec<Collected>, Unmet> {
        let (reply, answer) = oneshot::channel();
        self.demands.try_send(Demand { deadline, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unmet::Crowded,
            mpsc::error::TrySendError::Closed(_) => Unmet::Gone,
        })?;
        tokio::time::timeout_at(deadline, answer).await.map_err(|_| Unmet::Late)?.map_err(|_| Unmet::Gone)
    }

    /// The collections of the receiver's first round, once they have been sent.
    #[must_use]
    pub fn first_round(&self) -> Option<Arc<Vec<Collected>>> {
        self.first.borrow().clone()
    }

    /// Waits for the first round. Ends with nothing when the receiver stops before. Safe to drop.
    pub async fn wait_first_round(&mut self) -> Option<Arc<Vec<Collected>>> {
        self.first.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl Demand {
    /// Tells the asker which collections serve it; their batches must have been sent before.
    pub fn answer(self, collected: Vec<Collected>) {
        // Nobody listening means that the scrape has gone away.
        self.reply.send(collected).ok();
    }

    /// How long the asker still waits, from `now`.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

impl std::fmt::Display for SourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn scrapes_that_wait_together_share_one_read() {
        let (mut desk, port) = CollectionDesk::pair("sql", Collects::OnDemand);
        let asks = [port.clone(), port].map(|port| tokio::spawn(async move { port.collect(soon()).await }));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let demands = desk.demanded().await;
        assert_eq!(demands.len(), 2);
        demands.into_iter().for_each(|demand| demand.answer(vec![(SourceId("sql#0".into()), 7)]));
        for ask in asks {
            assert_eq!(ask.await.unwrap().unwrap()[0].1, 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_receiver_costs_a_scrape_no_more_than_its_deadline() {
        let (desk, port) = CollectionDesk::pair("sql", Collects::OnDemand);
        assert_eq!(port.collect(soon()).await, Err(Unmet::Late));
        drop(desk);
        assert_eq!(port.collect(soon()).await, Err(Unmet::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn demands_that_wait_are_bounded() {
        let (_desk, port) = CollectionDesk::pair("sql", Collects::OnDemand);
        for _ in 0..DEMANDS_MAX {
            assert_eq!(port.collect(Instant::now()).await, Err(Unmet::Late));
        }
        assert_eq!(port.collect(soon()).await, Err(Unmet::Crowded));
    }

    #[tokio::test]
    async fn the_first_round_is_told_once() {
        let (desk, mut port) = CollectionDesk::pair("sql", Collects::Interval);
        assert!(port.first_round().is_none());
        desk.first_round_done(vec![(SourceId("sql#0".into()), 1)]);
        desk.first_round_done(vec![(SourceId("sql#0".into()), 2)]);
        assert_eq!(port.wait_first_round().await.unwrap()[0].1, 1);
    }
}

//! What receivers of events share: how the counters of a ledger reach the pipelines.
//!
//! A ledger holds cumulative values, so nothing is lost when a batch is: the next one says it again. An [`Emission`] sends what
//! changed when a scrape asks and every few seconds for destinations that do not ask, and all there is at the start, when
//! destinations have come or gone, and once a minute: a backend that is pushed to forgets series which nobody repeats.
//! It never ends a series. Log records are another matter: they wait in the ledger's [`spool`] until a verdict.

#[cfg(any(feature = "breaker", feature = "webhook"))]
mod items;
mod live;
#[cfg(any(feature = "breaker", feature = "webhook"))]
mod once;
mod open;
mod pages;
#[cfg(any(feature = "breaker", feature = "webhook"))]
pub(crate) mod settings;
#[cfg(feature = "webhook")]
pub(crate) mod spool;

use std::sync::Arc;
use std::time::Duration;

use pipeline::collection::{Collected, CollectionDesk, Demand};
use pipeline::inbox::Port;
use pipeline::state::Ledger;
use pipeline::{BoxFuture, SourceId};
use tokio::time::Instant;

#[cfg(any(feature = "breaker", feature = "webhook"))]
pub(crate) use self::items::items;
#[cfg(feature = "webhook")]
pub(crate) use self::live::Live;
#[cfg(any(feature = "breaker", feature = "webhook"))]
pub(crate) use self::once::run_once;
pub(crate) use self::open::open_ledger;
pub(crate) use self::pages::{Sender, Ways};

#[cfg(not(feature = "webhook"))]
use self::live::Live;

/// The one who emits for a receiver.
#[derive(Debug)]
pub(crate) struct Emission {
    ledger: Ledger,
    sender: Sender,
    /// How often changes are sent unasked.
    every: Duration,
    /// The ledger's commit that the destinations have seen.
    shown: u64,
    /// Counters beside the ledger, and what they came to when they were last sent.
    live: Option<(Live, u64)>,
    /// Where and when all series were last sent.
    whole: Option<(Arc<Vec<Port>>, Instant)>,
    chore: Option<Arc<dyn Chore>>,
}

/// What is brought up to date in the ledger before its series are shown: values that change with time and not with events.
pub(crate) trait Chore: std::fmt::Debug + Send + Sync {
    /// Does it. Safe to drop; what the disk does not take is tried again at the next sending.
    fn refresh(&self) -> BoxFuture<'_, ()>;
}

/// After how long all series are sent again: Prometheus takes a pushed series for gone after five minutes.
const REPEAT: Duration = Duration::from_secs(60);

/// How long an unasked sending may wait for its share of the byte budget; the next one is not far.
const PATIENCE: Duration = Duration::from_secs(1);

/// A scrape needs the points a little before it gives up: a tenth of what it waits, at most this.
const HAND_OUT: Duration = Duration::from_millis(500);

impl Emission {
    /// Emits the series of `ledger` as the source `receiver`, what has changed at least `every` so often.
    pub(crate) fn new(receiver: &str, ledger: Ledger, ways: Ways, every: Duration) -> Self {
        let sender = Sender::new(SourceId(receiver.into()), ways);
        Self { ledger, sender, every, shown: 0, live: None, whole: None, chore: None }
    }

    /// Emits these counters as well.
    #[cfg(feature = "webhook")]
    pub(crate) fn with_live(self, live: Live) -> Self {
        Self { live: Some((live, 0)), ..self }
    }

    /// Has this done before each sending.
    #[cfg(feature = "breaker")]
    pub(crate) fn after(self, chore: Option<Arc<dyn Chore>>) -> Self {
        Self { chore, ..self }
    }

    /// Answers scrapes, and sends changes unasked, for ever. Safe to drop: what was under way is sent again.
    pub(crate) async fn run(&mut self, mut desk: Option<CollectionDesk>) {
        let mut due = self.sender.ways.clock.now();
        loop {
            let wait = due.saturating_duration_since(self.sender.ways.clock.now());
            let demands = tokio::select! {
                demands = demanded(&mut desk) => demands,
                () = self.sender.ways.clock.sleep(wait) => {
                    self.flush().await;
                    due = self.sender.ways.clock.now() + self.every;
                    continue;
                }
            };
            if demands.is_empty() {
                // Nobody can ask any more; such a desk would answer at once for ever.
                desk = None;
            } else {
                self.meet(demands, desk.as_ref()).await;
            }
        }
    }

    /// Sends what has changed, and all there is when that is due.
    pub(crate) async fn flush(&mut self) {
        let deadline = self.sender.ways.clock.now() + PATIENCE;
        self.send(deadline).await;
    }

    async fn meet(&mut self, demands: Vec<Demand>, desk: Option<&CollectionDesk>) {
        let now = self.sender.ways.clock.now();
        // The most patient one sets the deadline: the others have given up by then and lose nothing.
        let patience = demands.iter().map(|demand| demand.remaining(now)).max().unwrap_or_default();
        // Dropping a demand says that nothing was read: the scrape shows what it has.
        let Some(collected) = self.send(now + (patience - (patience / 10).min(HAND_OUT))).await else { return };
        if let Some(desk) = desk {
            desk.first_round_done(vec![collected.clone()]);
        }
        demands.into_iter().for_each(|demand| demand.answer(vec![collected.clone()]));
    }

    /// Brings the destinations up to the ledger's last commit, and says which collection did.
    async fn send(&mut self, deadline: Instant) -> Option<Collected> {
        if let Some(chore) = &self.chore {
            // Old values are better than none.
            tokio::time::timeout(PATIENCE, chore.refresh()).await.ok();
        }
        let (now, ports) = (self.sender.ways.clock.now(), self.sender.ways.outlet.ports());
        let snapshot = self.ledger.snapshot();
        let whole = match &self.whole {
            Some((known, at)) => !Arc::ptr_eq(known, &ports) || now.duration_since(*at) >= REPEAT,
            None => true,
        };
        let total = self.live.as_ref().map_or(0, |(live, _)| live.total());
        let moved = self.live.as_ref().is_some_and(|(_, shown)| *shown != total);
        if !whole && !moved && snapshot.commit() == self.shown {
            return Some(self.sender.last());
        }
        let since = if whole { 0 } else { self.shown };
        let time = self.sender.ways.clock.wall();
        let live = self.live.as_ref().filter(|_| whole || moved);
        let live = live.map(|(live, _)| live.page(&self.sender.ways.table, time));
        let pages = snapshot.points_since(since, time, pages::POINTS).chain(live);
        let sent = self.sender.send(pages, deadline).await;
        if let Err(refusal) = sent {
            tracing::debug!(source = %self.sender.source(), why = %refusal, "points wait for their share of the byte budget");
            return None;
        }
        self.shown = snapshot.commit();
        if let Some((_, shown)) = &mut self.live {
            *shown = total;
        }
        if whole {
            self.whole = Some((ports, now));
        }
        Some(self.sender.last())
    }
}

/// The next demands; never comes when there is no desk. Safe to drop.
async fn demanded(desk: &mut Option<CollectionDesk>) -> Vec<Demand> {
    match desk {
        Some(desk) => desk.demanded().await,
        None => std::future::pending().await,
    }
}

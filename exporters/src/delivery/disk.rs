//! A queue on disk between a batch and its delivery: what is answered for is synced, and is sent until somebody takes it.
//!
//! Batches are stored by [`DiskQueue::keep`]. Each partition of the spool has a courier: it takes parcels out in their order and
//! tries one until it is taken, or will never be, which makes it a dead letter. Couriers take turns at the destination, first come, first
//! served, so a partition gets a try for each one of every other; a parcel that waits for its next try takes no turn, so a tenant whose
//! data is refused holds back nobody else.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::Signal;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pipeline::drive::ExportCounts;
use pipeline::spool::{self, Partition, Sieve, Spool, SpoolOptions, Stored};
use pipeline::{BoxFuture, BuildContext, Clock, Fault, Health, Meters, Refusal, Stop, Withdrawal};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;
use tower::retry::Policy as _;

use super::{Delivery, DeliverySettings, Parcel, short};

/// One exporter's queue on disk.
pub(crate) struct DiskQueue {
    folder: PathBuf,
    options: SpoolOptions,
    /// Parcels that one courier has on their way.
    at_once: usize,
    delivery: Delivery,
    /// Turns at the destination.
    turns: Semaphore,
    counts: ExportCounts,
    dress: Box<dyn Dress>,
    fold: Option<Arc<dyn Fold>>,
    /// None before it is opened and after it is closed.
    spool: watch::Sender<Option<Arc<Spool>>>,
    clock: Clock,
    meters: Meters,
    health: Health,
    name: String,
}

/// Makes what goes on the wire from what was stored.
pub(crate) trait Dress: Send + Sync {
    /// The body of a request.
    ///
    /// # Errors
    /// Why there will never be one.
    fn dress(&self, stored: &Stored) -> BoxFuture<'static, Result<Dressed, String>>;
}

/// The body of a request, and how it is compressed.
pub(crate) type Dressed = (bytes::Bytes, spool::Encoding);

/// Leaves out of what waits what newer batches have made needless.
pub(crate) trait Fold: Send + Sync {
    /// One request from several that follow each other, where that saves something.
    fn join(&self, run: &[Stored]) -> Option<Bundle>;

    /// For one fold of what waits on disk.
    fn sieve(self: Arc<Self>) -> Box<dyn Sieve>;
}

/// What is sent as one: a parcel as it was stored, or one that stands for several.
pub(crate) struct Bundle {
    pub(crate) stored: Stored,
    /// The numbers of those that it stands for.
    pub(crate) seqs: Vec<u64>,
    /// Items that were left out.
    pub(crate) folded: u64,
}

/// A batch, or a part of one, as it is stored.
pub(crate) struct Packed {
    /// Of its partition.
    pub(crate) key: String,
    pub(crate) parcel: spool::Parcel,
}

/// How a parcel ended.
enum End {
    /// It is where it was to go, but for so many items.
    Taken(u64),
    /// It will never be taken.
    Refused(String),
    /// The agent stops: it stays where it is.
    Stopped,
}

/// How many bytes a courier takes out at once: enough for many small batches, little enough for many couriers.
const AHEAD: usize = 256 << 10;
/// The same where what waits is folded: the more is seen at once, the more falls away.
const AHEAD_TO_FOLD: usize = 1 << 20;
/// How often it is looked whether so much waits that a fold pays.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// After how long a disk that broke a fold off is given the next one.
const FOLD_AGAIN: Duration = Duration::from_secs(10);
/// How long what waits may still be sent when the agent stops, while it is taken; the rest is on disk.
const FLUSH: Duration = Duration::from_secs(2);
/// After how long a disk that does not give a parcel is asked again, and how often before the file is left behind.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READS: u32 = 5;

impl DiskQueue {
    pub(crate) fn new(
        folder: PathBuf,
        settings: &DeliverySettings,
        options: SpoolOptions,
        delivery: Delivery,
        dress: Box<dyn Dress>,
        fold: Option<Arc<dyn Fold>>,
        context: &BuildContext,
    ) -> Self {
        let name = context.id.to_string();
        Self {
            folder,
            options,
            at_once: settings.queue.consumers_per_partition.unwrap_or(1),
            delivery,
            turns: Semaphore::new(settings.queue.num_consumers),
            counts: ExportCounts::new(&context.meters, &name),
            dress,
            fold,
            spool: watch::Sender::new(None),
            clock: context.clock.clone(),
            meters: context.meters.clone(),
            health: context.health.clone(),
            name,
        }
    }

    /// Stores the parts of a batch. `Ok` when all of them are on disk and synced. Safe to drop.
    ///
    /// # Errors
    /// When one of them is not: then the others may be sent all the same.
    pub(crate) async fn keep(&self, parts: Vec<Packed>) -> Result<(), Refusal> {
        let mut opened = self.spool.subscribe();
        let spool = match opened.wait_for(Option::is_some).await {
            Ok(spool) => spool.clone().expect("it was waited for"),
            Err(_) => return Err(Refusal::Retry { after: None, why: "the exporter has ended".to_owned() }),
        };
        let storing = parts.into_iter().map(|Packed { key, parcel }| {
            let spool = &spool;
            async move { spool.store(&key, parcel).await }
        });
        futures_util::future::join_all(storing).await.into_iter().collect()
    }

    /// Opens the queue and delivers what is in it until asked to stop; then for as long as the destination takes it at once.
    ///
    /// # Errors
    /// When the queue's folder cannot be used.
    pub(crate) async fn run(&self, mut stop: Stop) -> Result<(), Fault> {
        let spool = Arc::new(self.open().await?);
        self.spool.send_replace(Some(spool.clone()));
        let (hurry, _) = watch::channel(false);
        let (mut couriers, mut known) = (FuturesUnordered::new(), Vec::new());
        let tending = spool.tend();
        tokio::pin!(tending);
        let folding = self.folding(&spool);
        tokio::pin!(folding);
        loop {
            for partition in spool.partitions() {
                if !known.iter().any(|other| Arc::ptr_eq(other, &partition)) {
                    known.push(partition.clone());
                    couriers.push(self.courier(spool.clone(), partition, hurry.subscribe()));
                }
            }
            // All arms are safe to drop.
            tokio::select! {
                () = stop.requested() => break,
                () = spool.opening() => {}
                Some(()) = couriers.next(), if !couriers.is_empty() => known.retain(|partition| !partition.is_gone()),
                () = &mut tending => {}
                () = &mut folding => {}
            }
        }
        hurry.send_replace(true);
        let flushing = async { while couriers.next().await.is_some() {} };
        tokio::time::timeout(FLUSH, flushing).await.ok();
        drop(couriers);
        self.spool.send_replace(None);
        spool.close().await;
        let kept: u64 = known.iter().map(|partition| partition.fill().items).sum();
        if kept > 0 {
            tracing::info!(
                items = kept,
                "the sending queue keeps what is not delivered; it is sent after the next start"
            );
        }
        Ok(())
    }

    async fn open(&self) -> Result<Spool, Fault> {
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let (clock, meters, health, name) =
            (self.clock.clone(), self.meters.clone(), self.health.clone(), self.name.clone());
        let opening =
            tokio::task::spawn_blocking(move || Spool::open(&folder, options, &clock, &meters, &health, &name));
        opening.await.map_err(|error| Fault::new("opening the queue broke off").caused_by(error))?
    }

    /// Delivers one partition, until it is gone, or the agent stops and the destination takes no more.
    fn courier<'q>(
        &'q self,
        spool: Arc<Spool>,
        partition: Arc<Partition>,
        mut hurry: watch::Receiver<bool>,
    ) -> BoxFuture<'q, ()> {
        Box::pin(async move {
            let (mut in_hand, mut ahead) = (FuturesUnordered::new(), VecDeque::new());
            let mut stopped = false;
            loop {
                while !stopped && in_hand.len() < self.at_once {
                    if ahead.is_empty() {
                        ahead.extend(self.take(&partition).await);
                    }
                    let Some(bundle) = ahead.pop_front() else { break };
                    in_hand.push(self.send(&spool, &partition, bundle, hurry.clone()));
                }
                let may_end = *hurry.borrow() || partition.is_gone();
                if in_hand.is_empty() && (stopped || may_end) {
                    return;
                }
                tokio::select! {
                    Some(sent) = in_hand.next(), if !in_hand.is_empty() => stopped |= !sent,
                    () = partition.arrival(), if !stopped && ahead.is_empty() && in_hand.len() < self.at_once => {}
                    Ok(()) = hurry.changed() => {}
                }
            }
        })
    }

    /// The next parcels. A disk that does not give them is asked again, and in the end left alone with what it has.
    async fn take(&self, partition: &Arc<Partition>) -> Vec<Bundle> {
        let ahead = if self.fold.is_some() { AHEAD_TO_FOLD } else { AHEAD };
        for _ in 0..READS {
            match partition.take(ahead).await {
                Ok(taken) => return self.bundle(taken).await,
                Err(error) => {
                    tracing::error!(%error, "cannot read the sending queue");
                    self.clock.sleep(READ_AGAIN).await;
                }
            }
        }
        partition.give_up_segment();
        Vec::new()
    }

    /// Folds what follows each other, if that is wanted, where it may take its time.
    async fn bundle(&self, taken: Vec<Stored>) -> Vec<Bundle> {
        match &self.fold {
            Some(fold) if taken.len() > 1 => {
                let (fold, all) = (fold.clone(), taken.clone());
                let folding = tokio::task::spawn_blocking(move || fold_runs(&*fold, &all));
                // A fold that broke off has changed nothing.
                folding.await.unwrap_or_else(|_| taken.into_iter().map(Bundle::one).collect())
            }
            _ => taken.into_iter().map(Bundle::one).collect(),
        }
    }

    /// Folds what waits on disk, whenever that pays. Runs until it is dropped, at any await.
    async fn folding(&self, spool: &Spool) {
        let Some(fold) = &self.fold else { return std::future::pending().await };
        loop {
            self.clock.sleep(FOLD_EVERY).await;
            for partition in spool.partitions().into_iter().filter(|partition| partition.is_ripe()) {
                if let Err(error) = partition.fold(fold.clone().sieve()).await {
                    tracing::warn!(%error, "cannot fold the sending queue: what waits stays as it is");
                    self.clock.sleep(FOLD_AGAIN).await;
                }
            }
        }
    }

    /// Sends one parcel, however long that takes. False when it was not: the agent stops.
    async fn send(&self, spool: &Spool, partition: &Partition, bundle: Bundle, hurry: watch::Receiver<bool>) -> bool {
        let Bundle { stored, seqs, folded } = bundle;
        let (signal, items) = (stored.signal, stored.items);
        let end = match self.dress.dress(&stored).await {
            Ok((body, encoding)) => {
                // Its sender was answered when it was on disk.
                let withdrawal = Withdrawal::default();
                let parcel = Parcel { signal, body, encoding, items, began: self.clock.now(), withdrawal };
                self.delivery.deliver_kept(parcel, &self.turns, hurry).await
            }
            Err(why) => self.delivery.never(why, items),
        };
        match end {
            End::Taken(rejected) => self.counts.count(signal, items, rejected),
            End::Refused(why) => {
                spool.bury(stored, &why).await;
                self.counts.count(signal, items, items);
            }
            End::Stopped => return false,
        }
        spool.count_folded(folded);
        seqs.into_iter().for_each(|seq| partition.done(seq));
        true
    }
}

impl Bundle {
    fn one(stored: Stored) -> Self {
        Self { seqs: vec![stored.seq], folded: 0, stored }
    }
}

/// Metrics that follow each other become one request each run.
fn fold_runs(fold: &dyn Fold, all: &[Stored]) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    for run in all.chunk_by(|one, two| one.signal == two.signal) {
        let folded = (run.len() > 1 && run[0].signal == Signal::Metrics).then(|| fold.join(run)).flatten();
        match folded {
            Some(bundle) => bundles.push(bundle),
            None => bundles.extend(run.iter().cloned().map(Bundle::one)),
        }
    }
    bundles
}

impl Delivery {
    /// Brings a parcel that is on disk to its destination, however many tries and however long that takes. Each try waits for its turn;
    /// the time between tries does not.
    async fn deliver_kept(&self, mut parcel: Parcel, turns: &Semaphore, mut hurry: watch::Receiver<bool>) -> End {
        let items = parcel.items;
        let mut retries = self.retries.clone().without_end();
        loop {
            let Ok(turn) = turns.acquire().await else { return End::Stopped };
            let mut outcome = self.tries.clone().oneshot(parcel.clone()).await;
            drop(turn);
            let waiting = retries.retry(&mut parcel, &mut outcome);
            let miss = match outcome {
                Ok(taken) => return End::Taken(self.told(&taken, items)),
                Err(miss) => miss,
            };
            let Some(waiting) = waiting else { return self.never(miss.to_string(), items) };
            tokio::select! {
                () = waiting => {}
                _ = hurry.wait_for(|hurry| *hurry) => return End::Stopped,
            }
        }
    }

    /// The end of a parcel that will never be taken.
    fn never(&self, why: String, items: u64) -> End {
        if let Some(more) = self.counts.told.dropping() {
            tracing::error!(error = %why, items, unsaid = more, "Exporting failed. The batch becomes a dead letter.");
        }
        End::Refused(short(&why))
    }
}

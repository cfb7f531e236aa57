//! Where a component is sent to: a queue bounded by count and by bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pdata::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::batch::Batch;
use crate::component::Signals;
use crate::meter::Count;
use crate::receipt::Verdict;

/// The reading end. Owned by one worker; when all ports are gone and the queue is empty, it ends.
#[derive(Debug)]
pub struct Inbox {
    queue: mpsc::Receiver<Queued>,
}

/// A sending end, with what to do when the inbox is full.
#[derive(Clone, Debug)]
pub struct Port {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    seats: Arc<Semaphore>,
    places: Arc<Semaphore>,
    gauge: Arc<Gauge>,
    limits: InboxLimits,
    signals: Signals,
    policy: PortPolicy,
    dropped: Count,
}

/// What a port does when its inbox is full, and whether its outcome counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortPolicy {
    /// Wait; the outcome counts (the default).
    #[default]
    Block,
    /// Drop the newest and count it; what is dropped counts as lost.
    DropNewest,
    /// Drop the newest and count it; the outcome never counts: this destination can neither hold back nor fail the others.
    BestEffort,
}

/// Bounds of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// Batches that may wait. Default 64: enough to ride over one slow call, little enough that back-pressure is felt in time.
    pub batches: usize,
    /// Bytes that may wait. Default 64 MiB. One larger batch is let in when nothing else waits.
    pub bytes: usize,
    /// Points or records that may wait. Unbounded by default: the other two hold. One larger batch is let in when nothing else
    /// waits.
    pub items: usize,
}

/// A batch that waits, with what it takes of the bounds.
#[derive(Debug)]
pub(crate) struct Queued {
    batch: Batch,
    room: Room,
}

/// What a batch takes of the bounds until it is taken out.
#[derive(Debug)]
struct Room {
    gauge: Arc<Gauge>,
    items: usize,
    bytes: usize,
    blocks: OwnedSemaphorePermit,
    seats: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// What a batch takes of the bounds: looked up once, since that is a walk over its points.
#[derive(Clone, Copy, Debug)]
struct Size {
    items: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Gauge {
    batches: AtomicUsize,
    items: AtomicUsize,
    bytes: AtomicUsize,
}

/// Bytes are counted in blocks, because a semaphore counts permits in `u32`.
const BLOCK: usize = 1024;

impl Default for InboxLimits {
    fn default() -> Self {
        Self { batches: 64, bytes: 64 << 20, items: usize::MAX }
    }
}

impl Inbox {
    /// An inbox and its first port, which takes all signals and blocks.
    #[must_use]
    pub fn new(limits: InboxLimits) -> (Port, Self) {
        let places = limits.batches.clamp(1, Semaphore::MAX_PERMITS);
        let (send, receive) = mpsc::channel(places);
        let gauge = Arc::new(Gauge::default());
        let port = Port {
            queue: send,
            room: Arc::new(Semaphore::new(blocks(limits.bytes))),
            seats: Arc::new(Semaphore::new(seats(limits.items))),
            places: Arc::new(Semaphore::new(places)),
            gauge,
            limits,
            signals: Signals::ALL,
            policy: PortPolicy::Block,
            dropped: Count::default(),
        };
        (port, Self { queue: receive })
    }

    /// The next batch; none when all ports are gone and the queue is empty. Safe to drop.
    pub async fn next(&mut self) -> Option<Batch> {
        self.queued().await.map(Queued::into_batch)
    }

    /// The same for who lets it wait on, within the inbox's bounds.
    pub(crate) async fn queued(&mut self) -> Option<Queued> {
        self.queue.recv().await
    }

    /// Takes nothing in any more; what waits can still be read.
    pub fn close(&mut self) {
        self.queue.close();
    }
}

impl Queued {
    pub(crate) const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// For changing the promise, not what is carried.
    pub(crate) const fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }

    /// Carries these points instead, which are fewer, and gives back the room that the others took.
    pub(crate) fn shrink(&mut self, metrics: Metrics) {
        self.batch.shrink(metrics);
        self.room.shrink(self.batch.items(), self.batch.heap_bytes());
    }
}

impl Room {
    fn shrink(&mut self, items: usize, bytes: usize) {
        self.gauge.items.fetch_sub(self.items.saturating_sub(items), Ordering::Relaxed);
        self.gauge.bytes.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        (self.items, self.bytes) = (self.items.min(items), self.bytes.min(bytes));
        // What is split off is given back.
        drop(self.blocks.split(self.blocks.num_permits().saturating_sub(blocks(bytes))));
        drop(self.seats.split(self.seats.num_permits().saturating_sub(items)));
    }
}

impl Size {
    fn of(batch: &Batch) -> Self {
        Self { items: batch.items(), bytes: batch.heap_bytes() }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gauge.batches.fetch_sub(1, Ordering::Relaxed);
        self.gauge.items.fetch_sub(self.items, Ordering::Relaxed);
        self.gauge.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Port {
    /// The same inbox for some signals only.
    #[must_use]
    pub fn for_signals(self, signals: Signals) -> Self {
        Self { signals, ..self }
    }

    /// The same inbox with another policy, and the counter of what it drops.
    #[must_use]
    pub fn with_policy(self, policy: PortPolicy, dropped: Count) -> Self {
        Self { policy, dropped, ..self }
    }

    /// What happens when the inbox is full.
    #[must_use]
    pub fn policy(&self) -> PortPolicy {
        self.policy
    }

    /// Whether batches of this kind go through this port.
    #[must_use]
    pub fn takes(&self, signal: Signals) -> bool {
        self.signals.contains(signal)
    }

    /// Batches that wait.
    #[must_use]
    pub fn queued_batches(&self) -> usize {
        self.gauge.batches.load(Ordering::Relaxed)
    }

    /// Points or records that wait.
    #[must_use]
    pub fn queued_items(&self) -> usize {
        self.gauge.items.load(Ordering::Relaxed)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.gauge.bytes.load(Ordering::Relaxed)
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> InboxLimits {
        self.limits
    }

    /// Puts a batch in, waiting or dropping as the policy says. When the reader is gone the batch is dropped, which its receipt
    /// counts as lost.
    pub async fn send(&self, batch: Batch) {
        match self.policy {
            PortPolicy::Block => self.wait_and_put(batch).await,
            PortPolicy::DropNewest | PortPolicy::BestEffort => self.put_or_drop(batch),
        }
    }

    async fn wait_and_put(&self, batch: Batch) {
        // Bytes before items before a place, everywhere: who waits for one holds only what readers give back, so nobody waits
        // for ever.
        let size = Size::of(&batch);
        let Ok(blocks) = self.room.clone().acquire_many_owned(self.blocks_of(size)).await else { return };
        let Ok(seats) = self.seats.clone().acquire_many_owned(self.seats_of(size)).await else { return };
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        // A place in the channel is free whenever one of ours is.
        let Ok(channel) = self.queue.reserve().await else { return };
        channel.send(self.enter(batch, size, blocks, seats, place));
    }

    fn put_or_drop(&self, batch: Batch) {
        let size = Size::of(&batch);
        let blocks = self.room.clone().try_acquire_many_owned(self.blocks_of(size)).ok();
        let seats = self.seats.clone().try_acquire_many_owned(self.seats_of(size)).ok();
        let place = self.places.clone().try_acquire_owned().ok();
        match blocks.zip(seats).zip(place.zip(self.queue.try_reserve().ok())) {
            Some(((blocks, seats), (place, channel))) => {
                channel.send(self.enter(batch, size, blocks, seats, place));
            }
            None => {
                self.dropped.add(batch.items() as u64);
                batch.settle(Verdict::Lost);
            }
        }
    }

    fn enter(
        &self,
        batch: Batch,
        Size { items, bytes }: Size,
        blocks: OwnedSemaphorePermit,
        seats: OwnedSemaphorePermit,
        place: OwnedSemaphorePermit,
    ) -> Queued {
        self.gauge.batches.fetch_add(1, Ordering::Relaxed);
        self.gauge.items.fetch_add(items, Ordering::Relaxed);
        self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        Queued { batch, room: Room { gauge: self.gauge.clone(), items, bytes, blocks, seats, _place: place } }
    }

    fn blocks_of(&self, size: Size) -> u32 {
        let wanted = blocks(size.bytes).min(blocks(self.limits.bytes));
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    fn seats_of(&self, size: Size) -> u32 {
        u32::try_from(size.items.min(seats(self.limits.items))).unwrap_or(u32::MAX)
    }
}

fn seats(items: usize) -> usize {
    items.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
}

fn blocks(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Receipt;
    use crate::testing::batch_of;

    const ONE: InboxLimits = InboxLimits { batches: 1, bytes: 1 << 20, items: usize::MAX };

    #[tokio::test]
    async fn a_blocking_port_waits_for_room() {
        let (port, mut inbox) = Inbox::new(ONE);
        port.send(batch_of(1)).await;
        let waiting = tokio::spawn(async move { port.send(batch_of(2)).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(inbox.next().await.unwrap().items(), 1);
        waiting.await.unwrap();
        assert_eq!(inbox.next().await.unwrap().items(), 2);
        assert!(inbox.next().await.is_none(), "the last port is gone");
    }

    #[tokio::test]
    async fn bytes_fill_an_inbox_before_the_count_does() {
        let (port, _inbox) = Inbox::new(InboxLimits { batches: 100, bytes: 2048, ..InboxLimits::default() });
        let dropped = Count::default();
        let port = port.with_policy(PortPolicy::DropNewest, dropped.clone());
        port.send(batch_of(30)).await;
        port.send(batch_of(30)).await;
        assert_eq!((port.queued_batches(), dropped.value()), (1, 30));
    }

    #[tokio::test]
    async fn items_fill_an_inbox_before_the_count_does() {
        let (port, mut inbox) = Inbox::new(InboxLimits { items: 10, ..InboxLimits::default() });
        let dropped = Count::default();
        let port = port.with_policy(PortPolicy::DropNewest, dropped.clone());
        port.send(batch_of(50)).await;
        port.send(batch_of(1)).await;
        assert_eq!((port.queued_items(), dropped.value()), (50, 1), "one larger batch passes alone");
        inbox.next().await.unwrap();
        port.send(batch_of(9)).await;
        port.send(batch_of(2)).await;
        assert_eq!((port.queued_items(), dropped.value()), (9, 3));
    }

    #[tokio::test]
    async fn a_dropping_port_counts_what_it_drops_and_tells_its_maker() {
        let (port, _inbox) = Inbox::new(ONE);
        let dropped = Count::default();
        let port = port.with_policy(PortPolicy::DropNewest, dropped.clone());
        let (receipt, waiter) = Receipt::pair();
        port.send(batch_of(1)).await;
        port.send(batch_of(5).with_receipt(receipt)).await;
        assert_eq!(waiter.verdict().await, Verdict::Lost);
        assert_eq!(dropped.value(), 5);
    }

    #[tokio::test]
    async fn a_batch_sent_to_nobody_is_lost() {
        let (port, inbox) = Inbox::new(ONE);
        drop(inbox);
        let (receipt, waiter) = Receipt::pair();
        port.send(batch_of(1).with_receipt(receipt)).await;
        assert_eq!(waiter.verdict().await, Verdict::Lost);
    }
}

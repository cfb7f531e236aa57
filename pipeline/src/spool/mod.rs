//! Parcels on disk: what an exporter has taken and not yet handed over, in the order it came.
//!
//! A [`Spool`] is a folder of append-only files. [`Spool::store`] answers when the parcel is on disk and synced, many parcels sharing one
//! fsync; a reader takes them out of each [`Partition`] in order and says which are done. A file is deleted when all in it is
//! done. How far that is stands in a file that is not synced: after a crash some parcels are sent twice, never none.
//!
//! Its own log and not SQLite, because the promise is smaller than a database's (append, read in order, delete from the front) and group
//! commit of bare appends measured 2 to 18 times ahead of it; [`crate::state`] is for what must change together.
//!
//! What goes wrong stays where it is: damage costs the parcel that it hits, a file of which an fsync failed is never written again,
//! a disk that takes nothing turns readiness off and makes senders wait or hear no until it takes something again.
//!
//! `docs/state.md` says what is promised to users.

mod commit;
mod fold;
mod folder;
mod frame;
mod offline;
mod partition;
mod room;
mod scan;
mod telemetry;
mod tend;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use config::Signal;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::fault::{Fault, Refusal};
use crate::health::Health;
use crate::meter::Meters;
use commit::Job;
pub use fold::{Sieve, Sifted};
use folder::{DEAD, Folder, MAIN};
pub use frame::Encoding;
pub use offline::{Findings, Holding, Kind, Listed, Offline};
pub use partition::{Fill, Partition, Stored};
use room::Room;
use scan::Look;
use telemetry::Telemetry;

/// Parcels on disk. Closed by [`close`](Self::close), or when it is dropped.
#[derive(Debug)]
pub struct Spool(Arc<Shared>);

/// A parcel that is to be stored.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it carries.
    pub signal: Signal,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// Points or records in it.
    pub items: u64,
    /// When it was first stored, in nanoseconds since 1970; 0 for now.
    pub time: u64,
    /// Words that stay with it: why it is a dead letter. At most 64 KiB.
    pub note: String,
    /// The body; at most 64 MiB.
    pub body: Bytes,
}

/// Bounds of a spool, and what happens at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Bytes on disk at most, dead letters not counted. One larger parcel is let in when nothing else waits.
    pub max_bytes: u64,
    /// The same for one partition.
    pub partition_bytes: u64,
    /// Partitions at most, besides the common one; who comes later shares that.
    pub max_partitions: usize,
    /// Bytes of dead letters at most; the oldest go. 0 keeps none.
    pub dead_bytes: u64,
    /// What happens to a parcel that finds no room, or a disk that takes nothing.
    pub when_full: WhenFull,
    /// Whether what waits will be [folded](Partition::fold): then files are small.
    pub fold: bool,
}

/// What happens to a parcel that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Its sender waits, in order.
    Wait,
    /// It is refused, and its sender told.
    Refuse,
}

/// What all parts of a spool share.
#[derive(Debug)]
struct Shared {
    folder: Folder,
    options: SpoolOptions,
    clock: Clock,
    health: Health,
    name: String,
    telemetry: Telemetry,
    /// The number of the next parcel.
    seq: AtomicU64,
    /// Bytes of all partitions but the dead letters', and what is reserved.
    used: AtomicU64,
    partitions: RwLock<Partitions>,
    /// Parcels whose key found no partition of its own may wait in the common one: until it is empty no key gets a new partition, because
    /// its later parcels would overtake those.
    mixed: AtomicBool,
    pending: Mutex<Pending>,
    /// There is room again, or a disk.
    room: Notify,
    /// There is a new partition.
    opened: Notify,
    /// The committer has ended.
    rested: Notify,
    /// Held by the fold that runs.
    folding: Arc<tokio::sync::Mutex<()>>,
    /// Folds are to end.
    closing: AtomicBool,
    /// Since when the disk takes nothing, and how much it was to take.
    ailing: Mutex<Option<Ailing>>,
    /// Released by the system when the process ends, however it ends.
    lock: Mutex<Option<File>>,
}

#[derive(Debug, Default)]
struct Partitions {
    /// By prefix.
    live: BTreeMap<String, Arc<Partition>>,
    dead: Option<Arc<Partition>>,
}

/// What the committer is to do.
#[derive(Debug, Default)]
struct Pending {
    jobs: VecDeque<Job>,
    /// Partitions of which something is to be deleted or written down.
    chores: Vec<Arc<Partition>>,
    running: bool,
    /// Since when it is at a group.
    began: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ailing {
    bytes: usize,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            max_bytes: 512 << 20,
            partition_bytes: 512 << 20,
            max_partitions: 0,
            dead_bytes: 64 << 20,
            when_full: WhenFull::Refuse,
            fold: false,
        }
    }
}

impl Spool {
    /// Opens the spool in a folder, which is made if need be. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it. What is damaged in it is no error.
    pub fn open(
        path: &Path,
        options: SpoolOptions,
        clock: &Clock,
        meters: &Meters,
        health: &Health,
        name: &str,
    ) -> Result<Self, Fault> {
        let folder = Folder::make(path)?;
        let lock = folder.lock()?;
        let fault =
            |error: io::Error| Fault::new(format!("cannot read the queue in {}", path.display())).caused_by(error);
        folder.drop_folds().map_err(fault)?;
        let mut wrong = Vec::new();
        let found = scan::scan(&folder, Look::Quick, &mut wrong).map_err(fault)?;
        let last = found.values().map(|found| found.highest).max().unwrap_or(0);
        let last = last.max(folder.last_position().map_err(fault)?);
        let telemetry = Telemetry::new(meters, name);
        telemetry.capacity.set(i64::try_from(options.max_bytes).unwrap_or(i64::MAX));
        let shared = Arc::new(Shared {
            folder,
            options,
            clock: clock.clone(),
            health: health.clone(),
            name: name.to_owned(),
            telemetry,
            seq: AtomicU64::new(last + 1),
            used: AtomicU64::new(0),
            partitions: RwLock::default(),
            mixed: AtomicBool::new(false),
            pending: Mutex::default(),
            room: Notify::new(),
            opened: Notify::new(),
            rested: Notify::new(),
            folding: Arc::default(),
            closing: AtomicBool::new(false),
            ailing: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        shared.take_in(found, &wrong);
        Ok(Self(shared))
    }

    /// Stores a parcel in the partition of `key` (empty for the common one). `Ok` after it is on disk and synced. Safe to drop: it may
    /// be stored all the same.
    ///
    /// # Errors
    /// When there is no room, or the disk does not take it: later it may. With [`WhenFull::Wait`] only when the spool is closed.
    pub async fn store(&self, key: &str, parcel: Parcel) -> Result<(), Refusal> {
        self.0.store(key, parcel).await
    }

    /// Keeps a parcel that the destination will never take, or counts it as dropped where no dead letters are kept or the disk does
    /// not take it.
    pub async fn bury(&self, stored: Stored, why: &str) {
        self.0.bury(stored, why).await;
    }

    /// The partitions there are.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.0.live().live.values().cloned().collect()
    }

    /// Ends when there may be a new partition. Safe to drop.
    pub async fn opening(&self) {
        self.0.opened.notified().await;
    }

    /// Counts items that a fold made needless.
    pub fn count_folded(&self, items: u64) {
        self.0.telemetry.folded.add(items);
    }

    /// Stores nothing more, waits for what is being written, and keeps the positions.
    pub async fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        let _no_fold = self.0.folding.lock().await;
        let partitions = self.partitions();
        for partition in partitions {
            self.0.chores(&partition);
        }
        loop {
            let rested = self.0.rested.notified();
            if !self.0.pending().running {
                break;
            }
            rested.await;
        }
        self.0.report();
        self.0.health.well(&self.0.name);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Partitions hold what they share; this lets both go.
        let mut partitions = self.0.partitions.write().unwrap_or_else(PoisonError::into_inner);
        *partitions = Partitions::default();
        self.0.closing.store(true, Ordering::Relaxed);
        // While something is written nobody else may come in: then the lock goes with the committer, or the fold.
        if !self.0.pending().running && self.0.folding.try_lock().is_ok() {
            *self.0.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Shared {
    fn limit_of(&self, prefix: &str) -> u64 {
        if prefix == MAIN && self.options.max_partitions == 0 {
            self.options.max_bytes
        } else {
            self.options.partition_bytes.min(self.options.max_bytes)
        }
    }

    async fn store(self: &Arc<Self>, key: &str, parcel: Parcel) -> Result<(), Refusal> {
        let mut waited = false;
        loop {
            let partition = self.partition_of(key);
            if !self.take_room(&partition, parcel.frame(), &mut waited).await? {
                continue;
            }
            let Err(why) = self.commit_one(&partition, parcel.clone()).await else { return Ok(()) };
            if self.options.when_full == WhenFull::Refuse {
                self.telemetry.refused.add(1);
                return Err(Refusal::Retry { after: None, why });
            }
            waited = true;
        }
    }

    /// Takes room for a frame, waiting for it where senders wait. False when the partition is gone meanwhile.
    async fn take_room(&self, partition: &Partition, bytes: u64, waited: &mut bool) -> Result<bool, Refusal> {
        // Whoever waits keeps his turn, so that the order stays.
        let _turn = partition.turn.lock().await;
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            // From here on no call is missed.
            freed.as_mut().enable();
            let ailing = self.ailing().is_some();
            let why = match partition.reserve(bytes) {
                Room::Gone => return Ok(false),
                Room::Taken if !ailing => return Ok(true),
                Room::Taken => {
                    partition.release(bytes);
                    "the disk of the sending queue takes nothing"
                }
                Room::Full => "sending queue is full",
            };
            if self.options.when_full == WhenFull::Refuse {
                self.telemetry.refused.add(1);
                return Err(Refusal::Retry { after: None, why: why.to_owned() });
            }
            if !std::mem::replace(waited, true) {
                self.telemetry.waited.add(1);
            }
            freed.await;
        }
    }

    async fn commit_one(self: &Arc<Self>, partition: &Arc<Partition>, parcel: Parcel) -> Result<(), String> {
        let (answer, wait) = oneshot::channel();
        self.pending().jobs.push_back(Job { partition: partition.clone(), parcel, answer });
        self.kick();
        wait.await.unwrap_or_else(|_| Err("the sending queue was closed".to_owned()))
    }

    async fn bury(self: &Arc<Self>, stored: Stored, why: &str) {
        let Stored { time, signal, encoding, items, body, .. } = stored;
        if self.options.dead_bytes > 0 && self.ailing().is_none() {
            let parcel = Parcel { signal, encoding, items, time, note: why.to_owned(), body };
            let dead = self.dead();
            let bytes = parcel.frame();
            if matches!(dead.reserve_always(bytes), Room::Taken) && self.commit_one(&dead, parcel).await.is_ok() {
                self.telemetry.dead_items.add(items);
                return;
            }
        }
        self.telemetry.dead_dropped.add(items);
    }

    fn dead(self: &Arc<Self>) -> Arc<Partition> {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let limit = self.options.dead_bytes;
            Arc::new(Partition::new(self.clone(), DEAD.to_owned(), String::new(), limit, Vec::new(), 0))
        };
        partitions.dead.get_or_insert_with(make).clone()
    }

    fn partition_of(self: &Arc<Self>, key: &str) -> Arc<Partition> {
        let key = cut(key);
        let mut prefix = prefix_of(key);
        if let Some(known) = self.live().live.get(&prefix) {
            return known.clone();
        }
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let mut key = key.to_owned();
        let others = partitions.live.keys().filter(|known| *known != MAIN).count();
        let mixed = self.mixed.load(Ordering::Relaxed);
        if prefix != MAIN && (mixed || others >= self.options.max_partitions) {
            if self.options.max_partitions > 0 {
                self.telemetry.crowded.add(1);
                self.mixed.store(true, Ordering::Relaxed);
            }
            (prefix, key) = (MAIN.to_owned(), String::new());
        }
        let make = || {
            let limit = self.limit_of(&prefix);
            Arc::new(Partition::new(self.clone(), prefix.clone(), key, limit, Vec::new(), 0))
        };
        let partition = partitions.live.entry(prefix.clone()).or_insert_with(make).clone();
        drop(partitions);
        self.opened.notify_one();
        partition
    }

    /// Has the committer look after a partition.
    fn chores(self: &Arc<Self>, partition: &Partition) {
        let known = self.live().live.get(&partition.prefix).cloned();
        let Some(partition) = known else { return };
        let mut pending = self.pending();
        if !pending.chores.iter().any(|known| Arc::ptr_eq(known, &partition)) {
            pending.chores.push(partition);
        }
        drop(pending);
        self.kick();
    }

    fn kick(self: &Arc<Self>) {
        if std::mem::replace(&mut self.pending().running, true) {
            return;
        }
        let shared = self.clone();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || shared.work())),
            Err(_) => shared.work(),
        }
    }

    /// The first of so many numbers.
    fn next_seq(&self, count: usize) -> u64 {
        self.seq.fetch_add(count as u64, Ordering::Relaxed)
    }

    fn reserve(&self, bytes: u64, alone: bool) -> bool {
        let most = self.options.max_bytes;
        let fits = |used: u64| (alone || used + bytes <= most).then_some(used + bytes);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn grow(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_waiters();
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ailing(&self) -> MutexGuard<'_, Option<Ailing>> {
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> std::sync::RwLockReadGuard<'_, Partitions> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key that fits into a segment's header.
fn cut(key: &str) -> &str {
    let mut end = key.len().min(frame::KEY_MAX);
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    &key[..end]
}

/// What the files of a key's partition begin with: keys come from the data and must not make names.
fn prefix_of(key: &str) -> String {
    if key.is_empty() {
        return MAIN.to_owned();
    }
    Sha256::digest(key.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

//! The ledger as receivers see it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use pdata::{Identity, Metric, Seed, SeriesTable, UnixNanos};
use smallvec::SmallVec;
use tokio::sync::{oneshot, watch};

use super::books::Books;
use super::commit::{CURSORS_MAX, Committer};
use super::entry::{Cursor, Entry, EventId, Place, Tracked};
use super::error::Trouble;
use super::files::Folder;
use super::held::{Class, Standing};
use super::ids::Ids;
use super::image::{Image, SharedImage, Snapshot};
use super::load::{self, Beside, Loaded};
use super::memory::{self, Memory};
use super::queue::{NotInLine, Queue, Reading};
use super::salvage::{self, Known};
use super::store::Store;
use super::submitting::{Submitting, closed};
use super::telemetry::Telemetry;
use super::window::{Window, WindowLimits};
use super::worker::{self, Worker};
use crate::clock::Clock;
use crate::fault::{Fault, Refusal};
use crate::health::Health;
use crate::meter::Meters;

/// Counts events exactly once, on disk or for the life of the process. Clones are the same ledger; the last one closes it.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

/// How a ledger is kept.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// What an answer promises. Default [`Durability::Full`].
    pub durability: Durability,
    /// How long ids are remembered. Default 96 h, above the longest schedule of retries known (75.6 h).
    pub window: Duration,
    /// Bytes that remembered ids may take, some 36 each on disk and up to 58 in memory; past it the window shortens. Default 256
    /// MiB: seven million ids, or four and a half.
    pub max_bytes: u64,
    /// New ids that are held in memory (some 50 bytes each), until they are put in order on disk. Default 32,768.
    pub young_ids: usize,
    /// Series at most; past it sums and histograms count into one overflow series per metric, gauges nowhere. Default 100,000.
    pub max_series: usize,
    /// Entries that one commit may hold. Default 1,024.
    pub group_entries: usize,
    /// Bytes that the entries of one commit may hold. Default 4 MiB.
    pub group_bytes: usize,
    /// Bytes of entries that may wait for their commit; who comes later waits outside. Default 16 MiB.
    pub queue_bytes: usize,
}

/// What an answered entry can survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Everything that the disk survives: each commit is an fsync.
    #[default]
    Full,
    /// The end of the process, not of the machine: a power failure may take the last seconds. Logged at start, and shown as
    /// `weir_ledger_durability_relaxed`.
    Relaxed,
    /// Nothing, for a ledger [in memory](Ledger::in_memory). Logged and shown likewise, as 2.
    Memory,
}

/// Whether the ledger takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Ready,
    /// The disk does not let it. It tries again by itself, five times a second.
    NotReady {
        /// What the disk said.
        why: String,
    },
}

#[derive(Debug)]
struct Inner {
    image: SharedImage,
    table: Arc<SeriesTable>,
    seed: Seed,
    keeping: Keeping,
}

/// Who keeps what was counted.
#[derive(Debug)]
enum Keeping {
    /// The committer's thread, on disk.
    Disk { queue: Arc<Queue>, state: watch::Receiver<State>, thread: Mutex<Option<JoinHandle<()>>> },
    /// Whoever brings an entry.
    Memory(Box<Mutex<Memory>>),
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            window: Duration::from_secs(96 * 3600),
            max_bytes: 256 << 20,
            young_ids: 32_768,
            max_series: 100_000,
            group_entries: 1024,
            group_bytes: 4 << 20,
            queue_bytes: 16 << 20,
        }
    }
}

impl LedgerOptions {
    pub(super) fn window_limits(&self) -> WindowLimits {
        WindowLimits { length: self.window, max_bytes: self.max_bytes }
    }
}

impl Durability {
    pub(super) fn synchronous(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            // In memory there is no database.
            Self::Relaxed | Self::Memory => "NORMAL",
        }
    }
}

impl Ledger {
    /// Whether another process has the ledger in `folder` open. It may be gone, or there, a moment later.
    #[must_use]
    pub fn is_held(folder: &Path) -> bool {
        Folder::is_held(folder)
    }

    /// Opens the ledger in `folder`, which is made if need be, and reads all its series. `receiver` names it in telemetry. Blocks
    /// for as long as the reading takes: about half a second for a million series.
    ///
    /// While the disk does not take entries, `receiver` is ill in `health`.
    ///
    /// Contents never keep it from opening: damage is put aside, counted, and what is sound is kept.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written, or another process has the ledger open.
    pub fn open(
        folder: &Path,
        receiver: &str,
        options: LedgerOptions,
        clock: &Clock,
        table: &Arc<SeriesTable>,
        meters: &Meters,
        health: &Health,
    ) -> Result<Self, Fault> {
        let telemetry = Telemetry::new(meters, receiver);
        let folder = Folder::lock(folder).map_err(|fault| fault.of(receiver))?;
        let opened = open(&folder, &options, clock, &telemetry);
        let (store, loaded) = opened.map_err(|trouble| {
            Fault::new(format!("cannot open the ledger {}", folder.database().display()))
                .caused_by(trouble)
                .of(receiver)
        })?;
        if options.durability == Durability::Relaxed {
            tracing::warn!(receiver, "durability is relaxed: a power failure may take events that were answered");
            telemetry.relaxed.set(1);
        }
        let (tell, state) = watch::channel(State::Ready);
        let (seed, queue) = (store.key, Arc::new(Queue::new(options.queue_bytes)));
        let image = Arc::new(RwLock::new(loaded.image));
        let ids = Ids::new(loaded.young, options.young_ids, options.max_bytes).beside_tree(&loaded.books);
        let committer = Committer::new(image.clone(), seed, table.clone(), options.max_series, loaded.books, ids);
        let worker = Worker {
            folder,
            options,
            clock: clock.clone(),
            queue: queue.clone(),
            committer,
            doubtful: false,
            store: Some(store),
            state: tell,
            health: health.clone(),
            name: receiver.to_owned(),
            telemetry,
        };
        let thread = spawn(worker)
            .map_err(|error| Fault::new("cannot start the ledger's thread").caused_by(error).of(receiver))?;
        let keeping = Keeping::Disk { queue, state, thread: Mutex::new(Some(thread)) };
        Ok(Self(Arc::new(Inner { image, table: table.clone(), seed, keeping })))
    }

    /// A ledger that stands nowhere but in memory: what it has counted, and which ids it has seen, goes with the process. For who has
    /// no disk; every entry is answered at once.
    #[must_use]
    pub fn in_memory(
        receiver: &str,
        options: &LedgerOptions,
        clock: &Clock,
        table: &Arc<SeriesTable>,
        meters: &Meters,
    ) -> Self {
        let telemetry = Telemetry::new(meters, receiver);
        tracing::warn!(receiver, "the ledger is held in memory: counters and seen ids begin anew at each start");
        telemetry.relaxed.set(2);
        let (seed, image) = (Seed::random(), Arc::new(RwLock::new(Image::default())));
        let window = Window::new(options.window, options.max_bytes, clock.wall()).of_rows(memory::ROW_BYTES);
        let ids = Ids::new(load::Young::default(), options.young_ids, options.max_bytes);
        let committer = Committer::new(image.clone(), seed, table.clone(), options.max_series, Books::new(window), ids);
        let keeping = Keeping::Memory(Box::new(Mutex::new(Memory::new(committer, clock.clone(), telemetry))));
        Self(Arc::new(Inner { image, table: table.clone(), seed, keeping }))
    }

    /// Counts an entry and answers when it is on disk. It is in line when this returns, and not first when the answer is awaited; only
    /// where the queue is full it waits outside. What it changed shows in every [`snapshot`](Self::snapshot) taken after
    /// the answer. Safe to drop: the entry is then counted or not, and a second try with the same id will tell.
    ///
    /// # Errors
    /// [`Refusal::Retry`] when the disk does not take it; nothing of it is shown or will be, unless it was written after all and
    /// then its retry is a duplicate. [`Refusal::Reject`] when no retry helps: an amount that its metric cannot take, or a
    /// cursor under a token that has been overtaken.
    pub fn submit(&self, entry: Entry) -> Submitting {
        if let Err(why) = entry.check() {
            return Submitting::told(Err(Refusal::Reject { why: why.into() }));
        }
        let (queue, state) = match &self.0.keeping {
            Keeping::Disk { queue, state, .. } => (queue, state),
            Keeping::Memory(memory) => return Submitting::told(lock(memory).submit(&entry)),
        };
        if let State::NotReady { why } = &*state.borrow() {
            return Submitting::told(Err(worker::retry(why)));
        }
        match queue.try_push(entry) {
            Ok(answer) => Submitting::in_line(answer),
            Err(NotInLine::Closed) => Submitting::told(Err(closed())),
            Err(NotInLine::Full(entry)) => {
                let queue = queue.clone();
                Submitting::outside(async move {
                    let answer = queue.push(*entry).await.ok_or_else(closed)?;
                    answer.await.unwrap_or_else(|_| Err(closed()))
                })
            }
        }
    }

    /// What an event of `source` is known by. `id` should come from signed bytes.
    #[must_use]
    pub fn event(&self, source: &str, id: &[u8]) -> EventId {
        let mut bytes = SmallVec::<[u8; 256]>::new();
        bytes.extend_from_slice(&(source.len() as u64).to_le_bytes());
        bytes.extend_from_slice(source.as_bytes());
        bytes.extend_from_slice(id);
        EventId(self.0.seed.fingerprint(&bytes))
    }

    /// What ids are hashed with, for who keeps ids of its own in cursors. The same for the life of the ledger.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.0.seed
    }

    /// A series by its identity, for [`Entry::tally`]. Costs a fingerprint; a memo may keep the answer.
    ///
    /// # Errors
    /// When the metric is none that a ledger keeps: cumulative sums, gauges, and cumulative histograms with bounds.
    pub fn track(&self, identity: Identity) -> Result<Tracked, Fault> {
        let Some(class) = Class::of(identity.metric.kind) else {
            let Identity { metric, .. } = identity;
            return Err(Fault::new(format!("a ledger cannot keep {}, which is a {:?}", metric.name, metric.kind)));
        };
        let fingerprint = identity.fingerprint(&self.0.seed);
        let slot = self.0.image.read().unwrap_or_else(PoisonError::into_inner).slot(fingerprint);
        let place = slot.map_or_else(|| Place::New(Arc::new(identity), fingerprint), Place::Slot);
        Ok(Tracked { place, class })
    }

    /// Says how a metric is described by now: a description is no part of a series' identity, so series from disk come back with
    /// the words of their first day. For receivers, once for each configured metric, before the first
    /// [`snapshot`](Self::snapshot) is emitted.
    pub fn describe(&self, metric: &Arc<Metric>) {
        self.0.image.write().unwrap_or_else(PoisonError::into_inner).describe(metric);
    }

    /// Where a series stands, if it has been counted.
    #[must_use]
    pub fn standing(&self, identity: &Identity) -> Option<Standing> {
        let image = self.0.image.read().unwrap_or_else(PoisonError::into_inner);
        image.slot(identity.fingerprint(&self.0.seed)).map(|slot| image.held(slot).standing.clone())
    }

    /// All series as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        if let Keeping::Memory(memory) = &self.0.keeping {
            lock(memory).look();
        }
        self.0.image.read().unwrap_or_else(PoisonError::into_inner).snapshot(&self.0.table)
    }

    /// Whether it takes entries.
    #[must_use]
    pub fn state(&self) -> State {
        let Keeping::Disk { state, .. } = &self.0.keeping else { return State::Ready };
        // The committer drops its end when it ends, in whatever way.
        match state.has_changed() {
            Ok(_) => state.borrow().clone(),
            Err(_) => State::NotReady { why: "the ledger is closed".into() },
        }
    }

    /// How far a source has been read.
    #[must_use]
    pub fn cursor(&self, key: &str) -> Option<Cursor> {
        let image = self.0.image.read().unwrap_or_else(PoisonError::into_inner);
        image.cursors.get(key).map(|(_, cursor)| cursor.clone())
    }

    /// How many more cursors there is room for: 10,000 at most are kept.
    #[must_use]
    pub fn cursors_left(&self) -> usize {
        let image = self.0.image.read().unwrap_or_else(PoisonError::into_inner);
        CURSORS_MAX.saturating_sub(image.cursors.len())
    }

    /// Moves a cursor, durably. To move it together with what was read, put it into that [`Entry`].
    ///
    /// # Errors
    /// As [`submit`](Self::submit): a lower token than the one on disk is rejected.
    pub async fn save(&self, cursor: Cursor) -> Result<(), Refusal> {
        self.submit(Entry::new().with_cursor(cursor)).await.map(|_| ())
    }

    /// Records that wait for export, in order, with their numbers: up to `records` after number `after`, and up to `bytes` (one
    /// record at least). A number stays the same until its record is discharged: a batch of the same numbers is the same batch.
    ///
    /// # Errors
    /// When the disk does not let us read.
    pub async fn spooled(&self, after: u64, records: usize, bytes: usize) -> Result<Vec<(u64, Box<[u8]>)>, Refusal> {
        let queue = match &self.0.keeping {
            Keeping::Disk { queue, .. } => queue,
            Keeping::Memory(memory) => return Ok(lock(memory).spooled(after, records, bytes)),
        };
        let (answer, wait) = oneshot::channel();
        queue.ask(Reading { after, records, bytes, answer });
        match wait.await {
            Ok(Ok(spooled)) => Ok(spooled.records),
            Ok(Err(trouble)) => Err(worker::retry(&trouble.to_string())),
            Err(_) => Err(closed()),
        }
    }

    /// Takes no more entries, commits those that wait, and leaves a tidy database. Blocks until that is done.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        let Keeping::Disk { queue, thread, .. } = &self.keeping else { return };
        queue.close();
        let thread = lock(thread).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the ledger's thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens and reads; what is damaged is rebuilt once, and if even that does not help begun anew.
fn open(
    folder: &Folder,
    options: &LedgerOptions,
    clock: &Clock,
    telemetry: &Telemetry,
) -> Result<(Store, Loaded), Trouble> {
    let (limits, wall) = (options.window_limits(), clock.wall());
    if folder.exchange(wall.0 / 1_000_000_000)? {
        telemetry.quarantined.add(1);
    }
    if folder.seed().is_some() && folder.is_empty() {
        // The seed is written after the database, so there was one.
        tracing::error!(ledger = %folder.database().display(), "the ledger's database is gone; it begins anew");
        telemetry.damaged.add(1);
    }
    let mut attempt = try_open(folder, options, wall);
    for last_resort in [false, true] {
        let Err(trouble) = &attempt else { break };
        if !trouble.is_damage() {
            break;
        }
        tracing::error!(ledger = %folder.database().display(), why = %trouble, "ledger is damaged; it is put aside and what is sound is kept");
        let losses = if last_resort {
            salvage::start_over(folder, limits, wall)?
        } else {
            match salvage::rebuild(folder, &Known::Nothing, limits, wall) {
                Ok((losses, _)) => losses,
                Err(trouble) if trouble.is_damage() => salvage::start_over(folder, limits, wall)?,
                Err(trouble) => return Err(trouble),
            }
        };
        telemetry.quarantined.add(1);
        telemetry.damaged.add(losses.rows);
        attempt = try_open(folder, options, wall);
    }
    let (store, loaded) = attempt?;
    // The database's own name must be durable before anything in it is promised, and before the seed says that it was there.
    folder.sync()?;
    folder.keep_seed(&store.key)?;
    Ok((store, loaded))
}

fn try_open(folder: &Folder, options: &LedgerOptions, wall: UnixNanos) -> Result<(Store, Loaded), Trouble> {
    let (path, limits) = (folder.database(), options.window_limits());
    if salvage::log_is_damaged(&path)? {
        return Err(Trouble::damage("the log is damaged"));
    }
    let seed = folder.seed().unwrap_or_else(Seed::random);
    let store = Store::open(&path, options.durability, &(seed, load::empty(limits, wall)))?;
    let loaded = load::load(&store, limits, Beside::Nobody)?;
    Ok((store, loaded))
}

fn spawn(worker: Worker) -> std::io::Result<JoinHandle<()>> {
    // A stepped clock is read through the runtime that steps it.
    let runtime = tokio::runtime::Handle::try_current().ok();
    std::thread::Builder::new().name("weir-ledger".into()).spawn(move || {
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        worker.run();
    })
}

//! The table of interned series: bounded, with slots that are recycled only when nothing can name them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use crate::attributes::Shape;
use crate::fingerprint::{Fingerprint, Seed};
use crate::series::{Identity, Series, SeriesId};
use crate::sight::Sight;

/// One table serves the whole agent, so that ids mean the same in every component.
///
/// Interning and reading take a lock: they belong to first sights. In the steady state nobody calls the table: memos know
/// what an id means, indexed by [`SeriesId::index`].
///
/// **Recycling.** An epoch passes with every [`sweep`](Self::sweep). A slot that nobody holds and nobody asked for during
/// `idle_epochs` is *retired*; it is freed when no [`Pin`] from before its retirement is left. Whoever asks for a retired
/// series revives it.
pub struct SeriesTable {
    seed: Seed,
    limits: Limits,
    inner: Mutex<Inner>,
}

/// Bounds of a [`SeriesTable`]. Past a bound, identities travel inline: slower, never wrong.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Interned series at most. Default 10 M, about 2.5 GB of ten-label series.
    pub series: usize,
    /// Bytes of interned series at most, slots and index included. Default 2 GiB.
    pub bytes: usize,
    /// Fingerprints that each generation of the second-sight filter remembers. Default 1 M (at most 32 MiB for both).
    pub sights: usize,
    /// Sweeps that an unheld series survives without being asked for. Default 30.
    pub idle_epochs: u32,
}

/// Keeps the slots that a batch names: as long as a pin lives, no slot that was in use when it was taken is recycled.
#[derive(Clone)]
pub struct Pin {
    table: Arc<SeriesTable>,
    _epoch: Arc<Epoch>,
}

/// Figures of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Interned series.
    pub series: usize,
    /// Their bytes, slots and index included.
    pub bytes: usize,
    /// Identities that stayed inline because a bound was met, since start.
    pub refused: u64,
    /// Slots freed since start.
    pub recycled: u64,
}

struct Epoch(u32);

struct Inner {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<u32>,
    shapes: HashTable<Arc<Shape>>,
    /// The shape that came last and the shared one it stands for: rows of a kind come one after another.
    recent_shape: Option<(Arc<Shape>, Arc<Shape>)>,
    sight: Sight,
    /// Epochs that a pin may still hold, oldest first; the last is the current one.
    epochs: VecDeque<Arc<Epoch>>,
    stats: TableStats,
}

struct Slot {
    series: Option<Series>,
    incarnation: u32,
    touched: u32,
    retired: Option<std::num::NonZeroU32>,
}

/// What a slot costs besides its series: the slot and its place in the index at three-quarter load.
const SLOT_BYTES: usize = size_of::<Slot>() + 8;

/// Distinct key lists that are shared; past it a list of keys is kept by its series alone. Real agents see hundreds.
const SHAPES_MAX: usize = 65_536;

impl Default for Limits {
    fn default() -> Self {
        Self { series: 10_000_000, bytes: 2 << 30, sights: 1_000_000, idle_epochs: 30 }
    }
}

impl SeriesTable {
    /// An empty table.
    #[must_use]
    pub fn new(seed: Seed, limits: Limits) -> Arc<Self> {
        let inner = Inner {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            shapes: HashTable::new(),
            recent_shape: None,
            sight: Sight::new(limits.sights),
            epochs: VecDeque::from([Arc::new(Epoch(1))]),
            stats: TableStats::default(),
        };
        Arc::new(Self { seed, limits, inner: Mutex::new(inner) })
    }

    /// A table with a random seed and default bounds.
    #[must_use]
    pub fn with_defaults() -> Arc<Self> {
        Self::new(Seed::random(), Limits::default())
    }

    /// The seed of its fingerprints.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Interns at once: for those who hold the series and will name it again (a receiver's set, a memo of outputs).
    /// Returns an inline series when a bound is met.
    pub fn intern(&self, identity: Identity) -> Series {
        let fingerprint = identity.fingerprint(&self.seed);
        let mut inner = self.lock();
        inner.find(fingerprint).unwrap_or_else(|| inner.insert(identity, fingerprint, &self.limits))
    }

    /// Interns at second sight: for identities that come from outside and may be one-off. The first sight gives an inline
    /// series.
    pub fn sight(&self, identity: Identity) -> Series {
        let fingerprint = identity.fingerprint(&self.seed);
        let mut inner = self.lock();
        if let Some(series) = inner.find(fingerprint) {
            return series;
        }
        if inner.sight.seen(fingerprint) {
            inner.insert(identity, fingerprint, &self.limits)
        } else {
            drop(inner);
            Series::inline(identity, fingerprint)
        }
    }

    /// The series of an id, unless its slot was recycled since. Counts as a use.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Option<Series> {
        let mut inner = self.lock();
        let now = inner.now();
        let slot = inner.slots.get_mut(id.index())?;
        if slot.incarnation != id.incarnation() {
            return None;
        }
        slot.touch(now);
        slot.series.clone()
    }

    /// Pins the current epoch: take one before naming series in a new batch.
    #[must_use]
    pub fn pin(self: &Arc<Self>) -> Pin {
        let epoch = self.lock().epoch().clone();
        Pin { table: self.clone(), _epoch: epoch }
    }

    /// Passes an epoch: retires what is idle, frees what was retired before every living pin. Call it at a steady pace
    /// (the agent: every 10 s).
    pub fn sweep(&self) {
        let mut inner = self.lock();
        let now = inner.now() + 1;
        inner.epochs.push_back(Arc::new(Epoch(now)));
        while inner.epochs.len() > 1 && Arc::strong_count(&inner.epochs[0]) == 1 {
            inner.epochs.pop_front();
        }
        let oldest_pin = inner.epochs[0].0;
        for index in 0..inner.slots.len() {
            inner.sweep_slot(index, now, oldest_pin, self.limits.idle_epochs);
        }
        inner.recent_shape = None;
        inner.shapes.retain(|shape| Arc::strong_count(shape) > 1);
    }

    /// Figures for the agent's own telemetry.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics between two writes that belong together, so a poisoned lock guards sound data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SeriesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesTable").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Pin {
    /// The table whose slots it keeps.
    #[must_use]
    pub fn table(&self) -> &Arc<SeriesTable> {
        &self.table
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({})", self._epoch.0)
    }
}

impl Inner {
    fn epoch(&self) -> &Arc<Epoch> {
        self.epochs.back().expect("there is always a current epoch")
    }

    fn now(&self) -> u32 {
        self.epoch().0
    }

    fn find(&mut self, fingerprint: Fingerprint) -> Option<Series> {
        let now = self.now();
        let slots = &mut self.slots;
        let found = self.index.find(fingerprint.low(), |index| slots[*index as usize].is(fingerprint))?;
        let slot = &mut slots[*found as usize];
        slot.touch(now);
        slot.series.clone()
    }

    fn insert(&mut self, identity: Identity, fingerprint: Fingerprint, limits: &Limits) -> Series {
        if self.stats.series >= limits.series || self.stats.bytes >= limits.bytes {
            self.stats.refused += 1;
            return Series::inline(identity, fingerprint);
        }
        let identity = Identity { attributes: self.share_shape(identity.attributes), ..identity };
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).expect("the bound on series is below 2^32");
            self.slots.push(Slot { series: None, incarnation: 0, touched: 0, retired: None });
            index
        });
        let now = self.now();
        let slot = &mut self.slots[index as usize];
        let series = Series::new(SeriesId::slot(index, slot.incarnation), fingerprint, identity);
        slot.series = Some(series.clone());
        slot.touch(now);
        self.stats.series += 1;
        self.stats.bytes += series.heap_bytes() + SLOT_BYTES;
        let slots = &self.slots;
        self.index.insert_unique(fingerprint.low(), index, |index| slots[*index as usize].hash());
        series
    }

    fn share_shape(&mut self, attributes: crate::Attributes) -> crate::Attributes {
        if let Some((came, shared)) = &self.recent_shape
            && Arc::ptr_eq(came, attributes.shape())
        {
            return attributes.with_shape(shared.clone());
        }
        let came = attributes.shape().clone();
        let key = hash(&came);
        let shared = match self.shapes.find(key, |shape| *shape == came) {
            Some(shared) => shared.clone(),
            None if self.shapes.len() >= SHAPES_MAX => return attributes,
            None => self.shapes.insert_unique(key, came.clone(), |shape| hash(shape)).get().clone(),
        };
        self.recent_shape = Some((came, shared.clone()));
        attributes.with_shape(shared)
    }

    fn sweep_slot(&mut self, index: usize, now: u32, oldest_pin: u32, idle_epochs: u32) {
        let slot = &mut self.slots[index];
        let Some(series) = &slot.series else { return };
        if series.is_held() {
            slot.touch(now);
            return;
        }
        match slot.retired {
            Some(retired) if retired.get() < oldest_pin => self.free_slot(index),
            Some(_) => {}
            None if now - slot.touched > idle_epochs => slot.retired = std::num::NonZeroU32::new(now),
            None => {}
        }
    }

    fn free_slot(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(series) = slot.series.take() else { return };
        let number = u32::try_from(index).expect("slots are numbered by u32");
        if let Ok(entry) = self.index.find_entry(series.fingerprint().low(), |candidate| *candidate == number) {
            entry.remove();
        }
        self.stats.series -= 1;
        self.stats.bytes -= series.heap_bytes() + SLOT_BYTES;
        self.stats.recycled += 1;
        // The upper bit of an incarnation marks inline ids; a slot that has used up the rest is never given out again.
        if slot.incarnation < (1 << 31) - 1 {
            slot.incarnation += 1;
            self.free.push(number);
        }
    }
}

/// The keys come from outside, but at most `SHAPES_MAX` of their lists are kept: no seed is needed.
fn hash(shape: &Shape) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault};
    BuildHasherDefault::<siphasher::sip::SipHasher13>::default().hash_one(shape)
}

impl Slot {
    fn is(&self, fingerprint: Fingerprint) -> bool {
        self.series.as_ref().is_some_and(|series| series.fingerprint() == fingerprint)
    }

    fn hash(&self) -> u64 {
        self.series.as_ref().map_or(0, |series| series.fingerprint().low())
    }

    fn touch(&mut self, now: u32) {
        self.touched = now;
        self.retired = None;
    }
}

#[cfg(test)]
mod tests;

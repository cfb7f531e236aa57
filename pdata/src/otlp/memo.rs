//! What a decoder remembers: series by the fingerprint of their identity's bytes on the wire.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

use crate::series::{Series, SeriesId};

/// 128 bits that stand for bytes on the wire. Made with secret seeds, kept in memory only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WireId([u64; 2]);

/// Makes [`WireId`]s: two hashes with seeds of their own. The seeds are random, so senders cannot aim for collisions.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireHash([u64; 2]);

/// Bytes on their way into a [`WireId`].
#[derive(Clone)]
pub(super) struct WireHasher([FoldHasher<'static>; 2]);

/// Series by wire id, bounded, forgotten when idle.
///
/// A memo holds its series, which keeps their slots in the table. Each turn of the generation forgets what the last one did not
/// use.
#[derive(Default)]
pub(super) struct Memo {
    entries: HashTable<Entry>,
    generation: u32,
}

struct Entry {
    wire: WireId,
    id: SeriesId,
    #[allow(dead_code, reason = "held so that the table keeps its slot")]
    series: Series,
    used: u32,
}

/// Series that one decoder remembers at most (about 60 bytes each besides the series). Past it, what is new is decoded each
/// time: slower, never wrong.
const ENTRIES_MAX: usize = 4_000_000;

/// The multipliers behind the two hashes; drawn once per process.
static SHARED: [LazyLock<SharedSeed>; 2] =
    [LazyLock::new(|| SharedSeed::from_u64(random())), LazyLock::new(|| SharedSeed::from_u64(random()))];

fn random() -> u64 {
    RandomState::new().hash_one(0x5eed_u64)
}

impl WireHash {
    pub(super) fn random() -> Self {
        Self([random(), random()])
    }

    /// A hasher that goes on from what stands above: the ids of a point begin with its metric's.
    #[inline]
    pub(super) fn under(self, above: WireId) -> WireHasher {
        let mut hasher = WireHasher([0, 1].map(|half| FoldHasher::with_seed(self.0[half], &SHARED[half])));
        hasher.word(above.0[0]);
        hasher.word(above.0[1]);
        hasher
    }
}

impl WireHasher {
    /// Adds bytes; their length counts.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        self.0.iter_mut().for_each(|half| half.write(bytes));
    }

    #[inline]
    pub(super) fn word(&mut self, word: u64) {
        self.0.iter_mut().for_each(|half| half.write_u64(word));
    }

    #[inline]
    pub(super) fn finish(&self) -> WireId {
        WireId([self.0[0].finish(), self.0[1].finish()])
    }
}

impl Memo {
    /// The id of a remembered series.
    #[inline]
    pub(super) fn find(&mut self, wire: WireId) -> Option<SeriesId> {
        let entry = self.entries.find_mut(wire.0[0], |entry| entry.wire == wire)?;
        entry.used = self.generation;
        Some(entry.id)
    }

    /// Remembers an interned series.
    pub(super) fn insert(&mut self, wire: WireId, series: Series) {
        let Some(id) = series.id() else { return };
        if self.entries.len() < ENTRIES_MAX {
            let entry = Entry { wire, id, series, used: self.generation };
            self.entries.insert_unique(wire.0[0], entry, |entry| entry.wire.0[0]);
        }
    }

    /// Forgets what was not used since the last turn.
    pub(super) fn turn(&mut self) {
        let generation = self.generation;
        self.entries.retain(|entry| entry.used == generation);
        self.generation += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

//! What a decoder remembers: series by the fingerprint of their identity's bytes on the wire.

use hashbrown::HashTable;

use super::wire_id::WireId;
use crate::series::{Series, SeriesId};

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

impl Memo {
    /// The id of a remembered series.
    #[inline]
    pub(super) fn find(&mut self, wire: WireId) -> Option<SeriesId> {
        let entry = self.entries.find_mut(wire.short(), |entry| entry.wire == wire)?;
        // A write takes the line from the cache of the other core, which may look it up next.
        if entry.used != self.generation {
            entry.used = self.generation;
        }
        Some(entry.id)
    }

    /// Remembers an interned series.
    pub(super) fn insert(&mut self, wire: WireId, series: Series) {
        let Some(id) = series.id() else { return };
        if self.entries.len() < ENTRIES_MAX {
            let entry = Entry { wire, id, series, used: self.generation };
            self.entries.insert_unique(wire.short(), entry, |entry| entry.wire.short());
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

//! Series that were seen before, by the fingerprint of their key.

use hashbrown::HashTable;
use pdata::Fingerprint;
use smallvec::SmallVec;

use crate::state::Tracked;

/// The series of one key: one, or one for each state.
pub(super) type Known = SmallVec<[Tracked; 1]>;

/// Two generations: what is asked for moves to the young one; when that is full it becomes the old one, and the old one is forgotten.
/// So a flood of keys that come once cannot push out what is in use.
#[derive(Default)]
pub(super) struct Memo {
    young: HashTable<Row>,
    old: HashTable<Row>,
    young_bytes: usize,
    rotations: u64,
}

struct Row {
    key: Fingerprint,
    known: Known,
    bytes: usize,
}

/// What one generation may keep: some 20,000 series.
const GENERATION_BYTES: usize = 4 << 20;

impl Memo {
    pub(super) fn find(&mut self, key: Fingerprint) -> Option<&Known> {
        let is = |row: &Row| row.key == key;
        if self.young.find(key.low(), is).is_none() {
            let (row, _) = self.old.find_entry(key.low(), is).ok()?.remove();
            self.keep(row);
        }
        self.young.find(key.low(), is).map(|row| &row.known)
    }

    /// Keeps the series of a key that takes so many bytes.
    pub(super) fn insert(&mut self, key: Fingerprint, known: Known, key_bytes: usize) -> &Known {
        // A series that is not on disk yet carries its identity; each state's is its own.
        let bytes = size_of::<Row>() + known.len() * (key_bytes + 128);
        self.keep(Row { key, known, bytes })
    }

    fn keep(&mut self, row: Row) -> &Known {
        if self.young_bytes + row.bytes > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
            self.rotations += 1;
        }
        self.young_bytes += row.bytes;
        &self.young.insert_unique(row.key.low(), row, |row| row.key.low()).into_mut().known
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    #[cfg(test)]
    pub(super) fn rotations(&self) -> u64 {
        self.rotations
    }
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (young, old) = (self.young.len(), self.old.len());
        f.debug_struct("Memo").field("young", &young).field("old", &old).field("rotations", &self.rotations).finish()
    }
}

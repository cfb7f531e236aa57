//! Which events were seen: young ids in memory and in rows that are only ever appended, old ones in a tree.
//!
//! Ids are hashes. In a tree of all of them each new one falls on a page of its own, and a page is what a commit writes: 4 KiB for
//! 16 bytes. So new ids go side by side into rows of the table `young`, and are held in memory. When there are enough of
//! them they are *merged*: put into the tree in its own order, where neighbours share pages, some with every group. What lies
//! before the horizon by then is forgotten instead. A *sweep* goes over the tree in steps and forgets likewise.
//!
//! An id is in the tree before its young row goes, so whatever a crash interrupts is merged once more, to no effect.

use hashbrown::{HashMap, HashSet};
use pdata::Fingerprint;

use super::books::Books;
use super::commit::Paper;
use super::error::Trouble;
use super::sieve::Sieve;
use super::store::Store;
use super::window::{ROW_BYTES, Window};

/// Remembered ids and the work on them.
#[derive(Debug)]
pub(super) struct Ids {
    /// Young ids and their stamps.
    fresh: HashMap<Fingerprint, u64>,
    /// The least stamp among `fresh`.
    oldest: u64,
    merge: Option<Merge>,
    sweep: Option<Sweep>,
    /// What the tree need not be asked about.
    sieve: Sieve,
    /// So many are merged.
    young_max: usize,
    draft: Draft,
}

/// Young ids on their way into the tree.
#[derive(Debug)]
struct Merge {
    /// In the tree's order.
    sorted: Vec<(Fingerprint, u64)>,
    /// How many of them are in the tree, or forgotten.
    done: usize,
    /// Rows of `young` before this one hold nothing else.
    rows_end: u64,
}

/// A pass over the tree.
#[derive(Clone, Debug)]
struct Sweep {
    from: Vec<u8>,
    floor: u64,
}

/// What the group in hand does. Nobody sees it until its commit.
#[derive(Debug, Default)]
struct Draft {
    new: Vec<(Fingerprint, u64)>,
    /// The same, to be looked up.
    known: HashSet<Fingerprint>,
    /// How far the merge has come.
    done: usize,
    sweep: Option<Sweep>,
}

/// Young ids that one step of a merge takes: so many for each new one and so many besides, and more when nobody waits (some 3 ms).
const MERGE_PER_NEW: usize = 2;
const MERGE_AT_LEAST: usize = 16;
const MERGE_ALONE: usize = 1024;
/// Ids that one step of a sweep looks at, likewise.
const SWEEP_PER_NEW: usize = 16;
const SWEEP_AT_LEAST: usize = 256;
const SWEEP_ALONE: usize = 4096;

impl Ids {
    /// With the young ids that were found on disk. About `young_max` are held in memory, at most twice as many while a merge lasts;
    /// an eighth of what the window may hold where that is less.
    pub(super) fn new(young: Vec<(Fingerprint, u64)>, young_max: usize, max_bytes: u64) -> Self {
        let share = usize::try_from(max_bytes / ROW_BYTES / 8).unwrap_or(usize::MAX);
        let oldest = young.iter().map(|(_, stamp)| *stamp).min().unwrap_or(u64::MAX);
        Self {
            fresh: young.into_iter().collect(),
            oldest,
            merge: None,
            sweep: None,
            sieve: Sieve::default(),
            young_max: young_max.min(share).max(1),
            draft: Draft::default(),
        }
    }

    /// The same, beside a tree that holds what the window knows besides.
    pub(super) fn beside_tree(self, window: &Window) -> Self {
        let tree = self.tree(window);
        Self { sieve: Sieve::of(tree), ..self }
    }

    /// About how many ids stand in the tree.
    fn tree(&self, window: &Window) -> usize {
        usize::try_from(window.rows()).unwrap_or(usize::MAX).saturating_sub(self.fresh.len())
    }

    /// Drafts an id. `false` when it is remembered already.
    pub(super) fn remember<P: Paper>(&mut self, paper: &mut P, id: Fingerprint, stamp: u64) -> Result<bool, P::Error> {
        let young = self.fresh.contains_key(&id) || self.draft.known.contains(&id);
        let known = young || self.merge.as_ref().is_some_and(|merge| merge.holds(id));
        if known || (self.sieve.may_hold(id) && paper.knows(id)?) {
            return Ok(false);
        }
        self.draft.known.insert(id);
        self.draft.new.push((id, stamp));
        Ok(true)
    }

    /// Gives up what was drafted, to who keeps ids elsewhere.
    pub(super) fn take_new(&mut self) -> impl Iterator<Item = (Fingerprint, u64)> {
        self.draft.known.clear();
        self.draft.new.drain(..)
    }

    /// Appends what was drafted.
    pub(super) fn write(&self, store: &Store, books: &mut Books) -> Result<(), Trouble> {
        for ids in self.draft.new.chunks(Store::YOUNG_IDS) {
            store.write_young(books.young.end, ids)?;
            books.young.end += 1;
        }
        Ok(())
    }

    /// One step of what is due, within the group's transaction. Gives how many ids were forgotten.
    pub(super) fn tend(&mut self, store: &Store, books: &mut Books) -> Result<u64, Trouble> {
        let due = books.window.is_due();
        // A sweep is over all ids or does not help: old ones among the young go first.
        let expired = due && self.oldest < books.window.floor();
        if self.merge.is_none() && (expired || self.fresh.len() >= self.young_max) {
            self.begin_merge(books.young.end);
        }
        self.draft.done = self.merge.as_ref().map_or(0, |merge| merge.done);
        self.draft.sweep = self.sweep.clone();
        if self.draft.sweep.is_none() && self.merge.is_none() && due {
            self.draft.sweep = Some(Sweep { from: Vec::new(), floor: books.window.floor() });
        }
        let amount = |per_new: usize, at_least: usize, alone: usize| match self.draft.new.len() {
            0 => alone,
            new => at_least + per_new * new,
        };
        if self.sieve.is_due() {
            self.sieve.read_on(store, self.draft.new.len(), self.tree(&books.window))?;
        }
        let merged = amount(MERGE_PER_NEW, MERGE_AT_LEAST, MERGE_ALONE);
        let swept = amount(SWEEP_PER_NEW, SWEEP_AT_LEAST, SWEEP_ALONE);
        Ok(self.merge_some(store, books, merged)? + self.sweep_some(store, &mut books.window, swept)?)
    }

    fn begin_merge(&mut self, rows_end: u64) {
        let mut sorted: Vec<_> = self.fresh.drain().collect();
        sorted.sort_unstable();
        self.merge = Some(Merge { sorted, done: 0, rows_end });
        self.oldest = u64::MAX;
    }

    fn merge_some(&mut self, store: &Store, books: &mut Books, amount: usize) -> Result<u64, Trouble> {
        let Some(merge) = &self.merge else { return Ok(0) };
        let left = &merge.sorted[merge.done..];
        if left.is_empty() {
            let end = merge.rows_end.min(books.young.start + amount as u64);
            store.forget_young(end)?;
            books.young.start = end;
            return Ok(0);
        }
        let (mut tree, floor, mut forgotten) = (store.tree_to_write()?, books.window.floor(), 0);
        let step = &left[..amount.min(left.len())];
        for (id, stamp) in step {
            if *stamp < floor {
                books.window.forget(*stamp);
                forgotten += 1;
            } else {
                tree.plant(*id, *stamp)?;
                self.sieve.put(*id);
            }
        }
        self.draft.done = merge.done + step.len();
        Ok(forgotten)
    }

    fn sweep_some(&mut self, store: &Store, window: &mut Window, amount: usize) -> Result<u64, Trouble> {
        let Some(sweep) = &mut self.draft.sweep else { return Ok(0) };
        let swept = store.sweep(&sweep.from, sweep.floor, amount)?;
        swept.forgotten.iter().for_each(|stamp| window.forget(*stamp));
        match swept.reached {
            Some(reached) => sweep.from = reached,
            None => {
                window.swept(sweep.floor);
                self.draft.sweep = None;
            }
        }
        Ok(swept.forgotten.len() as u64)
    }

    /// Whether there is work to do though no event comes.
    pub(super) fn want_tending(&self, window: &Window) -> bool {
        self.merge.is_some() || self.sweep.is_some() || self.sieve.is_due() || window.is_due()
    }

    /// The group is on disk: what was drafted holds.
    pub(super) fn keep(&mut self, books: &Books) {
        self.oldest = self.draft.new.iter().map(|(_, stamp)| *stamp).fold(self.oldest, u64::min);
        self.fresh.extend(self.draft.new.drain(..));
        self.draft.known.clear();
        self.sweep = self.draft.sweep.take();
        if let Some(merge) = &mut self.merge {
            merge.done = self.draft.done;
            if merge.done == merge.sorted.len() && books.young.start >= merge.rows_end {
                self.merge = None;
            }
        }
    }

    /// The group is not on disk.
    pub(super) fn drop_draft(&mut self) {
        self.draft.new.clear();
        self.draft.known.clear();
        self.draft.sweep = None;
    }

    /// All ids stand in the tree of a new database.
    pub(super) fn rebuilt(&mut self, window: &Window) {
        self.drop_draft();
        self.fresh.clear();
        (self.oldest, self.merge, self.sweep) = (u64::MAX, None, None);
        self.sieve = Sieve::of(self.tree(window));
    }

    /// Whether the tree is being read for the sieve.
    #[cfg(test)]
    pub(super) fn reads_tree(&self) -> bool {
        self.sieve.is_due()
    }

    /// Ids that are held in memory.
    pub(super) fn young(&self) -> impl Iterator<Item = (Fingerprint, u64)> {
        let merging = self.merge.iter().flat_map(|merge| &merge.sorted).copied();
        self.fresh.iter().map(|(id, stamp)| (*id, *stamp)).chain(merging)
    }
}

impl Merge {
    fn holds(&self, id: Fingerprint) -> bool {
        self.sorted.binary_search_by_key(&id, |(known, _)| *known).is_ok()
    }
}

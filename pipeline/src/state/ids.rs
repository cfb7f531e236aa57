//! Which events were seen: young ids in memory and in rows that are only ever appended, old ones in a tree.
//!
//! Ids are hashes. In a tree of all of them each new one falls on a page of its own, and a page is what a commit writes: 4 KiB for
//! 16 bytes. So new ids go side by side into rows of the table `young`, and are held in memory. When there are enough of
//! them they are *merged*: put into the tree in its own order, where neighbours share pages, some with every group. What lies
//! before the horizon by then is forgotten instead. A *sweep* goes over the tree in steps and forgets likewise.
//!
//! How far a merge or a sweep has come stands in the books: the next process goes on where this one was ended. An id is in the tree
//! before its young row goes.

use hashbrown::{HashMap, HashSet};
use pdata::Fingerprint;

use super::books::{Books, Merged, Sweep};
use super::commit::Paper;
use super::error::Trouble;
use super::load::Young;
use super::sieve::Sieve;
use super::store::Store;
use super::window::ROW_BYTES;

/// Remembered ids and the work on them.
#[derive(Debug)]
pub(super) struct Ids {
    /// Young ids and their stamps.
    fresh: HashMap<Fingerprint, u64>,
    /// The least stamp among `fresh`.
    oldest: u64,
    merge: Option<Merge>,
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
    /// Rows of `young` before this one hold nothing else.
    rows_end: u64,
}

/// What the group in hand does. Nobody sees it until its commit.
#[derive(Debug, Default)]
struct Draft {
    new: Vec<(Fingerprint, u64)>,
    /// The same, to be looked up.
    known: HashSet<Fingerprint>,
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
    pub(super) fn new(young: Young, young_max: usize, max_bytes: u64) -> Self {
        let share = usize::try_from(max_bytes / ROW_BYTES / 8).unwrap_or(usize::MAX);
        let oldest = young.fresh.iter().map(|(_, stamp)| *stamp).min().unwrap_or(u64::MAX);
        let Young { merging: mut sorted, rows_end, fresh } = young;
        sorted.sort_unstable();
        Self {
            fresh: fresh.into_iter().collect(),
            oldest,
            merge: (!sorted.is_empty()).then_some(Merge { sorted, rows_end }),
            sieve: Sieve::default(),
            young_max: young_max.min(share).max(1),
            draft: Draft::default(),
        }
    }

    /// The same, beside a tree that holds what the books tell of besides.
    pub(super) fn beside_tree(self, books: &Books) -> Self {
        let tree = self.tree(books);
        Self { sieve: Sieve::of(tree), ..self }
    }

    /// About how many ids stand in the tree.
    fn tree(&self, books: &Books) -> usize {
        usize::try_from(books.window.rows()).unwrap_or(usize::MAX).saturating_sub(self.fresh.len())
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
        if books.sweep.is_none() && self.merge.is_none() && due {
            books.sweep = Some(Sweep { floor: books.window.floor(), reached: None });
        }
        let amount = |per_new: usize, at_least: usize, alone: usize| match self.draft.new.len() {
            0 => alone,
            new => at_least + per_new * new,
        };
        if self.sieve.is_due() {
            self.sieve.read_on(store, self.draft.new.len(), self.tree(books))?;
        }
        let merged = amount(MERGE_PER_NEW, MERGE_AT_LEAST, MERGE_ALONE);
        let swept = amount(SWEEP_PER_NEW, SWEEP_AT_LEAST, SWEEP_ALONE);
        Ok(self.merge_some(store, books, merged)? + sweep_some(store, books, swept)?)
    }

    fn begin_merge(&mut self, rows_end: u64) {
        let mut sorted: Vec<_> = self.fresh.drain().collect();
        sorted.sort_unstable();
        self.merge = Some(Merge { sorted, rows_end });
        self.oldest = u64::MAX;
    }

    fn merge_some(&mut self, store: &Store, books: &mut Books, amount: usize) -> Result<u64, Trouble> {
        let Some(merge) = &self.merge else { return Ok(0) };
        let left = merge.left(books.merged);
        let step = &left[..amount.min(left.len())];
        let Some((reached, _)) = step.last() else {
            let end = merge.rows_end.min(books.young.start + amount as u64);
            store.forget_young(end)?;
            books.young.start = end;
            books.merged = books.merged.filter(|merged| end < merged.rows_end);
            return Ok(0);
        };
        let (mut tree, floor, mut forgotten) = (store.tree_to_write()?, books.window.floor(), 0);
        for (id, stamp) in step {
            if *stamp < floor {
                books.window.forget(*stamp);
                forgotten += 1;
            } else {
                tree.plant(*id, *stamp)?;
                self.sieve.put(*id);
            }
        }
        books.merged = Some(Merged { rows_end: merge.rows_end, reached: *reached });
        Ok(forgotten)
    }

    /// Whether there is work to do though no event comes.
    pub(super) fn want_tending(&self, books: &Books) -> bool {
        self.merge.is_some() || books.sweep.is_some() || self.sieve.is_due() || books.window.is_due()
    }

    /// The group is on disk: what was drafted holds.
    pub(super) fn keep(&mut self, books: &Books) {
        self.oldest = self.draft.new.iter().map(|(_, stamp)| *stamp).fold(self.oldest, u64::min);
        self.fresh.extend(self.draft.new.drain(..));
        self.draft.known.clear();
        // Every step but the last leaves word.
        if books.merged.is_none() {
            self.merge = None;
        }
    }

    /// The group is not on disk.
    pub(super) fn drop_draft(&mut self) {
        self.draft.new.clear();
        self.draft.known.clear();
    }

    /// All ids stand in the tree of a new database.
    pub(super) fn rebuilt(&mut self, books: &Books) {
        self.drop_draft();
        self.fresh.clear();
        (self.oldest, self.merge) = (u64::MAX, None);
        self.sieve = Sieve::of(self.tree(books));
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

fn sweep_some(store: &Store, books: &mut Books, amount: usize) -> Result<u64, Trouble> {
    let Some(sweep) = books.sweep else { return Ok(0) };
    let swept = store.sweep(sweep.reached, sweep.floor, amount)?;
    swept.forgotten.iter().for_each(|stamp| books.window.forget(*stamp));
    books.sweep = swept.reached.map(|reached| Sweep { reached: Some(reached), ..sweep });
    if books.sweep.is_none() {
        books.window.swept(sweep.floor);
    }
    Ok(swept.forgotten.len() as u64)
}

impl Merge {
    /// What is not in the tree yet.
    fn left(&self, merged: Option<Merged>) -> &[(Fingerprint, u64)] {
        let done = merged.map_or(0, |merged| self.sorted.partition_point(|(id, _)| *id <= merged.reached));
        &self.sorted[done..]
    }

    fn holds(&self, id: Fingerprint) -> bool {
        self.sorted.binary_search_by_key(&id, |(known, _)| *known).is_ok()
    }
}

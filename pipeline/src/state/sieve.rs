//! Which ids cannot be in the tree, so that the tree is not asked: nearly all ids are new, and to learn that from a tree costs more
//! than all else that SQLite does for an event.
//!
//! A *filter* is a Bloom filter in blocks of 32 bytes with one bit in each of eight words (Putze, Sanders, Singler: "Cache-, hash- and
//! space-efficient Bloom filters", 2007): one cache line a question. It is never wrong when it says no. Ids are keyed hashes
//! already, so their own bits choose block and bits.
//!
//! A filter is filled from the tree in steps, in the tree's order, while the ledger works; until the first one is whole, what
//! lies beyond the last step may be in the tree. Ids that leave the tree stay in the filter, so it is made anew when as many have gone
//! in as it was made for.

use pdata::Fingerprint;

use super::error::Trouble;
use super::store::Store;

/// What is known of the tree without asking it.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    whole: Option<Filter>,
    building: Option<Building>,
}

/// A filter that holds the tree up to some id.
#[derive(Debug)]
struct Building {
    filter: Filter,
    /// The last id that was read; none before the first.
    reached: Option<Fingerprint>,
}

#[derive(Debug)]
struct Filter {
    blocks: Box<[[u32; 8]]>,
    /// Ids that were put in.
    held: usize,
}

/// Ids that a filter is made for at least: 13 KiB.
const IDS_MIN: usize = 8192;
/// Ids that share a block when a filter holds what it was made for: 12.8 bits each, and one answer in 200 is "maybe" for nothing.
const IDS_PER_BLOCK: usize = 20;
/// Ids that one step reads: so many for each new id and so many besides, and more when nobody waits (some 3 ms).
const READ_PER_NEW: usize = 32;
const READ_AT_LEAST: usize = 32;
const READ_ALONE: usize = 16_384;

impl Sieve {
    /// Of a tree with about so many ids, of which nothing is known yet.
    pub(super) fn of(tree: usize) -> Self {
        Self { whole: None, building: Some(Building::of(tree)) }
    }

    /// Whether an id may be in the tree.
    pub(super) fn may_hold(&self, id: Fingerprint) -> bool {
        match (&self.whole, &self.building) {
            (Some(whole), _) => whole.holds(id),
            (None, Some(building)) => building.reached.is_none_or(|reached| id > reached) || building.filter.holds(id),
            // There is no tree: the ledger is in memory.
            (None, None) => true,
        }
    }

    /// An id goes into the tree.
    pub(super) fn put(&mut self, id: Fingerprint) {
        let building = self.building.as_mut().map(|building| &mut building.filter);
        self.whole.iter_mut().chain(building).for_each(|filter| filter.put(id));
    }

    /// Reads on in the tree, when that is due, within the transaction of a group that brings `new` ids. `tree` is about how many
    /// ids there are.
    pub(super) fn read_on(&mut self, store: &Store, new: usize, tree: usize) -> Result<(), Trouble> {
        let building = self.building.get_or_insert_with(|| Building::of(tree));
        let rows = if new == 0 { READ_ALONE } else { READ_AT_LEAST + READ_PER_NEW * new };
        let last = store.ids_after(building.reached, rows, |id| building.filter.put(id))?;
        building.reached = last.or(building.reached);
        if last.is_none() {
            self.whole = self.building.take().map(|building| building.filter);
        }
        Ok(())
    }

    /// Whether there is something to read.
    pub(super) fn is_due(&self) -> bool {
        self.building.is_some() || self.whole.as_ref().is_some_and(Filter::is_full)
    }
}

impl Building {
    fn of(tree: usize) -> Self {
        Self { filter: Filter::new(tree.saturating_mul(2).max(IDS_MIN)), reached: None }
    }
}

impl Filter {
    fn new(ids: usize) -> Self {
        Self { blocks: vec![[0; 8]; ids.div_ceil(IDS_PER_BLOCK)].into(), held: 0 }
    }

    fn is_full(&self) -> bool {
        self.held > self.blocks.len() * IDS_PER_BLOCK
    }

    fn holds(&self, id: Fingerprint) -> bool {
        bits(id).zip(&self.blocks[self.block(id)]).all(|(bit, word)| word & bit != 0)
    }

    fn put(&mut self, id: Fingerprint) {
        let block = self.block(id);
        bits(id).zip(&mut self.blocks[block]).for_each(|(bit, word)| *word |= bit);
        self.held += 1;
    }

    /// The id's first word as a share of all blocks.
    fn block(&self, id: Fingerprint) -> usize {
        ((u128::from(id.0[0]) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// One bit for each word of a block, by five bits each of the id's second word.
fn bits(id: Fingerprint) -> impl Iterator<Item = u32> {
    (0..8).map(move |word| 1 << ((id.0[1] >> (word * 5)) & 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Fingerprint {
        pdata::Seed::from_bytes([5; 16]).fingerprint(&number.to_le_bytes())
    }

    #[test]
    fn a_filter_never_denies_what_it_holds_and_seldom_takes_others_for_held() {
        for ids in [1, 1000, 100_000_u64] {
            let mut filter = Filter::new(ids as usize);
            (0..ids).for_each(|number| filter.put(id(number)));
            assert!(!filter.is_full());
            assert!((0..ids).all(|number| filter.holds(id(number))));
            let wrong = (ids..ids + 100_000).filter(|number| filter.holds(id(*number))).count();
            assert!(wrong < 1000, "{wrong} of 100,000 beside {ids}");
            filter.put(id(ids));
            assert_eq!(filter.is_full(), ids.is_multiple_of(IDS_PER_BLOCK as u64));
        }
    }

    #[test]
    fn nothing_is_denied_before_it_was_read() {
        let mut sieve = Sieve::of(100);
        assert!(sieve.may_hold(id(1)) && sieve.is_due());
        let building = sieve.building.as_mut().unwrap();
        building.reached = Some(Fingerprint([1 << 63, 0]));
        assert!(!sieve.may_hold(Fingerprint([1 << 62, 7])));
        assert!(sieve.may_hold(Fingerprint([(1 << 63) + 1, 7])));
        sieve.put(Fingerprint([1 << 62, 7]));
        assert!(sieve.may_hold(Fingerprint([1 << 62, 7])), "what is planted behind the reader is put in");
        assert!(Sieve::default().may_hold(id(1)));
    }
}

//! A consistent copy of a family's values, taken under the table's lock in one go; its label text is shared, not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::cells::{DEAD, EXEMPLARS, INTEGER};
use super::distribution::Distribution;
use super::exemplar::Kept;
use super::layout::Section;
use super::leaf::Leaf;
use super::pairs::Texts;
use super::table::Table;

/// Rows of one family and their values.
#[derive(Default)]
pub(super) struct Page {
    pub(super) texts: Arc<Texts>,
    leaves: Vec<Arc<Leaf>>,
    /// Where the page begins in its first leaf.
    first: usize,
    rows: usize,
    /// Integers, or bits of doubles; [`ABSENT`] where nothing is to be shown.
    bits: Vec<u64>,
    integers: Vec<u64>,
    times: Vec<u64>,
    distributions: Vec<Option<Arc<Distribution>>>,
    /// By row.
    exemplars: Vec<(usize, SmallVec<[Kept; 1]>)>,
    /// Whether rows of the family follow that did not fit.
    pub(super) more: bool,
    held: Option<Held>,
}

/// A row of a page.
pub(super) struct Row<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) row: usize,
    /// Its number within the page.
    pub(super) index: usize,
}

/// What all running scrapes together may hold.
#[derive(Clone, Debug, Default)]
pub(super) struct PageBudget(Arc<AtomicUsize>);

struct Held {
    bytes: usize,
    budget: PageBudget,
}

/// The bits of a NaN that no computation makes: nothing is shown.
const ABSENT: u64 = 0x7ff8_dead_ab5e_4700;

/// Bytes that pages of all running scrapes may hold together before they get small: with it a family of 1.5 million series is
/// still consistent in itself.
const BUDGET: usize = 14 << 20;

/// Rows that a page may always have, however many scrapes run.
const ROWS_MIN: usize = 1 << 14;

/// What a page is to hold besides values.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) times: bool,
    pub(super) exemplars: bool,
}

impl Page {
    /// Copies the rows of a section that come after the text `after`, or from the first row on. `None` when the family has gone.
    pub(super) fn take(
        table: &mut Table,
        section: &Section,
        after: Option<&[u8]>,
        wanted: Wanted,
        budget: &PageBudget,
    ) -> Option<Self> {
        let family = table.families.slots().get(section.family).filter(|family| family.serial == section.serial)?;
        let mut scratch = Vec::new();
        let (mut leaf, mut row) = match after.map(|after| family.leaves.find(after, table.pairs.texts(), &mut scratch))
        {
            None => (0, 0),
            Some(Ok((leaf, row))) => (leaf, row + 1),
            Some(Err(position)) => position,
        };
        let all = family.leaves.as_slice();
        if all.get(leaf).is_some_and(|whole| whole.len() <= row) {
            (leaf, row) = (leaf + 1, 0);
        }
        let is_number = family.kind.is_number();
        let rows = (family.live as usize + family.dead as usize).max(1);
        let row_bytes = 9 + if wanted.times { 8 } else { 0 };
        let rows_max = (budget.left() / row_bytes).max(ROWS_MIN);
        let mut page = Self { texts: table.pairs.texts().clone(), first: row, ..Self::default() };
        page.reserve(rows.min(rows_max), wanted, is_number);
        for leaf in all.iter().skip(leaf) {
            if page.rows > 0 && page.rows + leaf.len() > rows_max {
                page.more = true;
                break;
            }
            let from = if page.leaves.is_empty() { row } else { 0 };
            for cell in &leaf.cells()[from..] {
                page.push(table, *cell, wanted, is_number);
            }
            page.leaves.push(leaf.clone());
        }
        page.held = Some(budget.hold(page.rows * row_bytes));
        Some(page)
    }

    fn reserve(&mut self, rows: usize, wanted: Wanted, is_number: bool) {
        if is_number {
            self.bits.reserve_exact(rows);
            self.integers.reserve_exact(rows.div_ceil(64));
        } else {
            self.distributions.reserve_exact(rows);
        }
        if wanted.times {
            self.times.reserve_exact(rows);
        }
    }

    fn push(&mut self, table: &Table, place: u32, wanted: Wanted, is_number: bool) {
        let cell = table.cells.cell(place);
        let absent = cell.flags & DEAD != 0 || (table.kinship.any_hidden() && table.kinship.get(cell.kin).hidden);
        if is_number {
            if self.rows.is_multiple_of(64) {
                self.integers.push(0);
            }
            if absent {
                self.bits.push(ABSENT);
            } else {
                self.bits.push(cell.bits);
                let integer = u64::from(cell.flags & INTEGER != 0);
                *self.integers.last_mut().expect("a word was pushed") |= integer << (self.rows % 64);
            }
        } else {
            let distribution = (!absent).then(|| table.distributions[cell.bits as u32].clone());
            self.distributions.push(distribution);
        }
        if wanted.times {
            self.times.push(cell.time);
        }
        if wanted.exemplars && cell.flags & EXEMPLARS != 0 && !absent {
            self.exemplars.push((self.rows, table.exemplars.get(place).into()));
        }
        self.rows += 1;
    }

    /// Whether any row is shown.
    pub(super) fn shows_any(&self) -> bool {
        (0..self.rows).any(|index| self.is_shown(index))
    }

    /// Whether all numbers shown are among `allowed`.
    pub(super) fn only_has(&self, allowed: &[f64]) -> bool {
        (0..self.rows).filter(|index| self.is_shown(*index)).all(|index| {
            let value =
                if self.is_integer(index) { self.bits[index] as i64 as f64 } else { f64::from_bits(self.bits[index]) };
            allowed.contains(&value)
        })
    }

    pub(super) fn is_shown(&self, index: usize) -> bool {
        match self.distributions.get(index) {
            Some(distribution) => distribution.is_some(),
            None => self.bits[index] != ABSENT || self.is_integer(index),
        }
    }

    pub(super) fn is_integer(&self, index: usize) -> bool {
        self.integers[index / 64] >> (index % 64) & 1 != 0
    }

    pub(super) fn bits(&self, index: usize) -> u64 {
        self.bits[index]
    }

    pub(super) fn distribution(&self, index: usize) -> Option<&Distribution> {
        self.distributions.get(index)?.as_deref()
    }

    /// When the value was true, when that is to be told and known.
    pub(super) fn time(&self, index: usize) -> Option<u64> {
        self.times.get(index).copied().filter(|time| *time != 0)
    }

    pub(super) fn exemplars(&self, index: usize) -> &[Kept] {
        if self.exemplars.is_empty() {
            return &[];
        }
        let found = self.exemplars.binary_search_by_key(&index, |(row, _)| *row);
        found.map_or(&[], |at| &self.exemplars[at].1)
    }

    /// Adds the label text of the last row: the next page begins behind it.
    pub(super) fn last_text(&self, out: &mut Vec<u8>) {
        if let Some(leaf) = self.leaves.last() {
            leaf.decode(leaf.len() - 1, &self.texts, out);
        }
    }

    /// Where the page begins.
    pub(super) fn position(&self) -> Position {
        Position { leaf: 0, row: self.first, index: 0 }
    }

    /// The next row, if there is one.
    pub(super) fn next(&self, position: &mut Position) -> Option<Row<'_>> {
        loop {
            let leaf = self.leaves.get(position.leaf)?;
            if position.row < leaf.len() {
                let row = Row { leaf, row: position.row, index: position.index };
                position.row += 1;
                position.index += 1;
                return Some(row);
            }
            position.leaf += 1;
            position.row = 0;
        }
    }
}

/// How far a page has been written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    leaf: usize,
    row: usize,
    index: usize,
}

impl PageBudget {
    fn left(&self) -> usize {
        BUDGET.saturating_sub(self.0.load(Ordering::Relaxed))
    }

    fn hold(&self, bytes: usize) -> Held {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { bytes, budget: self.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

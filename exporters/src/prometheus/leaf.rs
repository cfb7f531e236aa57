//! The series of a family in the order of their label text, in leaves of a few hundred: an insertion moves a few kilobytes, a
//! scrape walks along.

use std::sync::Arc;

use super::pairs::{Texts, Used};

/// Leaves in order. A running scrape holds leaves; who changes one meanwhile changes a copy.
#[derive(Default)]
pub(super) struct Leaves(Vec<Arc<Leaf>>);

/// Series in order: their cells, and their label text as ops (see [`super::pairs`]).
#[derive(Clone, Default)]
pub(super) struct Leaf {
    cells: Vec<u32>,
    /// Where each series' ops end.
    ends: Vec<u32>,
    ops: Vec<u8>,
}

/// Leaf and row.
pub(super) type Position = (usize, usize);

/// Series of one leaf at most: 256 of them are about 12 KiB of ops.
const ROWS_MAX: usize = 256;
/// Neighbours that have shrunk below this together become one.
const ROWS_MERGE: usize = ROWS_MAX / 2;

impl Leaves {
    pub(super) fn as_slice(&self) -> &[Arc<Leaf>] {
        &self.0
    }

    /// Where a series with this text stands, or where it would. Labels without a value do not count: `{a=""}` and `{}` are one
    /// series to whoever reads the page.
    pub(super) fn find(&self, text: &[u8], texts: &Texts, scratch: &mut Vec<u8>) -> Result<Position, Position> {
        let mut compare = |leaf: &Leaf, row: usize| {
            scratch.clear();
            leaf.decode(row, texts, scratch);
            series_order(scratch, text)
        };
        // The last leaf first: sources often come sorted.
        let count = match self.0.last() {
            None => return Err((0, 0)),
            Some(last) if compare(last, 0).is_le() => self.0.len(),
            Some(_) => self.0.partition_point(|leaf| compare(leaf, 0).is_le()),
        };
        let Some(index) = count.checked_sub(1) else { return Err((0, 0)) };
        let leaf = &self.0[index];
        let (mut low, mut high) = (0, leaf.len());
        if compare(leaf, high - 1).is_lt() {
            return Err((index, high));
        }
        while low < high {
            let middle = low.midpoint(high);
            match compare(leaf, middle) {
                std::cmp::Ordering::Equal => return Ok((index, middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err((index, low))
    }

    /// Puts a series where [`find`](Self::find) said it would stand.
    pub(super) fn insert(&mut self, (mut index, mut row): Position, ops: &[u8], cell: u32) {
        if self.0.is_empty() {
            self.0.push(Arc::default());
        } else if self.0[index].len() >= ROWS_MAX {
            // What comes in order fills leaves; what comes in between halves them.
            let at = if index + 1 == self.0.len() && row == ROWS_MAX { ROWS_MAX } else { ROWS_MAX / 2 };
            let right = Arc::make_mut(&mut self.0[index]).split_off(at);
            self.0.insert(index + 1, Arc::new(right));
            if row >= at && (row > at || at == ROWS_MAX) {
                (index, row) = (index + 1, row - at);
            }
        }
        Arc::make_mut(&mut self.0[index]).insert(row, ops, cell);
    }

    /// Gives a row to another cell.
    pub(super) fn replace(&mut self, (index, row): Position, cell: u32) {
        Arc::make_mut(&mut self.0[index]).cells[row] = cell;
    }

    pub(super) fn cell(&self, (index, row): Position) -> u32 {
        self.0[index].cells[row]
    }

    /// Removes all series whose cells `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let mut kept: Vec<Arc<Leaf>> = Vec::with_capacity(self.0.len());
        for leaf in self.0.drain(..) {
            let whole = leaf.cells.iter().all(|cell| keep(*cell));
            let leaf = if whole { leaf } else { Arc::new(leaf.filtered(&keep)) };
            match kept.last_mut() {
                _ if leaf.len() == 0 => {}
                Some(last) if last.len() + leaf.len() <= ROWS_MERGE => Arc::make_mut(last).append(&leaf),
                _ => kept.push(leaf),
            }
        }
        self.0 = kept;
    }

    /// Notes which pairs are in use.
    pub(super) fn note(&self, used: &mut Used) {
        self.0.iter().for_each(|leaf| used.note(&leaf.ops));
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let leaf = |leaf: &Arc<Leaf>| {
            size_of::<Leaf>() + 16 + 4 * (leaf.cells.capacity() + leaf.ends.capacity()) + leaf.ops.capacity()
        };
        8 * self.0.capacity() + self.0.iter().map(leaf).sum::<usize>()
    }
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn cells(&self) -> &[u32] {
        &self.cells
    }

    /// Adds the label text of a row to `out`.
    pub(super) fn decode(&self, row: usize, texts: &Texts, out: &mut Vec<u8>) {
        texts.decode(&self.ops, self.start(row), self.ends[row] as usize, out);
    }

    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] as usize }
    }

    fn insert(&mut self, row: usize, ops: &[u8], cell: u32) {
        let start = self.start(row);
        let length = u32::try_from(ops.len()).expect("label text stays below 4 GiB");
        reserve_little(&mut self.ops, ops.len());
        reserve_little(&mut self.cells, 1);
        reserve_little(&mut self.ends, 1);
        let tail = self.ops.len();
        self.ops.extend_from_slice(ops);
        self.ops[start..].rotate_right(ops.len());
        debug_assert_eq!(self.ops.len(), tail + ops.len());
        self.cells.insert(row, cell);
        self.ends.insert(row, u32::try_from(start).expect("a leaf stays below 4 GiB"));
        self.ends[row..].iter_mut().for_each(|end| *end += length);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let start = self.start(at);
        let mut right =
            Self { cells: self.cells.split_off(at), ends: self.ends.split_off(at), ops: self.ops.split_off(start) };
        right.ends.iter_mut().for_each(|end| *end -= start as u32);
        self.cells.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.ops.shrink_to_fit();
        right
    }

    fn filtered(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self::default();
        for (row, cell) in self.cells.iter().enumerate().filter(|(_, cell)| keep(**cell)) {
            kept.push(&self.ops[self.start(row)..self.ends[row] as usize], *cell);
        }
        kept
    }

    fn append(&mut self, other: &Self) {
        for (row, cell) in other.cells.iter().enumerate() {
            self.push(&other.ops[other.start(row)..other.ends[row] as usize], *cell);
        }
    }

    fn push(&mut self, ops: &[u8], cell: u32) {
        self.insert(self.len(), ops, cell);
    }
}

/// The order of two label texts, labels without a value left out of both.
fn series_order(one: &[u8], two: &[u8]) -> std::cmp::Ordering {
    let may_hold_empty = |text: &[u8]| text.windows(3).any(|window| window == b"=\"\"");
    if may_hold_empty(one) || may_hold_empty(two) { valued(one).cmp(&valued(two)) } else { one.cmp(two) }
}

/// The pairs of a label text that have a value, each with a comma behind it.
fn valued(mut text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len() + 1);
    while !text.is_empty() {
        let name = if text[0] == b'"' { quoted(text) } else { text.iter().position(|byte| *byte == b'=').unwrap_or(0) };
        let value = quoted(text.get(name + 1..).unwrap_or_default());
        let end = (name + 1 + value).min(text.len());
        if value > 2 {
            kept.extend_from_slice(&text[..end]);
            kept.push(b',');
        }
        text = text.get(end + 1..).unwrap_or_default();
    }
    kept
}

/// How long the quoted text is that `text` begins with, quotes included.
fn quoted(text: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return index + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Room for `more`, growing by an eighth and not by half: a million series live in leaves.
fn reserve_little<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::pairs::Pairs;

    fn put(leaves: &mut Leaves, pairs: &mut Pairs, text: &str, cell: u32) -> Result<(), u32> {
        let at = match leaves.find(text.as_bytes(), pairs.texts(), &mut Vec::new()) {
            Ok(at) => return Err(leaves.cell(at)),
            Err(at) => at,
        };
        let mut ops = Vec::new();
        pairs.encode(text.as_bytes().chunks(3), &mut ops);
        leaves.insert(at, &ops, cell);
        Ok(())
    }

    fn all(leaves: &Leaves, pairs: &Pairs) -> Vec<(String, u32)> {
        let mut all = Vec::new();
        for leaf in leaves.as_slice() {
            for (row, cell) in leaf.cells().iter().enumerate() {
                let mut out = Vec::new();
                leaf.decode(row, pairs.texts(), &mut out);
                all.push((String::from_utf8(out).unwrap(), *cell));
            }
        }
        all
    }

    #[test]
    fn a_label_without_a_value_is_no_label() {
        let same = |one: &str, two: &str| series_order(one.as_bytes(), two.as_bytes()).is_eq();
        for (one, two) in [
            (r#"a="""#, ""),
            (r#"a="",b="1""#, r#"b="1""#),
            (r#"b="1",c="""#, r#"b="1""#),
            (r#"a="",b="1",c="""#, r#"b="1",d="""#),
            (r#""a,b="="",c="x""#, r#"c="x""#),
        ] {
            assert!(same(one, two) && same(two, one), "{one} {two}");
        }
        for (one, two) in [(r#"a="\"""#, ""), (r#"a=",b=\"\"""#, r#"a="""#), (r#"a="1",b="""#, r#"a="1",b="2""#)] {
            assert!(!same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn sorted_input_fills_its_leaves() {
        let (mut leaves, mut pairs) = (Leaves::default(), Pairs::new());
        for n in 0..1024 {
            put(&mut leaves, &mut pairs, &format!("{n:05}"), n).unwrap();
        }
        assert_eq!(leaves.as_slice().len(), 4);
    }

    #[test]
    fn what_a_scrape_holds_does_not_change_under_it() {
        let (mut leaves, mut pairs) = (Leaves::default(), Pairs::new());
        put(&mut leaves, &mut pairs, "b", 1).unwrap();
        let held = leaves.as_slice()[0].clone();
        put(&mut leaves, &mut pairs, "a", 2).unwrap();
        assert_eq!(held.cells(), [1]);
        assert_eq!(leaves.as_slice()[0].cells(), [2, 1]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(24))]

        #[test]
        fn leaves_behave_like_a_sorted_map(texts in proptest::collection::vec("[a-f]{1,4}", 0..1500), odd: bool) {
            let (mut leaves, mut pairs) = (Leaves::default(), Pairs::new());
            let mut model = std::collections::BTreeMap::new();
            for (cell, text) in texts.iter().enumerate() {
                let new = put(&mut leaves, &mut pairs, text, cell as u32);
                proptest::prop_assert_eq!(new.err(), model.get(text).copied());
                model.entry(text.clone()).or_insert(cell as u32);
            }
            proptest::prop_assert_eq!(all(&leaves, &pairs), model.clone().into_iter().collect::<Vec<_>>());
            let keep = |cell: u32| (cell % 2 == 1) == odd;
            leaves.retain(keep);
            model.retain(|_, cell| keep(*cell));
            proptest::prop_assert_eq!(all(&leaves, &pairs), model.into_iter().collect::<Vec<_>>());
        }
    }
}

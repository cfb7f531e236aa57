//! The values: one cell a series, found by the series' handle or by its fingerprint.

use hashbrown::HashTable;
use pdata::{Fingerprint, Number, SeriesId};

use super::drops::Drop;

/// All cells, and the two ways to them.
#[derive(Default)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    /// Whose cell it is; read only on the way through the index.
    owners: Vec<Fingerprint>,
    free: Vec<u32>,
    index: HashTable<u32>,
    memo: Vec<Memo>,
    live: usize,
}

/// One series' value. 32 bytes: two to a cache line.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    /// An integer, the bits of a double, or the number of a distribution, as the flags say.
    pub(super) bits: u64,
    /// When the value was true, in nanoseconds since 1970; 0 when unknown.
    pub(super) time: u64,
    /// When the last point came, in seconds since the table was made; [`HELD`] while a receiver holds the series.
    pub(super) seen: u32,
    /// See [`super::kin`].
    pub(super) kin: u32,
    /// Where the memo points to this cell, so that it can be told when the cell dies.
    slot: u32,
    pub(super) flags: u32,
}

/// What a series' handle means: kept apart as index and incarnation, eight bytes a series.
#[derive(Clone, Copy)]
struct Memo {
    incarnation: u32,
    place: u32,
}

/// Where a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this cell.
    Cell(u32),
    /// It was not let in when it was seen last, not long ago.
    Dropped(Drop),
    /// Nobody knows.
    Unknown,
}

/// Never expires.
pub(super) const HELD: u32 = u32::MAX;

/// The value is an integer.
pub(super) const INTEGER: u32 = 1;
/// The value is the number of a distribution.
pub(super) const DISTRIBUTION: u32 = 1 << 1;
/// Negative values and NaN are refused.
pub(super) const COUNTER: u32 = 1 << 2;
/// Points add to the value.
pub(super) const ADDS: u32 = 1 << 3;
/// There are exemplars.
pub(super) const EXEMPLARS: u32 = 1 << 4;
/// The series is gone; its row is taken out at the next tidying.
pub(super) const DEAD: u32 = 1 << 5;

const NO_SLOT: u32 = u32::MAX;
/// Places of the memo from here on are drops: four bits of reason, the rest the generation.
const DROPPED: u32 = 1 << 30;
const NOWHERE: u32 = DROPPED - 1;
const GENERATIONS: u32 = 1 << 26;

/// Cells at most: what numbers below the drops allow.
pub(super) const CELLS_MAX: usize = NOWHERE as usize;

impl Cells {
    /// Where the series of an interned handle stands.
    pub(super) fn place(&self, id: SeriesId, generation: u32) -> Place {
        match self.memo.get(id.index()) {
            Some(memo) if memo.incarnation == id.incarnation() => match memo.place {
                NOWHERE => Place::Unknown,
                place if place < DROPPED => Place::Cell(place),
                place if place % GENERATIONS == generation % GENERATIONS => {
                    Place::Dropped(Drop::from_code((place - DROPPED) / GENERATIONS))
                }
                _ => Place::Unknown,
            },
            _ => Place::Unknown,
        }
    }

    /// Where the series with this fingerprint stands, if it has a cell.
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<u32> {
        let owners = &self.owners;
        self.index.find(fingerprint.low(), |cell| owners[*cell as usize] == fingerprint).copied()
    }

    /// Lets an interned handle lead to a cell.
    pub(super) fn bind(&mut self, id: SeriesId, cell: u32) {
        self.unbind(cell);
        *self.memo_of(id) = Memo { incarnation: id.incarnation(), place: cell };
        self.cells[cell as usize].slot = slot(id);
    }

    /// Remembers that a series was not let in.
    pub(super) fn bind_drop(&mut self, id: SeriesId, drop: Drop, generation: u32) {
        let place = DROPPED + drop.code() * GENERATIONS + generation % GENERATIONS;
        *self.memo_of(id) = Memo { incarnation: id.incarnation(), place };
    }

    /// A new cell with an owner.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, kin: u32, flags: u32) -> u32 {
        let cell = Cell { bits: 0, time: 0, seen: 0, kin, slot: NO_SLOT, flags };
        let place = match self.free.pop() {
            Some(place) => {
                self.cells[place as usize] = cell;
                self.owners[place as usize] = fingerprint;
                place
            }
            None => {
                self.cells.push(cell);
                self.owners.push(fingerprint);
                u32::try_from(self.cells.len() - 1).expect("cells are bounded below 2^30")
            }
        };
        let owners = &self.owners;
        self.index.insert_unique(fingerprint.low(), place, |cell| owners[*cell as usize].low());
        self.live += 1;
        place
    }

    /// Ends a series: neither handle nor fingerprint leads to its cell any more. The cell itself stays until it is
    /// [`freed`](Self::free).
    pub(super) fn end(&mut self, place: u32) {
        self.unbind(place);
        let fingerprint = self.owners[place as usize];
        if let Ok(entry) = self.index.find_entry(fingerprint.low(), |cell| *cell == place) {
            entry.remove();
        }
        self.cells[place as usize].flags |= DEAD;
        self.live -= 1;
    }

    /// Gives a dead cell back, when no row names it any more.
    pub(super) fn free(&mut self, place: u32) {
        debug_assert!(self.cells[place as usize].flags & DEAD != 0);
        self.free.push(place);
    }

    pub(super) fn cell(&self, place: u32) -> &Cell {
        &self.cells[place as usize]
    }

    pub(super) fn cell_mut(&mut self, place: u32) -> &mut Cell {
        &mut self.cells[place as usize]
    }

    /// All places, living or not.
    pub(super) fn places(&self) -> std::ops::Range<u32> {
        0..self.cells.len() as u32
    }

    /// Series that live.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
            + self.owners.capacity() * size_of::<Fingerprint>()
            + self.index.capacity() * 8 / 7 * 5
            + self.memo.capacity() * size_of::<Memo>()
            + self.free.capacity() * 4
    }

    fn unbind(&mut self, place: u32) {
        let slot = std::mem::replace(&mut self.cells[place as usize].slot, NO_SLOT);
        if let Some(memo) = self.memo.get_mut(slot as usize).filter(|memo| memo.place == place) {
            memo.place = NOWHERE;
        }
    }

    fn memo_of(&mut self, id: SeriesId) -> &mut Memo {
        let index = id.index();
        if self.memo.len() <= index {
            self.memo.resize(index + 1, Memo { incarnation: 0, place: NOWHERE });
        }
        &mut self.memo[index]
    }
}

fn slot(id: SeriesId) -> u32 {
    u32::try_from(id.index()).expect("slots are numbered by u32")
}

impl Cell {
    /// The number, unless it is a distribution.
    pub(super) fn number(&self) -> Number {
        if self.flags & INTEGER != 0 {
            Number::Int(self.bits as i64)
        } else {
            Number::Double(f64::from_bits(self.bits))
        }
    }

    pub(super) fn set(&mut self, number: Number) {
        match number {
            Number::Int(int) => {
                self.bits = int as u64;
                self.flags |= INTEGER;
            }
            Number::Double(double) => {
                self.bits = double.to_bits();
                self.flags &= !INTEGER;
            }
        }
    }

    /// Adds exactly while both are integers and the sum is one; from then on in doubles.
    pub(super) fn add(&mut self, number: Number) {
        let sum = match (self.number(), number) {
            (Number::Int(kept), Number::Int(new)) => kept.checked_add(new).map(Number::Int),
            _ => None,
        };
        let sum = sum.unwrap_or_else(|| Number::Double(self.number().as_f64() + number.as_f64()));
        self.set(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdata::{Identity, Kind, SeriesTable};
    use pipeline::testing::identity;

    fn id(table: &SeriesTable, name: &str) -> (SeriesId, Fingerprint) {
        let identity: Identity = identity(name, Kind::Gauge, &[]);
        let series = table.intern(identity);
        (series.id().unwrap(), series.fingerprint())
    }

    #[test]
    fn neither_handle_nor_fingerprint_leads_to_a_cell_that_ended() {
        let table = SeriesTable::with_defaults();
        let (id, fingerprint) = id(&table, "a");
        let mut cells = Cells::default();
        let cell = cells.insert(fingerprint, 0, 0);
        cells.bind(id, cell);
        assert_eq!((cells.place(id, 0), cells.find(fingerprint)), (Place::Cell(cell), Some(cell)));
        cells.end(cell);
        assert_eq!((cells.place(id, 0), cells.find(fingerprint)), (Place::Unknown, None));
        cells.free(cell);
        assert_eq!(cells.insert(fingerprint, 0, 0), cell);
    }

    #[test]
    fn a_drop_is_remembered_for_one_generation() {
        let table = SeriesTable::with_defaults();
        let (id, _) = id(&table, "a");
        let mut cells = Cells::default();
        cells.bind_drop(id, Drop::Duplicate, 7);
        assert_eq!(cells.place(id, 7), Place::Dropped(Drop::Duplicate));
        assert_eq!(cells.place(id, 8), Place::Unknown);
    }

    #[test]
    fn sums_stay_exact_until_they_leave_the_integers() {
        let mut cell = Cell { bits: 0, time: 0, seen: 0, kin: 0, slot: 0, flags: INTEGER };
        cell.add(Number::Int((1 << 62) + 1));
        cell.add(Number::Int(1));
        assert_eq!(cell.number(), Number::Int((1 << 62) + 2));
        cell.add(Number::Int(1 << 62));
        assert_eq!(cell.number(), Number::Double(2f64.powi(63)));
        cell.add(Number::Double(0.5));
        assert!(matches!(cell.number(), Number::Double(_)));
    }
}

//! The key of a record: the bytes of the cells that make its identity, as they are, without a look at their meaning.

use pdata::{Fingerprint, Seed};

use super::{Cell, Record};

/// A column of a key, and what stands for its nulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumn {
    pub(super) index: usize,
    pub(super) null: Option<Box<str>>,
}

impl KeyColumn {
    /// The cell that counts for the identity: NULL and the empty text give way to what stands for them.
    pub(super) fn cell<'a, R: Record + ?Sized>(&'a self, record: &'a R) -> Cell<'a> {
        match (record.cell(self.index), &self.null) {
            (Cell::Null | Cell::Text([]) | Cell::Bytes([]), Some(stands_for_it)) => {
                Cell::Text(stands_for_it.as_bytes())
            }
            (cell, _) => cell,
        }
    }
}

/// The fingerprint of the key cells of a record. `scratch` keeps its capacity from record to record.
///
/// Keys of unequal cells are unequal. Unequal keys may still make one series (1 and '1' read the same): see `Held`.
pub(super) fn fingerprint<R: Record + ?Sized>(
    columns: &[KeyColumn],
    record: &R,
    seed: &Seed,
    scratch: &mut Vec<u8>,
) -> Fingerprint {
    scratch.clear();
    for column in columns {
        put(scratch, column.cell(record));
    }
    seed.fingerprint(scratch)
}

/// The key of one metric, and of one state of it, among those that share key cells. The constants are odd and unequal, so no two
/// (metric, state) of a source meet.
pub(super) fn of(key: Fingerprint, metric: usize, state: usize) -> Fingerprint {
    let [low, high] = key.0;
    let salt = (metric as u64) << 32 | state as u64;
    Fingerprint([low.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)), high ^ salt])
}

fn put(out: &mut Vec<u8>, cell: Cell<'_>) {
    let mut fixed = |tag: u8, bytes: [u8; 8]| {
        out.push(tag);
        out.extend_from_slice(&bytes);
    };
    match cell {
        Cell::Null => out.push(0),
        Cell::Bool(flag) => out.push(1 + u8::from(flag)),
        Cell::Int(int) => fixed(3, int.to_le_bytes()),
        Cell::Double(double) => fixed(4, double.to_bits().to_le_bytes()),
        Cell::Time(time) => fixed(5, time.0.to_le_bytes()),
        Cell::Text(bytes) | Cell::Bytes(bytes) => {
            // Most text is short, and each byte here is hashed.
            match u8::try_from(bytes.len()) {
                Ok(length) => out.extend_from_slice(&[6, length]),
                Err(_) => fixed(7, (bytes.len() as u64).to_le_bytes()),
            }
            out.extend_from_slice(bytes);
        }
    }
}

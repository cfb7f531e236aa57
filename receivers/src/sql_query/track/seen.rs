//! Keys of the rows that were passed within the overlap, so that a row which is read again is not passed again.
//!
//! They are kept in segments that are written as a whole, each as a cursor of its own in the ledger: a page rewrites the last one,
//! and what is too old goes segment by segment.

use std::collections::{HashSet, VecDeque};

/// The keys of one query.
#[derive(Debug)]
pub(crate) struct Seen {
    keys: HashSet<u128>,
    segments: VecDeque<Segment>,
    /// The number of the next segment. Numbers are used again after [`NUMBERS`].
    next: u32,
    max_keys: usize,
    /// Rows at or before this are too old to be told from those that were forgotten: they are not passed.
    floor: i64,
}

#[derive(Debug, Default)]
struct Segment {
    number: u32,
    keys: Vec<(u128, i64)>,
    newest: i64,
}

/// What must be written after a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Numbers and contents; an empty one is gone.
    pub(crate) segments: Vec<(u32, Box<[u8]>)>,
    /// Keys that were forgotten before their time, because there were too many.
    pub(crate) forgotten_early: usize,
}

/// What of the keys stands in the cursor: which segments there are, and the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Shelf {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) floor: i64,
}

/// Keys of one segment: 24 bytes each, and a cursor holds 64 KiB.
const SEGMENT_KEYS: usize = 2_700;

/// Numbers of segments, far more than there are at once.
const NUMBERS: u32 = 4_096;

/// Keys at most, whatever is written: 1,000 segments.
pub(crate) const MOST_KEYS: usize = 1_000 * SEGMENT_KEYS;

impl Seen {
    pub(crate) fn new(max_keys: usize) -> Self {
        Self { keys: HashSet::new(), segments: VecDeque::new(), next: 0, max_keys, floor: i64::MIN }
    }

    /// From the segments that a shelf names, each by its number; `None` for one that is not there any more.
    pub(crate) fn restore(&mut self, shelf: Shelf, segment: impl Fn(u32) -> Option<Box<[u8]>>) {
        *self = Self::new(self.max_keys);
        self.floor = shelf.floor;
        for at in 0..shelf.count.min(NUMBERS) {
            let number = shelf.first.wrapping_add(at) % NUMBERS;
            let bytes = segment(number).unwrap_or_default();
            let mut restored = Segment { number, newest: i64::MIN, ..Segment::default() };
            for entry in bytes.chunks_exact(24) {
                let (key, position) = entry.split_at(16);
                let key = u128::from_le_bytes(key.try_into().unwrap_or_default());
                let position = i64::from_le_bytes(position.try_into().unwrap_or_default());
                restored.push(key, position);
                self.keys.insert(key);
            }
            self.segments.push_back(restored);
            self.next = (number + 1) % NUMBERS;
        }
    }

    /// Whether a row is not to be passed: it was, or it is too old to know.
    pub(crate) fn knows(&self, key: u128, position: i64) -> Known {
        if self.keys.contains(&key) {
            Known::Passed
        } else if position <= self.floor {
            Known::TooOld
        } else {
            Known::No
        }
    }

    /// Remembers keys, and forgets those below `low` and those that are too many.
    pub(crate) fn remember(&mut self, keys: &[(u128, i64)], low: i64) -> Changed {
        let mut changed = Changed::default();
        let mut dirty = VecDeque::new();
        for (key, position) in keys {
            if self.segments.back().is_none_or(|last| last.keys.len() >= SEGMENT_KEYS) {
                self.segments.push_back(Segment { number: self.next, newest: i64::MIN, ..Segment::default() });
                self.next = (self.next + 1) % NUMBERS;
            }
            let Some(last) = self.segments.back_mut() else { break };
            last.push(*key, *position);
            self.keys.insert(*key);
            if dirty.back() != Some(&last.number) {
                dirty.push_back(last.number);
            }
        }
        while let Some(first) = self.segments.front()
            && (first.newest < low || self.keys.len() > self.max_keys)
        {
            if first.newest >= low {
                changed.forgotten_early += first.keys.len();
                self.floor = self.floor.max(first.newest);
            }
            let first = self.segments.pop_front().unwrap_or_default();
            first.keys.iter().for_each(|(key, _)| {
                self.keys.remove(key);
            });
            changed.segments.push((first.number, Box::default()));
        }
        let kept = self.segments.iter().filter(|segment| dirty.contains(&segment.number));
        changed.segments.extend(kept.map(|segment| (segment.number, segment.bytes())));
        changed
    }

    pub(crate) fn shelf(&self) -> Shelf {
        let first = self.segments.front().map_or(self.next, |segment| segment.number);
        Shelf { first, count: u32::try_from(self.segments.len()).unwrap_or(NUMBERS), floor: self.floor }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// What is known of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    No,
    Passed,
    TooOld,
}

impl Segment {
    fn push(&mut self, key: u128, position: i64) {
        self.keys.push((key, position));
        self.newest = self.newest.max(position);
    }

    fn bytes(&self) -> Box<[u8]> {
        let entry = |(key, position): &(u128, i64)| {
            let mut bytes = [0; 24];
            bytes[..16].copy_from_slice(&key.to_le_bytes());
            bytes[16..].copy_from_slice(&position.to_le_bytes());
            bytes
        };
        self.keys.iter().flat_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn keys(range: std::ops::Range<i64>) -> Vec<(u128, i64)> {
        range.map(|at| (u128::try_from(at).unwrap(), at)).collect()
    }

    /// What would be on disk.
    fn write(disk: &mut BTreeMap<u32, Box<[u8]>>, changed: Changed) {
        for (number, bytes) in changed.segments {
            if bytes.is_empty() {
                disk.remove(&number)
            } else {
                disk.insert(number, bytes)
            };
        }
    }

    #[test]
    fn keys_come_back_from_disk_and_old_ones_go() {
        let (mut seen, mut disk) = (Seen::new(1_000_000), BTreeMap::new());
        for page in 0..10 {
            let changed = seen.remember(&keys(page * 1000..(page + 1) * 1000), (page - 5) * 1000);
            assert_eq!(changed.forgotten_early, 0);
            write(&mut disk, changed);
        }
        let mut again = Seen::new(1_000_000);
        again.restore(seen.shelf(), |number| disk.get(&number).cloned());
        assert_eq!((again.len(), again.shelf()), (seen.len(), seen.shelf()));
        assert_eq!(again.knows(9_999, 9_999), Known::Passed);
        assert_eq!(again.knows(10_000, 10_000), Known::No);
        assert!(again.len() < 10_000, "nothing was forgotten");
        assert_eq!(again.knows(0, 0), Known::No, "what is older than the overlap is not read any more");
    }

    #[test]
    fn past_the_bound_the_oldest_go_and_rows_as_old_as_they_are_not_passed() {
        let mut seen = Seen::new(6_000);
        let mut early = 0;
        for page in 0..10 {
            early += seen.remember(&keys(page * 1000..(page + 1) * 1000), i64::MIN).forgotten_early;
            assert!(seen.len() <= 6_000);
        }
        assert!(early > 0);
        assert_eq!(seen.knows(0, 0), Known::TooOld);
        assert_eq!(seen.knows(50_000, 0), Known::TooOld);
        assert_eq!(seen.knows(50_000, 9_999), Known::No);
    }

    #[test]
    fn numbers_are_used_again() {
        let mut seen = Seen::new(MOST_KEYS);
        seen.next = NUMBERS - 1;
        let mut disk = BTreeMap::new();
        write(&mut disk, seen.remember(&keys(0..6_000), i64::MIN));
        let mut again = Seen::new(MOST_KEYS);
        again.restore(seen.shelf(), |number| disk.get(&number).cloned());
        assert_eq!(again.len(), 6_000);
    }
}

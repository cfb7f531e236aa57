//! Label pairs that many series share, kept once.
//!
//! A series' label text is kept as a run of *ops*: two bytes each, either a shared pair's number or the length of literal text
//! that follows. So ten labels of which one is unique cost about fifty bytes instead of two hundred, and a scrape copies a
//! dozen short runs. A pair is shared at its second sight; what is unique stays literal and costs the dictionary nothing.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The dictionary.
pub(super) struct Pairs {
    texts: Arc<Texts>,
    index: HashTable<u16>,
    hasher: DefaultHashBuilder,
    /// Hashes of pairs seen once, direct-mapped: a stranger overwrites its place, a regular is soon found again.
    seen: Box<[u32; SEEN]>,
    free: Vec<u16>,
    /// Pairs worth sharing that found no room since unused ones were sought last.
    refused: u32,
}

/// What decoding needs: shared with running scrapes, copied when it grows while one reads.
#[derive(Clone, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// Marks an op that names a shared pair.
const SHARED: u16 = 0x8000;
/// Shared pairs at most, as many as fit beside the mark.
const PAIRS_MAX: usize = 0x8000;
/// Bytes of shared pairs at most: what a core's second-level cache holds.
const BYTES_MAX: usize = 1 << 20;
/// Longer pairs are rarely shared and would crowd out others.
const PAIR_MAX: usize = 512;
/// Pairs that must have found no room before unused ones are sought.
const REFUSED_MAX: u32 = 50_000;
/// Places for first sights: 16 KiB.
const SEEN: usize = 4096;
/// Runs up to this length are copied with one move of constant size.
const SHORT: usize = 32;

impl Pairs {
    pub(super) fn new() -> Self {
        Self {
            texts: Arc::default(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            seen: Box::new([0; SEEN]),
            free: Vec::new(),
            refused: 0,
        }
    }

    pub(super) fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// Adds the ops of `pairs` to `out`.
    pub(super) fn encode<'a>(&mut self, pairs: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        // Where the length of a literal run stands that the next literal pair may join.
        let mut literal: Option<usize> = None;
        for pair in pairs {
            let shared = self.share(pair).map(|number| (number, pair.len())).or_else(|| {
                // Of a pair that stays literal the name at least is shared: `,id="`.
                let name = pair.windows(2).position(|two| two == b"=\"").map_or(0, |at| at + 2);
                (name > 0).then(|| self.share(&pair[..name]).map(|number| (number, name)))?
            });
            let mut rest = pair;
            if let Some((number, length)) = shared {
                out.extend_from_slice(&(SHARED | number).to_le_bytes());
                literal = None;
                rest = &pair[length..];
            }
            for part in rest.chunks(usize::from(SHARED) - 1) {
                literal = Some(push_literal(out, literal, part));
            }
        }
    }

    fn share(&mut self, pair: &[u8]) -> Option<u16> {
        if pair.len() > PAIR_MAX {
            return None;
        }
        let hash = self.hasher.hash_one(pair);
        if let Some(number) = self.index.find(hash, |number| self.texts.text(*number) == pair) {
            return Some(*number);
        }
        let place = &mut self.seen[hash as usize % SEEN];
        let tag = (hash >> 32) as u32;
        if std::mem::replace(place, tag) != tag {
            return None;
        }
        let Some(number) = self.room_for(pair) else {
            self.refused = self.refused.saturating_add(1);
            return None;
        };
        Arc::make_mut(&mut self.texts).put(number, pair);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index.insert_unique(hash, number, |number| hasher.hash_one(texts.text(*number)));
        Some(number)
    }

    /// A number for one more pair, if there is one and bytes are left.
    fn room_for(&mut self, pair: &[u8]) -> Option<u16> {
        if self.texts.bytes.len() + pair.len() > BYTES_MAX {
            return None;
        }
        let new = u16::try_from(self.texts.spans.len()).ok().filter(|number| usize::from(*number) < PAIRS_MAX);
        self.free.pop().or(new)
    }

    /// Whether it is worth looking for pairs that nobody uses any more: that costs a walk along all series.
    pub(super) fn is_crowded(&self) -> bool {
        self.refused >= REFUSED_MAX
    }

    /// Forgets all pairs that `used` does not hold, and gives their room back.
    pub(super) fn retain(&mut self, used: &Used) {
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index.retain(|number| used.0[usize::from(*number)]);
        let mut kept = Texts { bytes: Vec::new(), spans: vec![Span { start: 0, len: 0 }; texts.spans.len()] };
        self.free.clear();
        self.refused = 0;
        for number in (0..texts.spans.len()).rev() {
            let number = u16::try_from(number).expect("pairs are numbered below 2^15");
            if used.0[usize::from(number)] {
                kept.put(number, texts.text(number));
            } else {
                self.free.push(number);
            }
        }
        debug_assert!(self.index.iter().all(|n| self.index.find(hasher.hash_one(kept.text(*n)), |m| m == n).is_some()));
        self.texts = Arc::new(kept);
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.texts.bytes.capacity() + 8 * self.texts.spans.capacity() + 3 * self.index.capacity() + 4 * SEEN
    }
}

/// Which pairs are in use.
pub(super) struct Used(Vec<bool>);

impl Used {
    pub(super) fn none() -> Self {
        Self(vec![false; PAIRS_MAX])
    }

    /// Notes the pairs of encoded texts.
    pub(super) fn note(&mut self, ops: &[u8]) {
        let mut at = 0;
        while at < ops.len() {
            let op = u16::from_le_bytes([ops[at], ops[at + 1]]);
            at += 2;
            if op & SHARED != 0 {
                self.0[usize::from(op & !SHARED)] = true;
            } else {
                at += usize::from(op);
            }
        }
    }
}

impl Texts {
    fn text(&self, number: u16) -> &[u8] {
        let Span { start, len } = self.spans[usize::from(number)];
        &self.bytes[start as usize..(start + len) as usize]
    }

    fn put(&mut self, number: u16, text: &[u8]) {
        let start = u32::try_from(self.bytes.len()).expect("the dictionary's bytes are bounded");
        let len = u32::try_from(text.len()).expect("the dictionary's bytes are bounded");
        self.bytes.extend_from_slice(text);
        let number = usize::from(number);
        if self.spans.len() <= number {
            self.spans.resize(number + 1, Span { start: 0, len: 0 });
        }
        self.spans[number] = Span { start, len };
    }

    /// Adds the text of `ops[from..to]` to `out`.
    pub(super) fn decode(&self, ops: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
        let mut at = from;
        while at < to {
            let op = u16::from_le_bytes([ops[at], ops[at + 1]]);
            at += 2;
            if op & SHARED != 0 {
                let Span { start, len } = self.spans[usize::from(op & !SHARED)];
                push_run(out, &self.bytes, start as usize, len as usize);
            } else {
                push_run(out, ops, at, usize::from(op));
                at += usize::from(op);
            }
        }
    }
}

/// Adds `from[start..start + len]`. Short runs are copied whole and cut: a move of constant size is three times as fast as one
/// of unknown size.
fn push_run(out: &mut Vec<u8>, from: &[u8], start: usize, len: usize) {
    if len <= SHORT
        && let Some(run) = from.get(start..start + SHORT)
    {
        let end = out.len() + len;
        out.extend_from_slice(run);
        out.truncate(end);
    } else {
        out.extend_from_slice(&from[start..start + len]);
    }
}

fn push_literal(out: &mut Vec<u8>, open: Option<usize>, part: &[u8]) -> usize {
    if let Some(at) = open {
        let length = usize::from(u16::from_le_bytes([out[at], out[at + 1]])) + part.len();
        if let Ok(length) = u16::try_from(length)
            && length < SHARED
        {
            out[at..at + 2].copy_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part);
            return at;
        }
    }
    let at = out.len();
    let length = u16::try_from(part.len()).expect("parts are cut below the mark");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(part);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(pairs: &mut Pairs, texts: &[&str]) -> (usize, String) {
        let (mut ops, mut out) = (Vec::new(), Vec::new());
        pairs.encode(texts.iter().map(|text| text.as_bytes()), &mut ops);
        pairs.texts().decode(&ops, 0, ops.len(), &mut out);
        (ops.len(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_pair_is_shared_at_its_second_sight_and_a_unique_one_stays_literal() {
        let mut pairs = Pairs::new();
        let text = ["env=\"prod\"", ",id=\"1\""];
        assert_eq!(round(&mut pairs, &text), (2 + 10 + 7, text.concat()));
        assert_eq!(round(&mut pairs, &["env=\"prod\"", ",id=\"2\""]), (2 + 2 + 2 + 2, "env=\"prod\",id=\"2\"".into()));
        assert_eq!(pairs.texts().spans.len(), 2, "the pair, and the name of the other");
    }

    #[test]
    fn unused_pairs_give_their_room_back_and_the_others_keep_their_numbers() {
        let mut pairs = Pairs::new();
        for _ in 0..2 {
            round(&mut pairs, &["a=\"1\"", ",b=\"2\""]);
        }
        let mut ops = Vec::new();
        pairs.encode([b",b=\"2\"".as_slice()].into_iter(), &mut ops);
        let mut used = Used::none();
        used.note(&ops);
        pairs.retain(&used);
        let mut out = Vec::new();
        pairs.texts().decode(&ops, 0, ops.len(), &mut out);
        assert_eq!(out, b",b=\"2\"");
        for _ in 0..2 {
            assert_eq!(round(&mut pairs, &["c=\"3\"", ",b=\"2\""]).1, "c=\"3\",b=\"2\"");
        }
        assert_eq!(pairs.texts().spans.len(), 2, "the freed number is given out again");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(48))]

        #[test]
        fn whatever_is_encoded_decodes_to_itself(rounds in proptest::collection::vec(proptest::collection::vec("[ab]{0,40}", 0..6), 1..20)) {
            let mut pairs = Pairs::new();
            for texts in rounds {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                proptest::prop_assert_eq!(round(&mut pairs, &texts).1, texts.concat());
            }
        }

        #[test]
        fn a_very_long_pair_survives(length in 30_000usize..100_000) {
            let text = "x".repeat(length);
            proptest::prop_assert_eq!(round(&mut Pairs::new(), &["a", &text]).1.len(), length + 1);
        }
    }
}

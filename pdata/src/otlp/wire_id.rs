//! What bytes on the wire are known by: 128 bits under secret keys.
//!
//! Two hashes with keys of their own, both of the kind that wyhash and foldhash are: words are mixed into the state by a product of 64 by 64
//! bits whose halves are folded together. They go over the bytes together, since what takes time is to wait for one product after
//! another, and hashing was a third of what a known point costs. Keys are random, so senders cannot aim for collisions.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// 128 bits that stand for bytes on the wire. Made with secret keys, kept in memory only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WireId([u64; 2]);

/// Makes [`WireId`]s.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireHash {
    seeds: [u64; 2],
    keys: &'static Keys,
}

/// Bytes on their way into a [`WireId`].
#[derive(Clone)]
pub(super) struct WireHasher {
    state: [u64; 2],
    keys: &'static Keys,
}

/// The keys of both hashes; odd, so that none is a multiplier that loses all.
type Keys = [[u64; 8]; 2];

/// Bytes that are mixed in together: a word for each of four places.
const BLOCK: usize = 32;

/// Drawn once per process.
static KEYS: LazyLock<Keys> = LazyLock::new(|| std::array::from_fn(|_| std::array::from_fn(|_| random() | 1)));

fn random() -> u64 {
    RandomState::new().hash_one(0x5eed_u64)
}

/// The product, its halves folded together.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn words(block: &[u8; BLOCK]) -> [u64; 4] {
    let (words, _) = block.as_chunks();
    std::array::from_fn(|at| u64::from_le_bytes(words[at]))
}

impl WireId {
    /// Half of it, for a table's index.
    #[inline]
    pub(super) const fn short(self) -> u64 {
        self.0[0]
    }
}

impl WireHash {
    pub(super) fn random() -> Self {
        Self { seeds: [random(), random()], keys: &KEYS }
    }

    /// A hasher that goes on from what stands above: the ids of a point begin with its metric's.
    #[inline]
    pub(super) fn under(self, above: WireId) -> WireHasher {
        let mut hasher = WireHasher { state: self.seeds, keys: self.keys };
        hasher.word(above.0[0]);
        hasher.word(above.0[1]);
        hasher
    }
}

impl WireHasher {
    /// Adds bytes; their length counts.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        // Two streams for each hash: neither waits for the other's products.
        let mut streams = self.state.map(|state| [state, !state]);
        blocks.iter().for_each(|block| self.block(&mut streams, words(block)));
        if !rest.is_empty() {
            // The last bytes, together with some that were mixed in before, or with zeros: which of them count, the length says.
            let mut last = [0; BLOCK];
            let last = bytes.last_chunk().unwrap_or_else(|| {
                last[..rest.len()].copy_from_slice(rest);
                &last
            });
            self.block(&mut streams, words(last));
        }
        for (hash, [one, other]) in streams.into_iter().enumerate() {
            let keys = &self.keys[hash];
            self.state[hash] = mix(one ^ keys[4], other ^ keys[5]);
        }
    }

    #[inline]
    fn block(&self, streams: &mut [[u64; 2]; 2], words: [u64; 4]) {
        for (streams, keys) in streams.iter_mut().zip(self.keys) {
            streams[0] = mix(words[0] ^ streams[0], words[1] ^ keys[0]);
            streams[1] = mix(words[2] ^ streams[1], words[3] ^ keys[1]);
        }
    }

    #[inline]
    pub(super) fn word(&mut self, word: u64) {
        for (state, keys) in self.state.iter_mut().zip(self.keys) {
            *state = mix(*state ^ word, keys[2]);
        }
    }

    #[inline]
    pub(super) fn finish(&self) -> WireId {
        WireId(std::array::from_fn(|hash| mix(self.state[hash] ^ self.keys[hash][6], self.keys[hash][7])))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(hash: WireHash, parts: &[&[u8]]) -> WireId {
        let mut hasher = hash.under(WireId::default());
        parts.iter().for_each(|part| hasher.bytes(part));
        hasher.finish()
    }

    /// Each half has to tell them apart alone: by chance two of a million are the same once in forty million tries.
    fn all_differ(ids: impl Iterator<Item = WireId>) {
        let (mut seen, mut count) = ([HashSet::new(), HashSet::new()], 0);
        for id in ids {
            count += 1;
            for (seen, half) in seen.iter_mut().zip(id.0) {
                seen.insert(half);
            }
        }
        assert_eq!(seen.map(|seen| seen.len()), [count, count]);
    }

    #[test]
    fn attributes_that_differ_in_little_have_ids_that_differ_in_each_half() {
        let hash = WireHash::random();
        let bytes = |n: u32, length: usize| {
            let mut bytes = vec![b'a'; length];
            let digits = format!("{n:06}");
            // The number stands at the beginning, in the middle or at the end, over the edges of blocks too.
            let at = (n as usize % 3) * (length - digits.len()) / 2;
            bytes[at..at + digits.len()].copy_from_slice(digits.as_bytes());
            bytes
        };
        for length in [6, 31, 32, 33, 63, 64, 65, 250] {
            all_differ((0..100_000).map(|n| id(hash, &[&bytes(n, length)])));
        }
    }

    #[test]
    fn zeros_and_single_bits_of_every_length_have_ids_of_their_own() {
        let hash = WireHash::random();
        let zeros = (0..600).map(|length| vec![0; length]);
        let bits = (1..200_usize).flat_map(|length| {
            (0..8 * length).map(move |bit| {
                let mut bytes = vec![0; length];
                bytes[bit / 8] = 1 << (bit % 8);
                bytes
            })
        });
        all_differ(zeros.chain(bits).map(|bytes| id(hash, &[&bytes])));
    }

    #[test]
    fn each_bit_of_the_bytes_turns_half_of_the_bits_of_both_halves() {
        let hash = WireHash::random();
        let bytes = [0x5a; 100];
        let whole = id(hash, &[&bytes]);
        let mut turned = [0; 2];
        for bit in 0..800 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            let other = id(hash, &[&other]);
            (0..2).for_each(|half| turned[half] += (whole.0[half] ^ other.0[half]).count_ones());
        }
        // 25,600 of 51,200 on average, and 113 away from that in two of three tries.
        assert!(turned.iter().all(|turned| (24_000..27_200).contains(turned)), "{turned:?}");
    }

    proptest! {
        #[test]
        fn where_one_text_ends_and_the_next_begins_counts(
            bytes in prop::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>(),
        ) {
            let hash = WireHash::random();
            let at = at.index(bytes.len());
            prop_assert_ne!(id(hash, &[&bytes[..at], &bytes[at..]]), id(hash, &[&bytes]));
            prop_assert_ne!(id(hash, &[&bytes[..at], &bytes[at..]]), id(hash, &[&bytes, b""]));
            prop_assert_eq!(id(hash, &[&bytes[..at], &bytes[at..]]), id(hash, &[&bytes[..at], &bytes[at..]]));
            prop_assert_ne!(id(hash, &[&bytes]), id(WireHash::random(), &[&bytes]), "seeds count");
        }
    }
}

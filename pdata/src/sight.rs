//! Second sight: which identities have been seen before, in bounded memory.

use crate::fingerprint::Fingerprint;

/// A two-generation filter of fingerprints. What is seen a second time within the last one to two generations is worth a slot
/// in the series table; what is seen once is not, so that ten million one-off tenants never fill it.
///
/// A generation holds at most `capacity` fingerprints in an open-addressed set of 64-bit halves without deletion: 8 bytes
/// each at half load, so two generations cost `32 * capacity` bytes at most. Both start small and double.
#[derive(Debug)]
pub struct Sight {
    current: Generation,
    previous: Generation,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Generation {
    /// Zero marks an empty place; a fingerprint whose half is zero is stored as one.
    places: Vec<u64>,
    len: usize,
}

impl Sight {
    /// A filter whose generations hold at most `capacity` fingerprints each (at least 16).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { current: Generation::default(), previous: Generation::default(), capacity: capacity.max(16) }
    }

    /// Whether the fingerprint was seen before; remembers it if not.
    pub fn seen(&mut self, fingerprint: Fingerprint) -> bool {
        let half = fingerprint.0[1].max(1);
        if self.previous.contains(half) {
            return true;
        }
        if self.current.len >= self.capacity {
            self.turn();
        }
        !self.current.insert(half)
    }

    /// Starts a new generation: what only the one before the last saw is forgotten.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.previous, &mut self.current);
        self.current = Generation::default();
    }

    /// Bytes in use.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        8 * (self.current.places.capacity() + self.previous.places.capacity())
    }
}

impl Generation {
    fn contains(&self, half: u64) -> bool {
        !self.places.is_empty() && self.places[self.find(half)] == half
    }

    /// Whether it was new.
    fn insert(&mut self, half: u64) -> bool {
        if self.len * 2 >= self.places.len() {
            self.grow();
        }
        let place = self.find(half);
        let new = self.places[place] == 0;
        self.places[place] = half;
        self.len += usize::from(new);
        new
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![0; (old.len() * 2).max(32)];
        for half in old.into_iter().filter(|half| *half != 0) {
            let place = self.find(half);
            self.places[place] = half;
        }
    }

    /// Where `half` stands, or the empty place where it would. Load stays at most one half, so an empty place exists.
    fn find(&self, half: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = half as usize & mask;
        while self.places[place] != 0 && self.places[place] != half {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(n: u64) -> Fingerprint {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Fingerprint([n, n.rotate_left(32)])
    }

    #[test]
    fn the_second_sight_is_told_from_the_first() {
        let mut sight = Sight::new(100);
        assert!(!sight.seen(fingerprint(1)));
        assert!(sight.seen(fingerprint(1)));
        assert!(!sight.seen(fingerprint(2)));
    }

    #[test]
    fn a_sight_is_remembered_for_one_generation_and_forgotten_after_two() {
        let mut sight = Sight::new(100);
        sight.seen(fingerprint(1));
        sight.turn();
        assert!(sight.seen(fingerprint(1)));
        sight.turn();
        assert!(!sight.seen(fingerprint(1)));
    }

    #[test]
    fn a_million_strangers_stay_within_the_bound() {
        let mut sight = Sight::new(10_000);
        assert_eq!((0..1_000_000).filter(|n| sight.seen(fingerprint(*n))).count(), 0);
        assert!(sight.heap_bytes() <= 2 * 8 * 4 * 10_000, "{}", sight.heap_bytes());
    }
}

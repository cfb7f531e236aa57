//! Seeded 128-bit fingerprints of identities.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The secret that fingerprints are keyed with. Label text comes from outside: without a secret, collisions could be bought.
///
/// SipHash-1-3 with 128 bits of output is stable over versions and machines, so state on disk may keep fingerprints next to
/// the seed they were made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 16]);

/// 128 bits that stand for an identity. Two identities of one seed share a fingerprint with probability 2^-128 per pair:
/// 1.5e-27 for 10 M series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u64; 2]);

/// A fingerprint in the making.
pub(crate) struct Digest(SipHasher13);

impl Seed {
    /// A seed from 16 secret bytes, as kept in a state folder.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A fresh seed from the operating system's randomness (by way of the standard library's hash keys).
    #[must_use]
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let half = || RandomState::new().hash_one(0x5eed_u64).to_le_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half());
        bytes[8..].copy_from_slice(&half());
        Self(bytes)
    }

    /// The bytes, for keeping beside the state that depends on them.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The fingerprint of plain bytes.
    #[must_use]
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let mut digest = self.digest();
        digest.bytes(bytes);
        digest.finish()
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(SipHasher13::new_with_key(&self.0))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed([REDACTED])")
    }
}

impl Fingerprint {
    /// The half that tables hash by. It is uniform already: no second hash is needed.
    #[must_use]
    pub const fn low(self) -> u64 {
        self.0[0]
    }
}

impl Digest {
    /// Adds bytes with their length, so that ("ab", "c") and ("a", "bc") differ.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.write(&[byte]);
    }

    pub(crate) fn finish(self) -> Fingerprint {
        let hash = self.0.finish128();
        Fingerprint([hash.h1, hash.h2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_seed_and_on_nothing_else() {
        let (one, two) = (Seed::from_bytes([1; 16]), Seed::from_bytes([2; 16]));
        assert_eq!(one.fingerprint(b"tenant"), one.fingerprint(b"tenant"));
        assert_ne!(one.fingerprint(b"tenant"), two.fingerprint(b"tenant"));
        assert_ne!(Seed::random(), Seed::random());
    }

    #[test]
    fn where_one_field_ends_and_the_next_begins_counts() {
        let fingerprint = |parts: [&str; 2]| {
            let mut digest = Seed::from_bytes([0; 16]).digest();
            parts.iter().for_each(|part| digest.bytes(part.as_bytes()));
            digest.finish()
        };
        assert_ne!(fingerprint(["ab", "c"]), fingerprint(["a", "bc"]));
    }

    #[test]
    fn fingerprints_are_stable_so_that_they_may_be_kept_on_disk() {
        let seed = Seed::from_bytes([7; 16]);
        assert_eq!(seed.fingerprint(b"weir").0, [8_552_793_115_818_942_192, 474_376_437_531_152_859]);
        assert_eq!(format!("{seed:?}"), "Seed([REDACTED])");
    }
}

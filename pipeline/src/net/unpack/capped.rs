//! What comes out of a body: kept, or only counted, up to a cap.

use std::io::{self, Write};

use super::Unpackable;
use crate::budget::Permit;

/// More bytes out of each that came look like a bomb. An honest body that does so all the same is unpacked twice.
pub(super) const RATIO: usize = 100;
/// Bytes that must have come out before a body can look like a bomb.
pub(super) const SUSPECT: usize = 4 << 20;
/// Room made at once for what comes out.
const PIECE: usize = 64 << 10;

/// Bytes that came out, up to a cap.
pub(super) struct Capped {
    pub(super) bytes: Vec<u8>,
    pub(super) limit: usize,
    permit: Permit,
    pub(super) failed: Option<Unpackable>,
    /// Bytes that came in and are held beside, while it is looked out for bombs.
    fed: usize,
    /// Bytes that were counted and not kept; once there are some, none is kept.
    counted: usize,
}

impl Capped {
    pub(super) const fn new(limit: usize, permit: Permit) -> Self {
        Self { bytes: Vec::new(), limit, permit, failed: None, fed: 0, counted: 0 }
    }

    /// Makes room for a body of this length; whether there is any is told with its first byte.
    pub(super) fn expect(&mut self, total: usize) {
        self.failed = self.reserve(total).err();
    }

    /// So many bytes came in, and are held beside what comes out of them.
    pub(super) fn fed(&mut self, bytes: usize) -> io::Result<()> {
        self.fed = bytes;
        self.account(self.bytes.capacity())
    }

    /// Looks out for bombs no more, nor holds what came in. True when what came out must come once more, to be kept.
    pub(super) fn keep(&mut self) -> io::Result<bool> {
        self.fed(0).map(|()| self.counted > 0)
    }

    /// The same, as if nothing had come.
    pub(super) fn renew(&mut self) -> Self {
        let permit = std::mem::replace(&mut self.permit, Permit::none());
        // Decoders write what they have left when they are dropped.
        self.failed = Some(Unpackable::Broken);
        Self::new(self.limit, permit)
    }

    /// All that came out, and the permit for it.
    pub(super) fn take(&mut self) -> (Vec<u8>, Permit) {
        (std::mem::take(&mut self.bytes), std::mem::replace(&mut self.permit, Permit::none()))
    }

    /// Makes room for the next piece, and for one byte past the cap at most.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        self.look();
        if self.counted > 0 {
            self.counted += self.bytes.len();
            self.bytes.clear();
        }
        let total = (self.bytes.len() + PIECE).min(self.limit + 1 - self.counted);
        self.reserve(total).map_err(|failed| self.fail(failed))
    }

    /// Whether the cap holds.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.counted + self.bytes.len() > self.limit { Err(self.too_large()) } else { Ok(()) }
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        if self.counted + self.bytes.len() + piece.len() > self.limit {
            return Err(self.too_large());
        }
        self.look();
        if self.counted > 0 {
            self.counted += piece.len();
            return Ok(());
        }
        self.reserve(self.bytes.len() + piece.len()).map_err(|failed| self.fail(failed))?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn too_large(&mut self) -> io::Error {
        self.fail(Unpackable::TooLarge { limit: self.limit })
    }

    /// Lets go of what came out when it looks like a bomb.
    fn look(&mut self) {
        if self.fed > 0 && self.bytes.len() > SUSPECT.max(RATIO * self.fed) {
            self.counted = self.bytes.len();
            self.bytes = Vec::new();
        }
    }

    /// Makes room for `total` bytes in all.
    fn reserve(&mut self, total: usize) -> Result<(), Unpackable> {
        if total <= self.bytes.capacity() {
            return Ok(());
        }
        // Doubling, as vectors do, and never further than a byte past the cap.
        let capacity = total.max(self.bytes.capacity() * 2).min(self.limit + 1).max(total);
        self.permit.resize(self.fed + capacity).map_err(Unpackable::Busy)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    fn account(&mut self, capacity: usize) -> io::Result<()> {
        self.permit.resize(self.fed + capacity).map_err(|refusal| self.fail(Unpackable::Busy(refusal)))
    }

    fn fail(&mut self, failed: Unpackable) -> io::Error {
        self.failed = Some(failed);
        io::ErrorKind::Other.into()
    }
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.append(piece).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! How much a request may unfold to.

use super::wire::Malformed;

/// Bytes that a decoded request may still take. An empty point is two bytes on the wire and some hundred in memory: without a bound
/// a request within its size limit fills the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(usize);

/// Bytes in memory for one on the wire. The leanest honest points and records, with a time and a value and nothing else, take
/// twelve.
const PROPORTION: usize = 16;
/// Small requests are not held to the proportion.
const FREE: usize = 64 << 10;
/// No request takes more: twice what OTLP lets a sender send.
const MOST: usize = 128 << 20;

impl Room {
    pub(super) fn of(body: &[u8]) -> Self {
        Self((body.len().saturating_mul(PROPORTION) + FREE).min(MOST))
    }

    /// How many things of so many bytes there is room for.
    pub(super) const fn for_things_of(&self, bytes: usize) -> usize {
        self.0 / bytes
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(bytes).ok_or(Malformed::TooMuch)?;
        Ok(())
    }
}

//! What those who store and the committer do to a partition: room taken and given back, segments begun, closed, finished.

use std::sync::PoisonError;

use super::folder::DEAD;
use super::frame::Head;
use super::partition::{Partition, Segment};

/// Whether there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Taken,
    Full,
    /// The partition is closed; there is another one under its key, or will be.
    Gone,
}

/// So often in a row a partition is found empty before its files go: a minute.
const RESTS: u32 = 120;

/// What the committer and those who store do to the state.
impl Partition {
    /// Reserves room for a frame. One that is larger than the bound is let in when nothing else waits.
    pub(super) fn reserve(&self, bytes: u64) -> Room {
        let mut state = self.lock();
        if state.gone {
            return Room::Gone;
        }
        let alone = state.batches == 0 && state.reserved == 0;
        if !alone && state.bytes + state.reserved + bytes > self.limit {
            return Room::Full;
        }
        if !self.shared.reserve(bytes, alone) {
            return Room::Full;
        }
        state.reserved += bytes;
        Room::Taken
    }

    /// Reserves room for a dead letter: the committer makes it.
    pub(super) fn reserve_always(&self, bytes: u64) -> Room {
        if bytes > self.limit {
            return Room::Full;
        }
        self.lock().reserved += bytes;
        Room::Taken
    }

    /// Dead letters have a bound of their own.
    fn use_up(&self, bytes: u64) {
        if self.prefix != DEAD {
            self.shared.grow(bytes);
        }
    }

    fn free(&self, bytes: u64) {
        if self.prefix != DEAD {
            self.shared.release(bytes);
        }
    }

    /// Gives reserved room back.
    pub(super) fn release(&self, bytes: u64) {
        self.lock().reserved -= bytes;
        self.free(bytes);
    }

    /// A fold has put so many bytes on disk.
    pub(super) fn grew(&self, bytes: u64) {
        self.lock().bytes += bytes;
        self.use_up(bytes);
    }

    /// A group is on disk: `bytes` of it were reserved, `header` was not.
    pub(super) fn wrote(&self, fresh: Option<Segment>, heads: &[Head], bytes: u64, end: u64) {
        let mut state = self.lock();
        if let Some(segment) = fresh {
            // What the header takes.
            state.bytes += segment.end;
            self.use_up(segment.end);
            state.segments.push_back(segment);
        }
        let items: u64 = heads.iter().map(|head| u64::from(head.items)).sum();
        state.reserved -= bytes;
        state.bytes += bytes;
        state.batches += heads.len() as u64;
        state.items += items;
        let segment = state.segments.back_mut().expect("the committer writes to the newest segment");
        if segment.oldest == 0 {
            segment.oldest = heads.first().map_or(0, |head| head.time);
        }
        segment.batches += heads.len() as u64;
        segment.items += items;
        (segment.end, segment.sure) = (end, end);
        segment.last = heads.last().map_or(segment.last, |head| head.seq);
        drop(state);
        self.arrived.notify_one();
    }

    /// Nothing is added to the newest segment any more.
    pub(super) fn close_newest(&self) {
        if let Some(segment) = self.lock().segments.back_mut() {
            segment.closed = true;
        }
        // The reader may pass it now.
        self.arrived.notify_one();
    }

    /// Looks whether nothing is in it, and closes its last segment when that has been so for a while: the reader then passes it,
    /// and it goes.
    pub(super) fn rest(&self) {
        let mut state = self.lock();
        let resting = state.batches == 0 && state.reserved == 0 && state.out.is_empty();
        state.rests = if resting { state.rests + 1 } else { 0 };
        let close = state.rests > RESTS && state.segments.back().is_some_and(|segment| !segment.closed);
        drop(state);
        if close {
            // Nobody writes while nothing is reserved; who comes in between finds no open segment and begins one.
            let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.lock().reserved == 0 && writing.take().is_some() {
                self.close_newest();
            }
        }
    }

    /// Closes a partition that holds nothing and rests. Its reader is told.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.lock();
        let leave = state.rests > RESTS && state.segments.is_empty() && state.reserved == 0;
        state.gone = leave;
        drop(state);
        if leave {
            self.arrived.notify_one();
        }
        leave
    }

    /// Whether nothing will come any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// The segments that are finished, taken out of the state, and the bytes that this frees.
    pub(super) fn finished(&self) -> Vec<Segment> {
        let mut state = self.lock();
        let mut finished = Vec::new();
        while state.finished() {
            finished.extend(state.segments.pop_front());
        }
        finished
    }

    /// The oldest closed segment, taken out whatever is in it.
    pub(super) fn evict(&self) -> Option<Segment> {
        let mut state = self.lock();
        let segment = state.segments.pop_front_if(|segment| segment.closed)?;
        state.batches -= segment.batches;
        state.items -= segment.items;
        Some(segment)
    }

    /// A segment is gone from the disk.
    pub(super) fn deleted(&self, segment: &Segment) {
        self.lock().bytes -= segment.end;
        self.free(segment.end);
    }

    /// How far it is delivered, when the file does not say so yet.
    pub(super) fn position(&self) -> Option<u64> {
        let state = self.lock();
        (state.delivered != state.saved).then_some(state.delivered)
    }

    pub(super) fn position_saved(&self, delivered: u64) {
        self.lock().saved = delivered;
    }
}

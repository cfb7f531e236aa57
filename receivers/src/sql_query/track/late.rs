//! PostgreSQL: rows wait until nobody can commit one before them.
//!
//! An id is taken when a row is inserted and seen when it is committed, so an id can appear after a later one. The horizon of a
//! snapshot (`pg_snapshot_xmin`) alone does not tell: of two sessions, the one with the lower id may get the higher transaction
//! number, or none yet. What tells is the lock that every writer holds on its table from before it takes an id until it has
//! ended:
//!
//! 1. After a read, note the last row that was seen, who writes now, and the first transaction number that nobody has yet.
//! 2. Before a later read, look again. When none of those writers writes any more and all those transactions have ended,
//!    whoever could still commit a row at or before the noted one has done so, and the read that follows sees it.
//! 3. That read passes rows up to the noted one, and leaves those after it for later.
//!
//! In a shared snapshot (`REPEATABLE READ`), step 2 comes too late: a writer that ended since the snapshot was taken seems to be over,
//! and its rows are not seen. So there the look after the read before decides, which is older than the snapshot of the read that
//! follows, and rows leave one read later.
//!
//! Times that are taken when a transaction begins (`now()`) are older than any lock, so for them everybody with a transaction
//! open is waited for, and not writers alone.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::Marks;
use super::mark::{MarkType, compare};

/// What a server says of who could still commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// All transactions below have ended.
    pub(crate) xmin: u64,
    /// No transaction has this number or a higher one yet.
    pub(crate) xmax: u64,
    /// Virtual transactions that count.
    pub(crate) open: BTreeSet<Box<str>>,
}

/// How far rows may pass.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Up to here nothing can appear any more.
    settled: Option<Marks>,
    /// Waits for those that were open then.
    waiting: Option<(Marks, Horizon)>,
    /// The last row that this read has seen.
    last: Option<Marks>,
    /// Whether a look before a read is younger than what the read sees.
    snapshot: bool,
}

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Writers,
    Everybody,
}

impl Scope {
    /// By the type of the first column: times may be those of a transaction's beginning.
    pub(crate) fn of(first: Option<MarkType>) -> Self {
        match first {
            Some(MarkType::Int | MarkType::Uuid | MarkType::Text) => Self::Writers,
            Some(MarkType::Timestamp) | None => Self::Everybody,
        }
    }
}

impl Settling {
    /// `snapshot`: reads see the database as it was before they look who writes.
    pub(crate) fn new(snapshot: bool) -> Self {
        Self { snapshot, ..Self::default() }
    }

    /// Before a read: what was waited for may have ended.
    pub(crate) fn begin(&mut self, now: &Horizon) {
        self.last = None;
        if !self.snapshot {
            self.settle(now);
        }
    }

    /// What was waited for is settled when it is over: all that can still come before it is there for a snapshot that is taken later.
    fn settle(&mut self, now: &Horizon) {
        if let Some((marks, then)) = self.waiting.take_if(|(_, then)| then.is_over(now)) {
            tracing::trace!(?marks, ?then, "settled");
            self.settled = Some(marks);
        }
    }

    /// Whether a row may pass; remembers it either way.
    pub(crate) fn passes(&mut self, marks: &Marks, types: &[MarkType]) -> bool {
        let settled = self.settled.as_ref();
        let passes = settled
            .is_some_and(|settled| matches!(compare(marks, settled, types), Some(Ordering::Less | Ordering::Equal)));
        self.last = Some(marks.clone());
        passes
    }

    /// After a read: the last row that it saw is waited for, unless an earlier one still is.
    pub(crate) fn end(&mut self, now: Horizon) {
        if self.snapshot {
            self.settle(&now);
        }
        if let Some(last) = self.last.take()
            && self.waiting.is_none()
        {
            self.waiting = Some((last, now));
        }
    }
}

impl Horizon {
    fn is_over(&self, now: &Self) -> bool {
        now.xmin >= self.xmax && now.open.is_disjoint(&self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::Mark;
    use super::*;

    fn horizon(xmin: u64, xmax: u64, open: &[&str]) -> Horizon {
        Horizon { xmin, xmax, open: open.iter().map(|id| (*id).into()).collect() }
    }

    /// What of these ids passes in one read.
    fn read(settling: &mut Settling, before: Horizon, ids: &[i64], after: Horizon) -> Vec<i64> {
        settling.begin(&before);
        let passed = ids.iter().copied().filter(|id| settling.passes(&vec![Mark::Int(*id)], &[MarkType::Int]));
        let passed = passed.collect();
        settling.end(after);
        passed
    }

    #[test]
    fn rows_pass_when_those_who_wrote_then_have_ended() {
        let mut settling = Settling::default();
        let quiet = || horizon(10, 10, &[]);
        assert_eq!(read(&mut settling, quiet(), &[1, 2], horizon(10, 12, &["3/1"])), [0; 0]);
        // 3/1 goes on: it may hold an id below 2.
        assert_eq!(read(&mut settling, horizon(12, 12, &["3/1", "4/1"]), &[1, 2, 4], quiet()), [0; 0]);
        // It has no transaction number and is gone, but 11 has not ended.
        assert_eq!(read(&mut settling, horizon(11, 14, &["4/1"]), &[1, 2, 4], quiet()), [0; 0]);
        assert_eq!(read(&mut settling, horizon(12, 14, &["4/1"]), &[1, 2, 3, 4], horizon(12, 14, &["4/1"])), [1, 2]);
        assert_eq!(read(&mut settling, horizon(14, 14, &[]), &[3, 4, 5], quiet()), [3, 4]);
    }

    #[test]
    fn in_a_snapshot_who_seems_over_before_a_read_may_have_ended_since_it_was_taken() {
        let mut settling = Settling::new(true);
        assert_eq!(read(&mut settling, horizon(10, 10, &[]), &[2], horizon(10, 12, &["3/1"])), [0; 0]);
        // 3/1 has ended with id 1 since the snapshot was taken, which does not show it.
        assert_eq!(read(&mut settling, horizon(12, 12, &[]), &[2, 4], horizon(12, 12, &[])), [0; 0]);
        assert_eq!(read(&mut settling, horizon(12, 12, &[]), &[1, 2, 4], horizon(12, 12, &[])), [1, 2]);
        assert_eq!(read(&mut settling, horizon(12, 12, &[]), &[4], horizon(12, 12, &[])), [4]);
    }

    #[test]
    fn a_read_that_sees_nothing_waits_for_nothing() {
        let mut settling = Settling::default();
        assert_eq!(read(&mut settling, horizon(1, 1, &[]), &[], horizon(1, 9, &["3/1"])), [0; 0]);
        assert!(settling.waiting.is_none());
    }
}

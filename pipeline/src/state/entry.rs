//! What a receiver hands to the ledger, and what it is told.

use std::sync::Arc;

use pdata::{Fingerprint, Identity, Number, UnixNanos};
use smallvec::SmallVec;

use super::held::{Class, Tally};

/// One event: what it is known by, and all that changes with it. It changes all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub(super) id: Option<EventId>,
    pub(super) signed: Option<UnixNanos>,
    pub(super) changes: SmallVec<[Change; 2]>,
    pub(super) spool: SmallVec<[Box<[u8]>; 1]>,
    pub(super) discharge: Option<u64>,
    pub(super) cursors: Vec<Cursor>,
}

/// What an event is known by: a keyed hash of its source and id. Made by [`Ledger::event`](super::Ledger::event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId(pub(super) Fingerprint);

/// How an event ended. All three are good news for the sender: it need not send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It was counted, and is on disk.
    New,
    /// It was counted before, and is on disk.
    Duplicate,
    /// Its signed time is older than the window: it may have been counted, so it was not added.
    TooOld,
}

/// A series as the ledger knows it. Cheap to clone; a memo may keep it for the life of the ledger.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub(super) place: Place,
    pub(super) class: Class,
}

/// How far a source has been read: a small value under a key, with the token of who may move it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Whose cursor it is, such as a query's name. At most 256 bytes.
    pub key: Box<str>,
    /// What the source understands. At most 64 KiB.
    pub value: Box<[u8]>,
    /// Fencing token: who holds a lower one has been replaced and is refused. 0 where nobody contends.
    pub token: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Slot(u32),
    New(Arc<Identity>, Fingerprint),
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) series: Tracked,
    pub(super) tally: Tally,
}

/// Longest key of a cursor.
const CURSOR_KEY_BYTES: usize = 256;
/// Largest value of a cursor.
const CURSOR_VALUE_BYTES: usize = 64 << 10;

impl Entry {
    /// An entry that changes nothing and is not de-duplicated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Known by this id: a second entry with it changes nothing.
    #[must_use]
    pub fn with_id(self, id: EventId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// When it happened, as its sender signed or stated it. An event older than the window is not added.
    #[must_use]
    pub fn signed_at(self, time: UnixNanos) -> Self {
        Self { signed: Some(time), ..self }
    }

    /// Does something to a series.
    pub fn tally(&mut self, series: Tracked, tally: Tally) -> &mut Self {
        self.changes.push(Change { series, tally });
        self
    }

    /// Adds to a sum.
    pub fn add(&mut self, series: Tracked, amount: Number) -> &mut Self {
        self.tally(series, Tally::Add(amount))
    }

    /// Keeps a record until an entry [discharges](Self::discharge) it: what is to be exported.
    pub fn spool(&mut self, record: impl Into<Box<[u8]>>) -> &mut Self {
        self.spool.push(record.into());
        self
    }

    /// Lets go of all spooled records up to this number: they are where they were to go.
    #[must_use]
    pub fn discharge(self, up_to: u64) -> Self {
        Self { discharge: Some(up_to), ..self }
    }

    /// Moves a cursor with it, besides those that it moves already. With a lower token than the one on disk the whole entry is
    /// refused.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        self.cursors.push(cursor);
        self
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.spool.is_empty() && self.discharge.is_none() && self.cursors.is_empty()
    }

    /// Says no to what no retry makes better.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        for change in &self.changes {
            change.series.class.check(&change.tally)?;
        }
        match self.cursors.iter().find(|cursor| !cursor.fits()) {
            Some(cursor) if cursor.key.len() > CURSOR_KEY_BYTES => Err("a cursor's key has at most 256 bytes"),
            Some(_) => Err("a cursor's value has at most 64 KiB"),
            None => Ok(()),
        }
    }

    /// What it takes of the queue, roughly: its own size, and what grows with the event.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.changes.len() * 64
            + self.spool.iter().map(|record| record.len()).sum::<usize>()
            + self
                .cursors
                .iter()
                .map(|cursor| size_of::<Cursor>() + cursor.key.len() + cursor.value.len())
                .sum::<usize>()
    }
}

impl Cursor {
    fn fits(&self) -> bool {
        self.key.len() <= CURSOR_KEY_BYTES && self.value.len() <= CURSOR_VALUE_BYTES
    }
}

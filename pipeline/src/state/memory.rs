//! A ledger that stands nowhere but in memory: the same counting, with nothing to wait for and nothing that survives the process.
//!
//! Each entry is a group of its own and is shown in the thread that brings it, under one lock. Nothing can fail half way, so there is
//! no thread that commits, no queue in front of it, and no state but ready.

use std::collections::VecDeque;
use std::convert::Infallible;

use hashbrown::HashMap;
use pdata::Fingerprint;

use super::commit::{Committer, Moment, Paper, Tallied};
use super::entry::{Committed, Entry};
use super::telemetry::Telemetry;
use super::window::Window;
use crate::clock::Clock;
use crate::fault::Refusal;

/// What such a ledger owns.
#[derive(Debug)]
pub(super) struct Memory {
    committer: Committer,
    kept: Kept,
    clock: Clock,
    telemetry: Telemetry,
    /// Entries since time was looked at.
    untended: usize,
}

/// What a ledger on disk has in tables.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) ids: IdSet,
    /// Records that wait for export, by number. Who makes them bounds them, as on disk.
    spool: VecDeque<(u64, Box<[u8]>)>,
}

/// Remembered ids and their stamps, in shards: one is resized, or swept, in a fraction of a millisecond.
#[derive(Debug)]
pub(super) struct IdSet {
    shards: Box<[HashMap<Fingerprint, u64>]>,
    sweep: Option<Sweep>,
}

/// A pass over all shards.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    /// The shard that is next.
    next: usize,
    floor: u64,
    /// So many ids may be looked at; a shard is swept whole when there are enough.
    saved: usize,
}

/// What an id takes at most: 25 bytes of a table that is 7/16 full when it has just grown.
pub(super) const ROW_BYTES: u64 = 58;
/// Shards of the ids: at the default of 256 MiB, each holds 18,000 ids.
const SHARDS: usize = 256;
/// The window is moved, and ids are swept, once for so many entries: time need not be read for each.
const TEND_EVERY: usize = 64;
/// Ids that a sweep looks at for so many entries, as on disk: 16 for each new one and some besides.
const SWEEP_STEP: usize = TEND_EVERY * 16 + 256;
/// The same when a scrape asks, so that ids go when no events come: some 2 ms.
const SWEEP_ALONE: usize = 100_000;

impl Memory {
    pub(super) fn new(committer: Committer, clock: Clock, telemetry: Telemetry) -> Self {
        let mut memory = Self { committer, kept: Kept::default(), clock, telemetry, untended: 0 };
        memory.tend(0);
        memory
    }

    /// Counts an entry and shows it.
    pub(super) fn submit(&mut self, entry: &Entry) -> Result<Committed, Refusal> {
        self.untended += 1;
        if self.untended >= TEND_EVERY {
            self.tend(SWEEP_STEP);
        }
        let (outcome, tallied) = self.committer.keep(&mut self.kept, entry, self.clock.wall());
        self.count(tallied);
        outcome
    }

    /// Lets time pass, for who is about to look.
    pub(super) fn look(&mut self) {
        self.tend(SWEEP_ALONE);
    }

    /// Records that wait, as [`Ledger::spooled`](super::Ledger::spooled) gives them.
    pub(super) fn spooled(&self, after: u64, records: usize, bytes: usize) -> Vec<(u64, Box<[u8]>)> {
        let spool = &self.kept.spool;
        let first = spool.partition_point(|(number, _)| *number <= after);
        let mut taken = 0;
        let fits = |(at, (_, record)): &(usize, &(u64, Box<[u8]>))| {
            taken += record.len();
            *at == 0 || taken <= bytes
        };
        spool.range(first..).take(records).enumerate().take_while(fits).map(|(_, waits)| waits.clone()).collect()
    }

    fn tend(&mut self, looks: usize) {
        self.untended = 0;
        let moment = Moment { wall: self.clock.wall(), now: self.clock.now() };
        self.committer.pass(moment.wall, moment.now);
        let window = &mut self.committer.books.window;
        let forgotten = self.kept.ids.sweep(window, looks);
        self.telemetry.forgotten.add(forgotten);
        self.telemetry.window.set(window.real_length(moment.wall).as_secs().cast_signed());
        self.telemetry.ids.set(window.rows().cast_signed());
        self.telemetry.series.set(self.committer.books.series.cast_signed());
    }

    fn count(&self, tallied: Tallied) {
        self.telemetry.commits.add(1);
        self.telemetry.entries.add(tallied.new);
        self.telemetry.duplicates.add(tallied.duplicates);
        self.telemetry.too_old.add(tallied.too_old);
        self.telemetry.overflowed.add(tallied.overflowed);
    }
}

impl Paper for Kept {
    type Error = Infallible;

    fn knows(&mut self, id: Fingerprint) -> Result<bool, Infallible> {
        Ok(self.ids.shard(id).contains_key(&id))
    }

    fn spool(&mut self, number: u64, record: &[u8]) -> Result<(), Infallible> {
        self.spool.push_back((number, record.into()));
        Ok(())
    }

    fn discharge(&mut self, up_to: u64) -> Result<(), Infallible> {
        let gone = self.spool.partition_point(|(number, _)| *number <= up_to);
        self.spool.drain(..gone);
        Ok(())
    }
}

impl IdSet {
    fn shard(&mut self, id: Fingerprint) -> &mut HashMap<Fingerprint, u64> {
        &mut self.shards[(id.0[0] >> 56) as usize % SHARDS]
    }

    pub(super) fn insert(&mut self, id: Fingerprint, stamp: u64) {
        self.shard(id).insert(id, stamp);
    }

    /// What its tables take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(HashMap::allocation_size).sum()
    }

    /// If a sweep is due, or under way, looks at about so many ids more. Gives how many were forgotten.
    fn sweep(&mut self, window: &mut Window, looks: usize) -> u64 {
        if self.sweep.is_none() && window.is_due() {
            self.sweep = Some(Sweep { next: 0, floor: window.floor(), saved: 0 });
        }
        let Some(sweep) = &mut self.sweep else { return 0 };
        sweep.saved += looks;
        let mut forgotten = 0;
        while let Some(shard) = self.shards.get_mut(sweep.next) {
            // An empty one costs a look too.
            let Some(left) = sweep.saved.checked_sub(shard.len() + 1) else { return forgotten };
            (sweep.saved, sweep.next) = (left, sweep.next + 1);
            forgotten += forget(shard, sweep.floor, window);
        }
        window.swept(sweep.floor);
        self.sweep = None;
        forgotten
    }
}

/// Forgets what was stamped before `floor`.
fn forget(shard: &mut HashMap<Fingerprint, u64>, floor: u64, window: &mut Window) -> u64 {
    let before = shard.len();
    shard.retain(|_, stamp| {
        let stays = *stamp >= floor;
        if !stays {
            window.forget(*stamp);
        }
        stays
    });
    (before - shard.len()) as u64
}

impl Default for IdSet {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashMap::new()).collect(), sweep: None }
    }
}

//! The committer's thread: group after group; when the disk fails, refusals and a fresh start.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::books::Books;
use super::commit::{Committer, Moment, Tallied};
use super::entry::Entry;
use super::error::{Trouble, TroubleKind};
use super::files::Folder;
use super::ledger::{LedgerOptions, State};
use super::queue::{Gathering, Job, Next, Queue, Reading};
use super::salvage::{self, Known};
use super::store::Store;
use super::telemetry::Telemetry;
use crate::clock::Clock;
use crate::fault::Refusal;
use crate::health::Health;

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) folder: Folder,
    pub(super) options: LedgerOptions,
    pub(super) clock: Clock,
    pub(super) queue: Arc<Queue>,
    pub(super) committer: Committer,
    /// Whether the log may hold pages that only memory has: an fsync or a write failed.
    pub(super) doubtful: bool,
    /// `None` from a failure until the disk takes a commit again.
    pub(super) store: Option<Store>,
    pub(super) state: watch::Sender<State>,
    pub(super) health: Health,
    /// Who is ill when the disk fails.
    pub(super) name: String,
    pub(super) telemetry: Telemetry,
}

/// What the last groups were like: the best guess for the next.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Who was in the last one or came meanwhile: so many senders there are at once.
    senders: usize,
    entries: usize,
    /// Entries of the one before.
    before: usize,
    took: Duration,
}

impl Last {
    /// Who is on the way though not just answered: one of two halves that take turns. None where nearly all were in one group.
    fn others(self) -> usize {
        if self.entries * 4 >= self.senders * 3 { 0 } else { usize::midpoint(self.entries, self.before) }
    }
}

/// Attempts to open the database again are this far apart: a disk that has room again is used within 2 s.
const HEAL_EVERY: Duration = Duration::from_millis(200);
/// How often a quiet ledger looks at its window.
const QUIET: Duration = Duration::from_secs(1);
/// Between two steps of a merge or a sweep of ids when nothing else happens.
const TEND_EVERY: Duration = Duration::from_millis(20);
/// A group waits at most this long, and at most twice what the last commit took, for those who were just answered. Few senders are back
/// at once, and who lets all go together has half as many commits. Of many, half are on their way while the others are in a commit, and
/// neither the disk nor the CPU rests: at 128 connections a wait of 1 ms answers a tenth fewer events a second.
const PATIENCE: Duration = Duration::from_micros(100);
/// And so long for the other half, when it is not there yet.
const PATIENCE_FOR_OTHERS: Duration = Duration::from_millis(1);

impl Worker {
    /// Runs until the queue is closed and empty, then leaves a tidy database.
    pub(super) fn run(mut self) {
        let (mut jobs, mut readings, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = Last::default();
        self.report();
        loop {
            let next = self.queue.gather(self.gathering(last), &mut jobs, &mut readings);
            match next {
                Next::Closed => break,
                Next::Quiet if self.store.is_none() => self.heal(),
                Next::Quiet => {
                    self.committer.pass(self.clock.wall(), self.clock.now());
                    if self.committer.wants_tending() {
                        self.commit(&[], &mut outcomes);
                    }
                    self.report();
                }
                Next::Work => {
                    readings.drain(..).for_each(|reading| self.read(reading));
                    if !jobs.is_empty() {
                        last = Last { before: last.entries, ..self.serve(&mut jobs, &mut outcomes) };
                    }
                }
            }
        }
        self.close();
    }

    fn gathering(&self, last: Last) -> Gathering {
        let quiet = match &self.store {
            None => HEAL_EVERY,
            Some(_) if self.committer.wants_tending() => TEND_EVERY,
            Some(_) => QUIET,
        };
        Gathering {
            entries: self.options.group_entries,
            bytes: self.options.group_bytes,
            all: last.senders,
            patience: (last.took * 2).min(PATIENCE),
            others: last.others(),
            patience_for_others: (last.took * 2).min(PATIENCE_FOR_OTHERS),
            quiet,
        }
    }

    fn serve(&mut self, jobs: &mut Vec<Job>, outcomes: &mut Vec<Result<super::Committed, Refusal>>) -> Last {
        let began = self.clock.now();
        let entries = jobs.len();
        let done = self.commit(jobs, outcomes);
        let took = self.clock.now().saturating_duration_since(began);
        let senders = entries + self.queue.waiting();
        let refusal = (!done).then(|| self.refusal());
        for (at, job) in jobs.drain(..).enumerate() {
            let outcome = match &refusal {
                None => outcomes[at].clone(),
                Some(refusal) => Err(refusal.clone()),
            };
            // Nobody waiting any more is not an error: the sender will ask again and be told.
            job.answer.send(outcome).ok();
        }
        self.telemetry.group.set(entries as i64);
        Last { senders, entries, before: 0, took }
    }

    /// Commits a group; on failure drops the connection and says why in the state.
    fn commit(&mut self, jobs: &[Job], outcomes: &mut Vec<Result<super::Committed, Refusal>>) -> bool {
        let Some(store) = &mut self.store else { return false };
        let moment = Moment { wall: self.clock.wall(), now: self.clock.now() };
        let entries = jobs.iter().map(|job| &job.entry);
        match self.committer.commit(store, entries, moment, outcomes) {
            Ok(tallied) => {
                self.count(tallied);
                true
            }
            Err(trouble) => {
                self.fail(&trouble);
                false
            }
        }
    }

    fn count(&self, tallied: Tallied) {
        let Tallied { new, duplicates, too_old, overflowed, forgotten } = tallied;
        self.telemetry.commits.add(1);
        self.telemetry.entries.add(new);
        self.telemetry.duplicates.add(duplicates);
        self.telemetry.too_old.add(too_old);
        self.telemetry.overflowed.add(overflowed);
        self.telemetry.forgotten.add(forgotten);
        self.telemetry.ids.set(self.committer.books.window.rows().cast_signed());
        self.telemetry.series.set(self.committer.books.series.cast_signed());
    }

    fn fail(&mut self, trouble: &Trouble) {
        tracing::error!(ledger = %self.folder.database().display(), why = %trouble, "ledger cannot commit; senders are told to try again");
        self.store = None;
        self.doubtful |= trouble.kind == TroubleKind::Failing;
        self.telemetry.failed.add(1);
        self.telemetry.not_ready.set(1);
        self.ill(trouble);
        if trouble.is_damage() {
            // Waiting mends a disk, not a file.
            self.heal();
        }
    }

    fn ill(&self, trouble: &Trouble) {
        self.state.send_replace(State::NotReady { why: trouble.to_string() });
        self.health.ill(&self.name, trouble.to_string());
    }

    /// Tries to get to work again.
    fn heal(&mut self) {
        match self.reopen() {
            Ok(store) => {
                self.store = Some(store);
                if self.commit_probe() {
                    tracing::info!(ledger = %self.folder.database().display(), "ledger commits again");
                    self.telemetry.not_ready.set(0);
                    self.state.send_replace(State::Ready);
                    self.health.well(&self.name);
                }
            }
            Err(trouble) => {
                tracing::debug!(why = %trouble, "ledger still cannot be opened");
                self.ill(&trouble);
            }
        }
    }

    /// An empty group: ready is who has shown that the disk takes a commit.
    fn commit_probe(&mut self) -> bool {
        let Some(store) = &mut self.store else { return false };
        let moment = Moment { wall: self.clock.wall(), now: self.clock.now() };
        match self.committer.commit(store, std::iter::empty::<&Entry>(), moment, &mut Vec::new()) {
            Ok(tallied) => {
                self.count(tallied);
                true
            }
            Err(trouble) => {
                self.store = None;
                self.doubtful |= trouble.kind == TroubleKind::Failing;
                self.ill(&trouble);
                false
            }
        }
    }

    fn reopen(&mut self) -> Result<Store, Trouble> {
        let store = self.reopen_as_it_is()?;
        // On a full disk the log itself may be what fills it. When it cannot be carried over, the probe will tell.
        store.checkpoint().ok();
        Ok(store)
    }

    fn reopen_as_it_is(&mut self) -> Result<Store, Trouble> {
        if self.doubtful {
            // What an fsync refused counts as clean in the page cache: only a new file is sure to be written.
            self.folder.rewrite_log()?;
            self.doubtful = false;
        }
        match self.open_and_reconcile() {
            Err(trouble) if trouble.is_damage() => {
                tracing::error!(ledger = %self.folder.database().display(), why = %trouble, "ledger is damaged; rebuilding it from memory and from what is sound");
                self.rebuild()?;
                self.open_and_reconcile()
            }
            opened => opened,
        }
    }

    fn open_and_reconcile(&mut self) -> Result<Store, Trouble> {
        if salvage::log_is_damaged(&self.folder.database())? {
            return Err(Trouble::damage("the log is damaged"));
        }
        let first = (self.committer.seed, Books::new(self.committer.books.window.clone()));
        let store = Store::open(&self.folder.database(), self.options.durability, &first)?;
        let books = store.read_books(self.options.window_limits())?;
        self.committer.reconcile(&books)?;
        Ok(store)
    }

    fn rebuild(&mut self) -> Result<(), Trouble> {
        let image = self.committer.image.clone();
        let image = image.read().unwrap_or_else(PoisonError::into_inner);
        let Committer { seed, books, ids, .. } = &self.committer;
        let known = Known::Memory { seed: *seed, books, image: &image, ids };
        let (losses, books) = salvage::rebuild(&self.folder, &known, self.options.window_limits(), self.clock.wall())?;
        drop(image);
        self.committer.rebuilt(books);
        self.telemetry.quarantined.add(1);
        self.telemetry.damaged.add(losses.rows);
        Ok(())
    }

    fn read(&self, reading: Reading) {
        let Reading { after, records, bytes, answer } = reading;
        let spooled = match &self.store {
            Some(store) => store.spooled(after, records, bytes),
            None => Err(Trouble::from(std::io::Error::other("the ledger is not ready"))),
        };
        if let Ok(spooled) = &spooled {
            self.telemetry.damaged.add(spooled.damaged);
        }
        answer.send(spooled).ok();
    }

    /// Levels that change without events.
    fn report(&self) {
        let window = &self.committer.books.window;
        self.telemetry.window.set(window.real_length(self.clock.wall()).as_secs().cast_signed());
        self.telemetry.ids.set(window.rows().cast_signed());
        self.telemetry.series.set(self.committer.books.series.cast_signed());
        if let Some(bytes) = self.store.as_ref().and_then(|store| store.bytes().ok()) {
            self.telemetry.bytes.set(bytes.cast_signed());
        }
    }

    fn refusal(&self) -> Refusal {
        match &*self.state.borrow() {
            State::NotReady { why } => retry(why),
            // Healed within the group: the group itself is gone all the same.
            State::Ready => retry("the commit did not succeed"),
        }
    }

    fn close(&mut self) {
        let Some(store) = self.store.take() else { return };
        if let Err(trouble) = store.checkpoint() {
            tracing::warn!(why = %trouble, "ledger closes with its log standing; the next start reads it");
        }
    }
}

impl Drop for Worker {
    /// However the thread ends, nobody is left waiting for it.
    fn drop(&mut self) {
        self.queue.abandon();
        if std::thread::panicking() {
            self.health.ill(&self.name, "the ledger's thread broke off");
        } else {
            self.health.well(&self.name);
        }
    }
}

pub(super) fn retry(why: &str) -> Refusal {
    Refusal::Retry { after: Some(Duration::from_secs(1)), why: format!("the ledger cannot commit: {why}") }
}

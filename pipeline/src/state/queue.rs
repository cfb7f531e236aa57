//! The queue in front of the committer: bounded by bytes, emptied group by group.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::entry::{Committed, Entry};
use super::error::Trouble;
use super::store::Spooled;
use crate::fault::Refusal;

/// Where entries wait for their commit. Who finds it full waits outside, in order.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Arc<Semaphore>,
    room_bytes: u32,
}

/// An entry and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) answer: oneshot::Sender<Result<Committed, Refusal>>,
    pub(super) bytes: u32,
    pub(super) _room: OwnedSemaphorePermit,
}

/// Where the answer to an entry comes.
pub(super) type Answer = oneshot::Receiver<Result<Committed, Refusal>>;

/// Why an entry is not in line.
#[derive(Debug)]
pub(super) enum NotInLine {
    /// Nobody may come any more.
    Closed,
    /// There is no room for it now.
    Full(Box<Entry>),
}

/// A question about the spool.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) after: u64,
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Spooled, Trouble>>,
}

/// What the committer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Work has been taken.
    Work,
    /// Nothing came for a while.
    Quiet,
    /// Nobody will come any more, and nobody waits.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<Job>,
    readings: Vec<Reading>,
    /// The committer sleeps until this many jobs wait; 0 when it does not sleep.
    wanted: usize,
    closed: bool,
}

/// How much a group may hold, and how long it may gather.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// So many there are, if those come back at once who were just answered, and how long to wait for them.
    pub(super) all: usize,
    pub(super) patience: Duration,
    /// So many are likely to come who were not, and how long to wait for these.
    pub(super) others: usize,
    pub(super) patience_for_others: Duration,
    /// How long to wait for the first.
    pub(super) quiet: Duration,
}

impl Queue {
    pub(super) fn new(bytes: usize) -> Self {
        let room_bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(room_bytes as usize));
        Self { waiting: Mutex::default(), arrived: Condvar::new(), room, room_bytes }
    }

    /// Puts an entry in line if there is room.
    pub(super) fn try_push(&self, entry: Entry) -> Result<Answer, NotInLine> {
        let bytes = self.share(&entry);
        match self.room.clone().try_acquire_many_owned(bytes) {
            Ok(room) => self.enlist(entry, bytes, room).ok_or(NotInLine::Closed),
            Err(TryAcquireError::NoPermits) => Err(NotInLine::Full(Box::new(entry))),
            Err(TryAcquireError::Closed) => Err(NotInLine::Closed),
        }
    }

    /// Puts an entry in line, waiting for room. Safe to drop: what was not put in line was not taken.
    pub(super) async fn push(&self, entry: Entry) -> Option<Answer> {
        let bytes = self.share(&entry);
        let room = self.room.clone().acquire_many_owned(bytes).await.ok()?;
        self.enlist(entry, bytes, room)
    }

    /// What an entry takes of the queue. One that is larger than the whole queue passes alone.
    fn share(&self, entry: &Entry) -> u32 {
        u32::try_from(entry.bytes()).unwrap_or(u32::MAX).min(self.room_bytes)
    }

    fn enlist(&self, entry: Entry, bytes: u32, room: OwnedSemaphorePermit) -> Option<Answer> {
        let (answer, wait) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.closed {
            return None;
        }
        waiting.jobs.push(Job { entry, answer, bytes, _room: room });
        self.wake(waiting);
        Some(wait)
    }

    pub(super) fn ask(&self, reading: Reading) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.readings.push(reading);
            self.wake(waiting);
        }
    }

    /// How many are in line.
    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Nobody may come any more; who waits is still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.arrived.notify_one();
    }

    /// Nobody is served any more: who waits hears so at once.
    pub(super) fn abandon(&self) {
        self.close();
        let mut waiting = self.lock();
        waiting.jobs.clear();
        waiting.readings.clear();
    }

    /// Waits for work and takes it.
    pub(super) fn gather(&self, how: Gathering, jobs: &mut Vec<Job>, readings: &mut Vec<Reading>) -> Next {
        jobs.clear();
        let mut waiting = self.lock();
        if waiting.is_empty() && !waiting.closed {
            waiting = self.sleep(waiting, 1, how.quiet);
        }
        for (expected, patience) in [(how.all, how.patience), (how.others, how.patience_for_others)] {
            let expected = expected.min(how.entries);
            if !waiting.jobs.is_empty() && waiting.jobs.len() < expected && !waiting.closed {
                waiting = self.sleep(waiting, expected, patience);
            }
        }
        if waiting.is_empty() {
            return if waiting.closed { Next::Closed } else { Next::Quiet };
        }
        readings.append(&mut waiting.readings);
        let mut bytes = 0;
        let mut fits = |job: &Job| {
            bytes += job.bytes as usize;
            bytes <= how.bytes
        };
        let count = waiting.jobs.iter().take(how.entries).take_while(|job| fits(job)).count();
        let count = count.max(1).min(waiting.jobs.len());
        if count == waiting.jobs.len() {
            std::mem::swap(jobs, &mut waiting.jobs);
        } else {
            jobs.extend(waiting.jobs.drain(..count));
        }
        Next::Work
    }

    fn sleep<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        wanted: usize,
        span: Duration,
    ) -> MutexGuard<'a, Waiting> {
        waiting.wanted = wanted;
        let asleep =
            |waiting: &mut Waiting| waiting.jobs.len() < wanted && waiting.readings.is_empty() && !waiting.closed;
        let (mut waiting, _) =
            self.arrived.wait_timeout_while(waiting, span, asleep).unwrap_or_else(PoisonError::into_inner);
        waiting.wanted = 0;
        waiting
    }

    /// Wakes the committer when what it waits for is there, and only then: a wake costs a system call.
    fn wake(&self, waiting: MutexGuard<'_, Waiting>) {
        let wake = waiting.wanted > 0 && (waiting.jobs.len() >= waiting.wanted || !waiting.readings.is_empty());
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.readings.is_empty()
    }
}

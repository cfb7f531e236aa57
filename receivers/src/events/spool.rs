//! Log records that wait in a ledger: they were written with the event that brought them, and stay until a verdict.
//!
//! Whoever writes one asks the [`Backlog`] for room first; the [`Spool`] sends what waits, in order, and lets go of it when it was delivered,
//! or will never be. A record that was lost on its way is sent again, under the same number, so nothing is lost and something may
//! come twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pdata::Logs;
use pipeline::state::{Entry, Ledger};
use pipeline::{Batch, Budget, Clock, Count, Level, Meters, Outlet, Receipt, Refusal, Verdict};
use tokio::sync::Notify;

/// How many bytes wait, and how many may.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: AtomicU64,
    max: u64,
    arrived: Notify,
    shown: Level,
}

/// Room for a record. Given back when it is dropped and not kept; so it goes where the record's commit is waited for to its end.
#[derive(Debug)]
pub(crate) struct Room {
    backlog: Arc<Backlog>,
    bytes: u64,
}

/// Sends what waits.
#[derive(Debug)]
pub(crate) struct Spool {
    ledger: Ledger,
    backlog: Arc<Backlog>,
    outlet: Outlet,
    budget: Budget,
    clock: Clock,
    sent: Count,
    again: Count,
    unreadable: Count,
}

/// Records, and their bytes, that are sent at once.
const RECORDS: usize = 1_024;
const BYTES: usize = 1 << 20;
/// Between two tries: from, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How often the spool is looked at although nobody has said that something came.
const LOOK: Duration = Duration::from_secs(10);

impl Backlog {
    /// An empty one of at most so many bytes.
    pub(crate) fn new(max: u64, meters: &Meters, receiver: &str) -> Self {
        let labels = vec![("receiver", receiver.to_owned())];
        let shown = meters.level(
            "weir_spool_bytes",
            "Bytes of log records that wait in the ledger for their export.",
            "By",
            labels,
        );
        Self { bytes: AtomicU64::new(0), max, arrived: Notify::new(), shown }
    }

    /// Room for so many bytes; `None` when there is none now. A record that is larger than all of it fits while nothing waits.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let bytes = bytes as u64;
        let fits = |taken: u64| (taken == 0 || taken.saturating_add(bytes) <= self.max).then_some(taken + bytes);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Room { backlog: self.clone(), bytes })
    }

    fn add(&self, bytes: u64) {
        let now = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.show(now);
    }

    fn give_back(&self, bytes: u64) {
        let less = |taken: u64| Some(taken.saturating_sub(bytes));
        let before = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).unwrap_or_default();
        self.show(before.saturating_sub(bytes));
    }

    fn show(&self, bytes: u64) {
        self.shown.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Room {
    /// The record is in the spool: its room stays taken, and it is sent.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
        self.backlog.show(self.backlog.bytes.load(Ordering::Acquire));
        self.backlog.arrived.notify_one();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.backlog.give_back(self.bytes);
        }
    }
}

impl Spool {
    /// The spool of a receiver's ledger.
    pub(crate) fn new(
        receiver: &str,
        ledger: Ledger,
        backlog: Arc<Backlog>,
        ways: &super::Ways,
        meters: &Meters,
    ) -> Self {
        let count = |name, about| meters.count(name, about, "{records}", vec![("receiver", receiver.to_owned())]);
        Self {
            ledger,
            backlog,
            outlet: ways.outlet.clone(),
            budget: ways.budget.clone(),
            clock: ways.clock.clone(),
            sent: count("weir_spool_records", "Spooled log records that reached their end."),
            again: count(
                "weir_spool_resent",
                "Spooled log records that were sent again, since nobody knew of their end.",
            ),
            unreadable: count("weir_spool_unreadable", "Spooled log records that could not be read any more."),
        }
    }

    /// Adds up what earlier runs have left. Before it returns, no new record should be let in.
    ///
    /// # Errors
    /// When the disk does not let us read.
    pub(crate) async fn measure(&self) -> Result<(), Refusal> {
        let mut after = 0;
        loop {
            let records = self.ledger.spooled(after, RECORDS, BYTES).await?;
            let Some((last, _)) = records.last() else { return Ok(()) };
            after = *last;
            self.backlog.add(records.iter().map(|(_, record)| record.len() as u64).sum());
        }
    }

    /// Sends what waits and what comes, for ever. Safe to drop: what was under way is sent again by the next one.
    pub(crate) async fn run(&self) {
        let mut after = 0;
        loop {
            match self.ledger.spooled(after, RECORDS, BYTES).await {
                Ok(records) if records.is_empty() => {
                    tokio::select! {
                        () = self.backlog.arrived.notified() => {}
                        () = self.clock.sleep(LOOK) => {}
                    }
                }
                Ok(records) => after = self.deliver(records).await,
                Err(_) => self.clock.sleep(WAIT.1.min(Duration::from_secs(1))).await,
            }
        }
    }

    /// Sends records until it is known how they ended, and lets go of them.
    async fn deliver(&self, records: Vec<(u64, Box<[u8]>)>) -> u64 {
        let up_to = records.last().map_or(0, |(number, _)| *number);
        let (count, bytes) = (records.len() as u64, records.iter().map(|(_, record)| record.len() as u64).sum());
        let logs = self.read(records);
        let mut wait = WAIT.0;
        while !logs.records.is_empty() && self.send(logs.clone()).await == Verdict::Lost {
            self.again.add(count);
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(WAIT.1);
        }
        let mut wait = WAIT.0;
        while self.ledger.submit(Entry::new().discharge(up_to)).await.is_err() {
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(WAIT.1);
        }
        self.backlog.give_back(bytes);
        self.sent.add(count);
        up_to
    }

    async fn send(&self, logs: Logs) -> Verdict {
        let Ok(permit) = self.budget.take(logs.heap_bytes()) else { return Verdict::Lost };
        let (receipt, waiter) = Receipt::pair();
        let batch = Batch::new(logs, self.clock.wall()).with_permit(permit).with_receipt(receipt);
        self.outlet.send(batch).await;
        waiter.verdict().await
    }

    fn read(&self, records: Vec<(u64, Box<[u8]>)>) -> Logs {
        let mut logs = Logs::default();
        for (_, record) in records {
            match pdata::otlp::decode_logs(&record) {
                Ok(decoded) => logs.records.extend(decoded.data.records),
                Err(_) => self.unreadable.add(1),
            }
        }
        logs
    }
}

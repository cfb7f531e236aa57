//! What a spool needs now and then: a failing disk tried again, positions kept, numbers brought up to date, empty partitions gone.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::folder::MAIN;
use super::partition::Fill;
use super::{Ailing, Shared, Spool};

/// How often the disk is tried again while it fails: within 2 s after it is well it is used again.
const HEAL_EVERY: Duration = Duration::from_millis(200);
/// How often numbers are brought up to date and positions kept: what was delivered in this time is sent again after a crash.
const TEND_EVERY: Duration = Duration::from_millis(500);
/// A group that takes longer than this is a disk that does not answer.
const PATIENCE: Duration = Duration::from_millis(900);
/// A trial of the disk writes no more than this.
const PROBE_MAX: usize = 1 << 20;

impl Spool {
    /// Looks after the spool: tries a failing disk again, keeps positions, brings numbers up to date. Runs until it is dropped, at any
    /// await.
    pub async fn tend(&self) {
        let shared = &self.0;
        loop {
            let ailing = *shared.ailing();
            shared.clock.sleep(if ailing.is_some() { HEAL_EVERY } else { TEND_EVERY }).await;
            if let Some(ailing) = ailing {
                let trying = shared.clone();
                let tried = tokio::task::spawn_blocking(move || trying.folder.probe(ailing.bytes.min(PROBE_MAX))).await;
                if matches!(tried, Ok(Ok(()))) {
                    shared.healed();
                }
            }
            shared.tend_once();
        }
    }
}

impl Shared {
    pub(super) fn failed(&self, error: &io::Error, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(PROBE_MAX).clamp(4096, PROBE_MAX);
        if self.ailing().replace(Ailing { bytes }).is_none() {
            tracing::error!(%error, "the disk of the sending queue takes nothing: senders wait or are told");
        }
        self.health.ill(&self.name, format!("the sending queue cannot store: {error}"));
        self.telemetry.not_ready.set(1);
    }

    fn healed(&self) {
        if self.ailing().take().is_some() {
            tracing::info!("the disk of the sending queue takes data again");
        }
        self.health.well(&self.name);
        self.telemetry.not_ready.set(0);
        self.room.notify_waiters();
    }

    fn tend_once(self: &Arc<Self>) {
        let stuck = self.pending().began.is_some_and(|began| self.clock.now() - began > PATIENCE);
        match (stuck, self.ailing().is_some()) {
            (true, _) => {
                self.health.ill(&self.name, "the sending queue cannot store: the disk does not answer");
                self.telemetry.not_ready.set(1);
            }
            (false, false) if self.telemetry.not_ready.value() == 1 => self.healed(),
            _ => {}
        }
        for partition in self.live().live.values() {
            partition.rest();
        }
        let live: Vec<_> = self.live().live.values().cloned().collect();
        for partition in live {
            if partition.position().is_some() {
                self.chores(&partition);
            }
            if partition.prefix != MAIN && partition.leave() {
                self.partitions.write().unwrap_or_else(PoisonError::into_inner).live.remove(&partition.prefix);
                self.folder.forget_position(&partition.prefix);
            }
        }
        if self.live().live.get(MAIN).is_none_or(|common| common.fill().batches == 0) {
            self.mixed.store(false, Ordering::Relaxed);
        }
        self.report();
    }

    pub(super) fn report(&self) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let partitions = self.live();
        let fills: Vec<_> = partitions.live.values().map(|partition| partition.fill()).collect();
        let sum = |of: fn(&Fill) -> u64| number(fills.iter().map(of).sum());
        let telemetry = &self.telemetry;
        telemetry.batches.set(sum(|fill| fill.batches));
        telemetry.items.set(sum(|fill| fill.items));
        telemetry.bytes.set(sum(|fill| fill.bytes));
        telemetry.partitions.set(number(fills.iter().filter(|fill| fill.batches > 0).count() as u64));
        let oldest = fills.iter().filter_map(|fill| fill.oldest).min();
        let age = oldest.map_or(0, |oldest| self.clock.wall().0.saturating_sub(oldest) / 1_000_000_000);
        telemetry.oldest.set(number(age));
        telemetry.dead_bytes.set(partitions.dead.as_ref().map_or(0, |dead| number(dead.fill().bytes)));
    }
}

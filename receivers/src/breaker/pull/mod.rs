//! Breakers that do not send: their targets are asked, by an interval or when a scrape asks.
//!
//! What a poll finds is a collection: a circuit that is no longer there ends when the poll succeeded. Transitions are counted in the
//! ledger, as signals are, where the section wants them counted.

mod check;
mod document;
mod events;
mod settings;
mod target;
mod vitals;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pdata::Metric;
use pipeline::collection::{Collected, CollectionDesk};
use pipeline::state::Ledger;
use pipeline::{Clock, Fault, Meters, Stop};
use tokio::time::Instant;

pub(super) use self::check::CheckedPull;
pub(super) use self::settings::Pull;

use self::settings::Transitions;
use self::target::{Counting, Target};
use super::counter::{Counter, SignalCounts, SignalMetrics};
use super::life::{Lives, Wanted};
use crate::events::Ways;

/// All targets of a receiver.
#[derive(Debug)]
pub(super) struct Puller {
    targets: Vec<Target>,
    interval: Option<Duration>,
    clock: Clock,
    lives: Vec<Lives>,
}

/// Where transitions are counted.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) metrics: SignalMetrics,
    pub(super) wanted: Option<Wanted>,
    pub(super) counts: SignalCounts,
}

/// A scrape needs the results a little before it gives up: a tenth of what it waits, at most this.
const HAND_OUT: Duration = Duration::from_millis(500);

impl Puller {
    /// # Errors
    /// Certificates that were good when the section was checked and are not now.
    pub(super) fn new(
        receiver: &str,
        pull: CheckedPull,
        state: &Arc<Metric>,
        (ways, meters): (&Ways, &Meters),
        books: Option<&Books>,
    ) -> Result<Self, Fault> {
        let (mut targets, mut all) = (Vec::with_capacity(pull.targets.len()), Vec::new());
        for plan in &pull.targets {
            let counting = books.map_or_else(Counting::default, |books| {
                let Books { ledger, metrics, wanted, counts } = books.clone();
                let lives = wanted.map(|wanted| Lives::polled(&ledger, &ways.clock, &plan.kin, wanted));
                all.extend(lives.clone());
                let counter = (plan.transitions != Transitions::None)
                    .then(|| Counter::new(ledger, plan.kin.clone(), metrics.without_states(), lives.clone(), counts));
                Counting { counter, lives }
            });
            targets.push(Target::new(receiver, &pull, plan.clone(), state, (ways, meters), counting)?);
        }
        Ok(Self { targets, interval: pull.interval, clock: ways.clock.clone(), lives: all })
    }

    /// The lives of their circuits.
    pub(super) fn lives(&self) -> &[Lives] {
        &self.lives
    }

    /// Asks until asked to stop: when the desk is asked, or by the interval.
    pub(super) async fn run(self, desk: Option<CollectionDesk>, on_demand: bool, stop: Stop) {
        match self.interval {
            Some(interval) if !on_demand => self.by_interval(interval, desk, stop).await,
            _ => self.on_demand(desk, stop).await,
        }
    }

    async fn by_interval(self, interval: Duration, desk: Option<CollectionDesk>, stop: Stop) {
        let (first, mut rounds) = tokio::sync::mpsc::channel(self.targets.len().max(1));
        let all = self.targets.len();
        let told = async move {
            let mut collected = Vec::new();
            for _ in 0..all {
                collected.extend(rounds.recv().await.into_iter().flatten());
            }
            if let Some(desk) = &desk {
                desk.first_round_done(collected);
            }
            desk
        };
        let polling = self.targets.into_iter().enumerate().map(|(index, target)| {
            every(target, phase(index, interval), interval, self.clock.clone(), first.clone(), stop.clone())
        });
        let _ = tokio::join!(join_all(polling), told);
    }

    async fn on_demand(mut self, desk: Option<CollectionDesk>, mut stop: Stop) {
        let Some(mut desk) = desk else { return stop.requested().await };
        loop {
            let demands = tokio::select! {
                demands = desk.demanded() => demands,
                () = stop.requested() => return,
            };
            if demands.is_empty() {
                tracing::warn!("no endpoint asks for collections: no target will be asked");
                return stop.requested().await;
            }
            let now = self.clock.now();
            // The most patient one sets the deadline: the others have given up by then and lose nothing.
            let patience = demands.iter().map(|demand| demand.remaining(now)).max().unwrap_or_default();
            let until = now + (patience - (patience / 10).min(HAND_OUT));
            let polls = join_all(self.targets.iter_mut().map(|target| target.poll(Some(until))));
            let collected: Vec<Collected> = tokio::select! {
                polled = polls => polled.into_iter().flatten().collect(),
                () = stop.requested() => return,
            };
            desk.first_round_done(collected.clone());
            demands.into_iter().for_each(|demand| demand.answer(collected.clone()));
        }
    }
}

/// Asks one target at every tick, the first time at once. Ticks that pass while it does not answer, or is left alone, are left out.
async fn every(
    mut target: Target,
    phase: Duration,
    interval: Duration,
    clock: Clock,
    first: tokio::sync::mpsc::Sender<Vec<Collected>>,
    mut stop: Stop,
) {
    let mut first = Some(first);
    let mut next = clock.now() + phase;
    loop {
        let collected = tokio::select! {
            collected = target.poll(None) => collected,
            () = stop.requested() => return,
        };
        if let Some(first) = first.take() {
            first.send(collected).await.ok();
        }
        let earliest = target.waits_until().unwrap_or(next).max(clock.now());
        while next < earliest {
            next += interval;
        }
        if !wait_until(next, &mut stop).await {
            return;
        }
        next += interval;
    }
}

/// Whether the time came before the request to stop.
async fn wait_until(time: Instant, stop: &mut Stop) -> bool {
    tokio::select! {
        biased;
        () = stop.requested() => false,
        () = tokio::time::sleep_until(time) => true,
    }
}

/// From the first poll to the second: from half to a whole interval, another for each target, so that not all are asked at one moment.
fn phase(index: usize, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    hasher.write_usize(index);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(nanos / 2 + hasher.finish() % nanos.div_ceil(2))
}

#[cfg(test)]
mod tests;

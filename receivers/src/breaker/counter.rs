//! What a signal does to which series.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use pdata::{Kind, Metric, Number};
use pipeline::state::{Committed, Entry, Ledger, Tally, Tracked};
use pipeline::{Count, Meters, Refusal};

use super::chain::{Chains, write_key};
use super::kin::Kin;
use super::life::Lives;
use super::settings::MetricNames;
use super::signal::{BadBody, Reading, RefusedSignal, Signal, Signals};

/// Counts signals.
#[derive(Debug)]
pub(super) struct Counter {
    ledger: Ledger,
    kin: Kin,
    metrics: SignalMetrics,
    lives: Option<Lives>,
    memory: Mutex<Memory>,
    counts: SignalCounts,
}

/// What signals change.
#[derive(Clone, Debug)]
pub(super) struct SignalMetrics {
    /// None when the states come from elsewhere.
    pub(super) state: Option<Arc<Metric>>,
    transitions: Arc<Metric>,
    last: Option<Arc<Metric>>,
}

/// How a request ended whose signals were read.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Signals that were counted now.
    pub(super) accepted: usize,
    /// Signals that had been counted before.
    pub(super) duplicates: usize,
    /// Signals that never will be.
    pub(super) refused: Vec<RefusedSignal>,
}

/// The ledger does not take signals now.
#[derive(Debug)]
pub(super) struct NotNow {
    /// When to come again.
    pub(super) after: Duration,
}

/// What need not be worked out anew for every signal.
#[derive(Debug, Default)]
struct Memory {
    circuits: HashMap<String, Circuit>,
    chains: Chains,
    key: String,
    id: Vec<u8>,
}

/// The series of one circuit.
#[derive(Debug)]
struct Circuit {
    states: Vec<Tracked>,
    last: Option<Tracked>,
    /// By old state and new state, as they are met.
    transitions: Vec<Option<Tracked>>,
}

/// What becomes of signals, for the agent's own telemetry.
#[derive(Clone, Debug)]
pub(super) struct SignalCounts {
    accepted: Count,
    duplicate: Count,
    refused: Count,
    gaps: Count,
}

/// Circuits whose series are kept at hand. Past it all are worked out anew.
const CIRCUITS_MAX: usize = 10_000;

/// When to come again after a 503 if the ledger does not say: it tries its disk five times a second.
const RETRY: Duration = Duration::from_secs(1);

/// Signals that are handed to the ledger at once: what one of its groups holds.
const TOGETHER: usize = 1024;

impl Counter {
    /// Counts the signals of these breakers.
    pub(super) fn new(
        ledger: Ledger,
        kin: Kin,
        metrics: SignalMetrics,
        lives: Option<Lives>,
        counts: SignalCounts,
    ) -> Self {
        Self { ledger, kin, metrics, lives, memory: Mutex::default(), counts }
    }

    /// Reads the signals of a body.
    ///
    /// # Errors
    /// When nothing of it can be read.
    pub(super) fn read<'a>(&'a self, body: &'a [u8]) -> Result<Signals<'a>, BadBody> {
        Reading { states: &self.kin.states, circuit: self.kin.circuit.as_deref() }.read(body)
    }

    /// Counts the signals of a request, in their order, and returns when all are on disk.
    ///
    /// # Errors
    /// When the ledger does not take one of them now; the others may have been counted, and are duplicates next time.
    pub(super) async fn count(&self, signals: Signals<'_>) -> Result<Outcome, NotNow> {
        let mut outcome = Outcome::default();
        let mut good = Vec::with_capacity(signals.len());
        for (index, signal) in signals.into_iter().enumerate() {
            match signal {
                Ok(signal) => good.push((index, signal)),
                Err(refused) => outcome.refused.push(refused),
            }
        }
        for together in good.chunks(TOGETHER) {
            self.count_together(together, &mut outcome).await?;
        }
        outcome.refused.sort_by_key(|refused| refused.index);
        self.counts.refused.add(outcome.refused.len() as u64);
        Ok(outcome)
    }

    async fn count_together(&self, signals: &[(usize, Signal<'_>)], outcome: &mut Outcome) -> Result<(), NotNow> {
        let entries: Vec<_> = {
            let mut memory = self.memory();
            signals.iter().map(|(_, signal)| self.entry(&mut memory, signal)).collect()
        };
        // Put in line one after another before any of them waits, so they share a commit and keep their order.
        let submitted = join_all(entries.into_iter().map(|entry| async {
            match entry {
                Ok(entry) => self.ledger.submit(entry).await,
                Err(why) => Err(Refusal::Reject { why }),
            }
        }));
        let committed = submitted.await;
        let mut not_now = None;
        let mut memory = self.memory();
        for ((index, signal), committed) in signals.iter().zip(committed) {
            match committed {
                Ok(Committed::New) => {
                    outcome.accepted += 1;
                    self.counts.accepted.add(1);
                    self.counts.gaps.add(u64::from(memory.chains.advance(signal)));
                    if let Some(lives) = &self.lives {
                        lives.told(signal);
                    }
                }
                Ok(Committed::Duplicate | Committed::TooOld) => {
                    outcome.duplicates += 1;
                    self.counts.duplicate.add(1);
                    // Where it left a hole has been counted when it was new.
                    memory.chains.advance(signal);
                }
                Err(Refusal::Retry { after, .. }) => not_now = Some(NotNow { after: after.unwrap_or(RETRY) }),
                Err(refusal) => outcome.refused.push(RefusedSignal { index: *index, why: refusal.to_string() }),
            }
        }
        not_now.map_or(Ok(()), Err)
    }

    /// What the ledger is to do for a signal.
    fn entry(&self, memory: &mut Memory, signal: &Signal<'_>) -> Result<Entry, String> {
        let Memory { circuits, key, id, .. } = memory;
        let instance = signal.instance.as_deref().unwrap_or_default();
        write_id(id, &self.kin.target, signal);
        write_key(key, instance, &signal.circuit);
        let mut entry = Entry::new().with_id(self.ledger.event(key, id));
        if !self.kin.target.is_empty() {
            // A target tells again of what it remembers, however old. What the window has forgotten must not count twice.
            entry = entry.signed_at(signal.time);
        }
        let name = (self.kin.instance(instance), &*signal.circuit);
        write_key(key, name.0, name.1);
        if !circuits.contains_key(key.as_str()) {
            if circuits.len() >= CIRCUITS_MAX {
                circuits.clear();
            }
            circuits.insert(key.clone(), self.circuit(name)?);
        }
        let circuit = circuits.get_mut(key.as_str()).expect("it was put there");
        if let Some(old) = signal.old_state {
            let place = &mut circuit.transitions[old * self.kin.states.len() + signal.new_state];
            let series = match place {
                Some(series) => series,
                None => place.insert(self.transition(name, old, signal.new_state)?),
            };
            entry.add(series.clone(), Number::Int(1));
            if let Some(last) = &circuit.last {
                let value = Number::Double(signal.time.as_seconds());
                entry.tally(last.clone(), Tally::Set { value, time: signal.time });
            }
        }
        for (state, series) in circuit.states.iter().enumerate() {
            let value = Number::Int(i64::from(state == signal.new_state));
            entry.tally(series.clone(), Tally::Set { value, time: signal.time });
        }
        Ok(entry)
    }

    fn circuit(&self, name: (&str, &str)) -> Result<Circuit, String> {
        let (states, shown) = (self.kin.states.len(), self.kin.shown.iter());
        let track = |metric, labels: &[(&str, &str)]| self.kin.track(&self.ledger, metric, name, labels);
        let gauges = self.metrics.state.iter().flat_map(|metric| shown.clone().map(move |state| (metric, state)));
        Ok(Circuit {
            states: gauges.map(|(metric, state)| track(metric, &[("state", state)])).collect::<Result<_, _>>()?,
            last: self.metrics.last.as_ref().map(|metric| track(metric, &[])).transpose()?,
            transitions: vec![None; states * states],
        })
    }

    fn transition(&self, name: (&str, &str), old: usize, new: usize) -> Result<Tracked, String> {
        let (old, new) = (self.kin.shown[old].as_str(), self.kin.shown[new].as_str());
        self.kin.track(&self.ledger, &self.metrics.transitions, name, &[("new_state", new), ("old_state", old)])
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignalMetrics {
    /// With these names; `ledger` is told of their descriptions, because series from disk carry the words of their first day.
    pub(super) fn new(ledger: &Ledger, names: &MetricNames, last: bool) -> Self {
        let metric = |name: &str, unit: &str, kind, description: &str| {
            Arc::new(Metric { unit: unit.into(), description: description.into(), ..Metric::new(name, kind) })
        };
        let state = state_metric(names);
        let about = "Count of state transitions for circuit breakers";
        let transitions = metric(&names.transitions, "", Kind::COUNTER, about);
        let about = "Time of the circuit breaker's newest transition, in seconds since 1970";
        let last = last.then(|| metric(&names.last_transition, "s", Kind::Gauge, about));
        [&state, &transitions].into_iter().chain(&last).for_each(|metric| ledger.describe(metric));
        Self { state: Some(state), transitions, last }
    }

    /// For breakers whose states are told by who asks for them.
    pub(super) fn without_states(&self) -> Self {
        Self { state: None, ..self.clone() }
    }
}

/// The gauge.
pub(super) fn state_metric(names: &MetricNames) -> Arc<Metric> {
    let description = "Current state of the circuit breaker".into();
    Arc::new(Metric { description, ..Metric::new(&*names.state, Kind::Gauge) })
}

/// What a signal of a breaker is known by: all of it that its sender repeats. Instance and circuit are the event's source.
fn write_id(id: &mut Vec<u8>, target: &str, signal: &Signal<'_>) {
    let number = |place: Option<usize>| place.map_or(u32::MAX, |place| u32::try_from(place).unwrap_or(u32::MAX));
    id.clear();
    id.push(u8::from(signal.sequence.is_some()));
    id.extend_from_slice(&signal.sequence.unwrap_or_default().to_le_bytes());
    id.extend_from_slice(&signal.time.0.to_le_bytes());
    id.extend_from_slice(&number(signal.old_state).to_le_bytes());
    id.extend_from_slice(&number(Some(signal.new_state)).to_le_bytes());
    id.extend_from_slice(target.as_bytes());
}

impl SignalCounts {
    pub(super) fn new(meters: &Meters, receiver: &str) -> Self {
        let count = |outcome: &str| {
            let labels = vec![("receiver", receiver.to_owned()), ("outcome", outcome.to_owned())];
            meters.count("weir_breaker_signals", "Signals of circuit breakers, by how they ended.", "{signals}", labels)
        };
        let gaps = meters.count(
            "weir_breaker_gaps",
            "Signals that leave another state than the one before them has entered: at least one is missing.",
            "{gaps}",
            vec![("receiver", receiver.to_owned())],
        );
        Self { accepted: count("accepted"), duplicate: count("duplicate"), refused: count("refused"), gaps }
    }
}

//! What changes with time and not with signals: how long a circuit has been in each state, and how often it has changed of late.
//!
//! Both are brought up to date in the ledger before its series are shown, in one entry with a cursor that says until when time has been
//! given out. So a counter never falls, whatever is killed: what was shown was on disk, and time that was given to a state stays
//! with it when the signal that ended it arrives late.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pdata::{Kind, Metric, Number, UnixNanos};
use pipeline::state::{Cursor, Entry, Ledger, Standing, Tally, Tracked};
use pipeline::{BoxFuture, Clock, Refusal};

use super::chain::write_key;
use super::kin::Kin;
use super::settings::MetricNames;
use super::signal::Signal;
use crate::events::Chore;

/// The lives of the circuits of one sender.
#[derive(Clone, Debug)]
pub(super) struct Lives(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    clock: Clock,
    kin: Kin,
    wanted: Wanted,
    /// Whether states last until the next signal. Those of a target last only from one poll to the next.
    lasting: bool,
    known: Mutex<HashMap<String, Life>>,
    /// Held while an entry is on its way. Keeps one that the disk did not take: it may be there after all, and then its second try is
    /// a duplicate.
    writing: Arc<tokio::sync::Mutex<Option<Entry>>>,
}

/// Which of the metrics are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    time: Option<Arc<Metric>>,
    recent: Option<(Arc<Metric>, Duration)>,
}

/// One circuit.
#[derive(Debug)]
struct Life {
    name: (String, String),
    state: Option<usize>,
    /// When the newest signal says that it was in this state.
    at: UnixNanos,
    /// Until when time has been given to states.
    until: UnixNanos,
    /// What has been given and is in no entry yet, by state.
    spent: Vec<Duration>,
    /// When it changed, the newest last.
    moves: VecDeque<UnixNanos>,
    /// The number of recent changes that is shown.
    recent: Option<usize>,
    series: Vec<Option<Tracked>>,
}

/// Circuits that are followed; one more is not. Each costs a row or two of every entry.
const LIVES_MAX: usize = 10_000;

/// Changes of one circuit that are remembered: who changes more often within a window is shown with this number.
const MOVES_MAX: usize = 1_000;

/// Until when time has been given out.
const CURSOR: &str = "time_in_state";

impl Wanted {
    /// With these names; none when neither is wanted.
    pub(super) fn of(names: &MetricNames, time: bool, window: Option<Duration>) -> Option<Self> {
        let metric = |name: &str, unit: &str, kind, description: &str| {
            Arc::new(Metric { unit: unit.into(), description: description.into(), ..Metric::new(name, kind) })
        };
        let time = time.then(|| {
            let about = "Time that the circuit breaker has been in the state";
            metric(&names.time_in_state, "s", Kind::COUNTER, about)
        });
        let recent = window.map(|window| {
            let about = format!("Transitions of the circuit breaker within the last {} seconds", window.as_secs());
            (metric(&names.recent_transitions, "", Kind::Gauge, &about), window)
        });
        (time.is_some() || recent.is_some()).then_some(Self { time, recent })
    }
}

impl Lives {
    /// Of breakers that send signals: what the ledger knows of them is taken up where it was left. `state` is the gauge's name.
    pub(super) fn resume(ledger: &Ledger, clock: &Clock, kin: &Kin, wanted: Wanted, state: &str) -> Self {
        let lives = Self::new(ledger, clock, kin, wanted, true);
        let given = ledger
            .cursor(CURSOR)
            .and_then(|cursor| Some(UnixNanos(u64::from_le_bytes((*cursor.value).try_into().ok()?))));
        let now = clock.wall();
        let mut known = lives.0.lock();
        for (series, _, standing) in ledger.snapshot().series() {
            let identity = series.identity();
            let Standing::Gauge(Number::Int(1), at) = *standing else { continue };
            if *identity.metric.name != *state {
                continue;
            }
            let text = |key: &str| identity.attributes.get(key).map(|value| value.to_string()).unwrap_or_default();
            let (instance, circuit) = (text("instance"), text("circuit_name"));
            let Some(state) = kin.place(&text("state")) else { continue };
            let Some(life) = life_of(&mut known, kin, &instance, &circuit) else { break };
            if at >= life.at {
                // A clock that is ahead says nothing of when it came.
                let entered = if at > now { given.unwrap_or(now) } else { at };
                (life.state, life.at, life.until) = (Some(state), at, entered.max(given.unwrap_or(entered)).min(now));
            }
        }
        drop(known);
        lives
    }

    /// Of breakers that a target tells of.
    pub(super) fn polled(ledger: &Ledger, clock: &Clock, kin: &Kin, wanted: Wanted) -> Self {
        Self::new(ledger, clock, kin, wanted, false)
    }

    fn new(ledger: &Ledger, clock: &Clock, kin: &Kin, wanted: Wanted, lasting: bool) -> Self {
        wanted
            .time
            .iter()
            .chain(wanted.recent.iter().map(|(metric, _)| metric))
            .for_each(|metric| ledger.describe(metric));
        let (ledger, clock, kin) = (ledger.clone(), clock.clone(), kin.clone());
        Self(Arc::new(Inner { ledger, clock, kin, wanted, lasting, known: Mutex::default(), writing: Arc::default() }))
    }

    /// A signal has been counted. One that is older than another says nothing of how long a state lasted.
    pub(super) fn told(&self, signal: &Signal<'_>) {
        let now = self.0.clock.wall();
        let mut known = self.0.lock();
        let instance = self.0.kin.instance(signal.instance.as_deref().unwrap_or_default());
        let Some(life) = life_of(&mut known, &self.0.kin, instance, &signal.circuit) else { return };
        if signal.old_state.is_some() {
            let place = life.moves.partition_point(|time| *time <= signal.time);
            life.moves.insert(place, signal.time);
            if life.moves.len() > MOVES_MAX {
                life.moves.pop_front();
            }
        }
        life.enter(signal.new_state, signal.time, now);
    }

    /// A poll has found a breaker in this state.
    pub(super) fn seen(&self, instance: &str, circuit: &str, state: usize, time: UnixNanos) {
        let mut known = self.0.lock();
        let Some(life) = life_of(&mut known, &self.0.kin, self.0.kin.instance(instance), circuit) else { return };
        life.enter(state, time, time);
    }

    /// Nobody knows what becomes of the circuits until they are next seen: those that `stay` says no to, or all.
    pub(super) fn lose(&self, stay: impl Fn(&str, &str) -> bool) {
        for life in self.0.lock().values_mut() {
            if !stay(&life.name.0, &life.name.1) {
                life.state = None;
            }
        }
    }
}

impl Life {
    fn enter(&mut self, state: usize, time: UnixNanos, now: UnixNanos) {
        match self.state {
            Some(_) if time < self.at => return,
            Some(before) => {
                // A clock that is ahead gives no time that has not passed.
                let end = time.max(self.until).min(now.max(self.until));
                self.spent[before] += end.since(self.until);
                self.until = end;
            }
            None => self.until = time.min(now).max(self.until),
        }
        (self.state, self.at) = (Some(state), time);
    }
}

fn life_of<'a>(known: &'a mut HashMap<String, Life>, kin: &Kin, instance: &str, circuit: &str) -> Option<&'a mut Life> {
    let mut key = String::new();
    write_key(&mut key, instance, circuit);
    if known.len() >= LIVES_MAX && !known.contains_key(&key) {
        return None;
    }
    let states = kin.states.len();
    Some(known.entry(key).or_insert_with(|| Life {
        name: (instance.to_owned(), circuit.to_owned()),
        state: None,
        at: UnixNanos::UNSET,
        until: UnixNanos::UNSET,
        spent: vec![Duration::ZERO; states],
        moves: VecDeque::new(),
        recent: None,
        series: vec![None; states + 1],
    }))
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Life>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is in no entry yet, as one; none when that is nothing.
    fn entry(&self, now: UnixNanos) -> Option<Entry> {
        let (mut entry, mut changed) = (Entry::new(), false);
        for life in self.lock().values_mut() {
            if let (Some(state), true) = (life.state, self.lasting) {
                life.spent[state] += now.since(life.until);
                life.until = life.until.max(now);
            }
            if let Some(metric) = &self.wanted.time {
                changed |= self.spend(&mut entry, life, metric);
            }
            if let Some((metric, window)) = &self.wanted.recent {
                changed |= self.count(&mut entry, life, metric, (*window, now));
            }
        }
        // Of no other entry: clocks stand still and are set back.
        let id = RandomState::new().hash_one(now.0).to_le_bytes();
        let entry = entry.with_id(self.ledger.event(CURSOR, &id));
        let cursor = Cursor { key: CURSOR.into(), value: now.0.to_le_bytes().into(), token: 0 };
        let entry = if self.lasting { entry.with_cursor(cursor) } else { entry };
        changed.then_some(entry)
    }

    fn spend(&self, entry: &mut Entry, life: &mut Life, metric: &Arc<Metric>) -> bool {
        let mut changed = false;
        for state in 0..life.spent.len() {
            if life.spent[state].is_zero() {
                continue;
            }
            let Some(series) = self.series(life, state, metric, &[("state", &self.kin.shown[state])]) else { continue };
            entry.add(series, Number::Double(std::mem::take(&mut life.spent[state]).as_secs_f64()));
            changed = true;
        }
        changed
    }

    fn count(
        &self,
        entry: &mut Entry,
        life: &mut Life,
        metric: &Arc<Metric>,
        (window, now): (Duration, UnixNanos),
    ) -> bool {
        let since = UnixNanos(now.0.saturating_sub(u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)));
        life.moves.drain(..life.moves.partition_point(|time| *time <= since));
        let recent = life.moves.partition_point(|time| *time <= now);
        if life.recent == Some(recent) {
            return false;
        }
        let Some(series) = self.series(life, life.spent.len(), metric, &[]) else { return false };
        life.recent = Some(recent);
        entry.tally(series, Tally::Set { value: Number::Int(recent as i64), time: now });
        true
    }

    fn series(&self, life: &mut Life, place: usize, metric: &Arc<Metric>, labels: &[(&str, &str)]) -> Option<Tracked> {
        if life.series[place].is_none() {
            let name = (life.name.0.as_str(), life.name.1.as_str());
            life.series[place] = self.kin.track(&self.ledger, metric, name, labels).ok();
        }
        life.series[place].clone()
    }
}

impl Chore for Lives {
    fn refresh(&self) -> BoxFuture<'_, ()> {
        let lives = self.0.clone();
        Box::pin(async move {
            let Ok(mut waiting) = lives.writing.clone().try_lock_owned() else { return };
            // A task of its own, so that who stops waiting for the disk leaves no entry behind whose end nobody knows.
            let write = tokio::spawn(async move {
                let Some(entry) = waiting.take().or_else(|| lives.entry(lives.clock.wall())) else { return };
                match lives.ledger.submit(entry.clone()).await {
                    Ok(_) => {}
                    Err(Refusal::Retry { .. }) => *waiting = Some(entry),
                    Err(refusal) => tracing::warn!(why = %refusal, "time in state not counted"),
                }
            });
            write.await.ok();
        })
    }
}

/// All of them, one after another.
#[derive(Debug)]
pub(super) struct All(pub(super) Vec<Lives>);

impl Chore for All {
    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for lives in &self.0 {
                lives.refresh().await;
            }
        })
    }
}

//! The circuit breaker in front of a destination.
//!
//! Closed, it lets everything through and counts failures in a row. Open, it turns everything away at once: a destination that is
//! down or overloaded gets one probe per `open_duration` from all batches together, not one per batch. Half-open, one probe is on its
//! way. Its state is exported in the shape in which breakers of services are received: `circuit_breaker_state{circuit_name,state}` is 1
//! for the current state and 0 for the others, `circuit_breaker_state_transition_total{circuit_name,old_state,new_state}` counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pipeline::{BoxFuture, Clock, Count, Level, Meters};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{BreakerSettings, DeliverySettings, Miss, Parcel, Reason, Taken};

/// The breaker of one destination. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Breaker(Arc<Inner>);

/// Puts a breaker in front of a service.
#[derive(Clone, Debug)]
pub(crate) struct BreakerLayer(Breaker);

/// A service behind a breaker.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    breaker: Breaker,
    inner: S,
}

#[derive(Debug)]
struct Inner {
    settings: BreakerSettings,
    /// Whether a try that was slowed down counts as a success.
    spares_throttled: bool,
    clock: Clock,
    /// Never held over an await.
    state: Mutex<State>,
    /// Counts how often it closed, so that who waits can be woken.
    recovered: watch::Sender<u64>,
    shown: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { since: Instant },
}

/// The state as others see it.
#[derive(Debug)]
struct Shown {
    states: [Level; 3],
    /// By old and new state.
    transitions: [[Option<Count>; 3]; 3],
}

/// A try that was let through. Dropped without an outcome it gives its place back: a probe that was cut off says nothing.
struct Pass {
    breaker: Breaker,
    probe: bool,
    decided: bool,
}

const WORDS: [&str; 3] = ["closed", "open", "half_open"];
/// The transitions that exist, so that a counter stands for each from the start: closed to open, open to half-open, and back, or closed.
const TRANSITIONS: [(usize, usize); 5] = [(0, 1), (1, 2), (2, 1), (2, 0), (1, 0)];

impl State {
    const fn index(self) -> usize {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { .. } => 1,
            Self::HalfOpen { .. } => 2,
        }
    }
}

impl Shown {
    fn new(meters: &Meters, name: &str) -> Self {
        let level = |state: &str| {
            let labels = vec![("circuit_name", name.to_owned()), ("state", state.to_owned())];
            meters.level(
                "circuit_breaker_state",
                "1 for the state that the breaker is in, 0 for the others.",
                "",
                labels,
            )
        };
        let states = WORDS.map(level);
        states[0].set(1);
        let mut transitions = [const { [const { None }; 3] }; 3];
        for (old, new) in TRANSITIONS {
            let word = |key, index: usize| (key, WORDS[index].to_owned());
            let labels = vec![("circuit_name", name.to_owned()), word("old_state", old), word("new_state", new)];
            let about = "How often the breaker went from one state to another.";
            transitions[old][new] = Some(meters.count("circuit_breaker_state_transition_total", about, "", labels));
        }
        Self { states, transitions }
    }

    fn show(&self, old: State, new: State) {
        self.states[old.index()].set(0);
        self.states[new.index()].set(1);
        if let Some(count) = &self.transitions[old.index()][new.index()] {
            count.add(1);
        }
    }
}

impl Breaker {
    /// A closed breaker. `name` is shown as `circuit_name`. One that is switched off shows nothing and lets everything through.
    pub(crate) fn new(settings: &DeliverySettings, meters: &Meters, clock: &Clock, name: &str) -> Self {
        let spares_throttled = settings.spool.as_ref().is_some_and(|spool| spool.max_partitions > 0);
        let settings = &settings.breaker;
        let unread = Meters::unread();
        let shown = Shown::new(if settings.enabled { meters } else { &unread }, name);
        Self(Arc::new(Inner {
            settings: settings.clone(),
            spares_throttled,
            clock: clock.clone(),
            state: Mutex::new(State::Closed { failures: 0 }),
            recovered: watch::Sender::new(0),
            shown,
        }))
    }

    /// Ends when the breaker closes after it was open. Safe to drop.
    pub(crate) fn recovery(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut recovered = self.0.recovered.subscribe();
        async move {
            if recovered.changed().await.is_err() {
                // The breaker is gone: nobody will close it, and who waits has a time of his own.
                std::future::pending::<()>().await;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go(&self, state: &mut State, new: State) {
        let old = std::mem::replace(state, new);
        if old.index() != new.index() {
            self.0.shown.show(old, new);
            tracing::info!(old_state = WORDS[old.index()], new_state = WORDS[new.index()], "circuit breaker");
        }
    }

    /// Lets a try through, or says when to come again.
    fn enter(&self) -> Result<Pass, Duration> {
        let pass = |probe| Ok(Pass { breaker: self.clone(), probe, decided: false });
        if !self.0.settings.enabled {
            return pass(false);
        }
        let now = self.0.clock.now();
        let mut state = self.state();
        match *state {
            State::Closed { .. } => pass(false),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => {
                self.go(&mut state, State::HalfOpen { since: now });
                pass(true)
            }
            // The probe has its own time-out, and whoever closes the breaker wakes those who wait; this is for those who come late.
            State::HalfOpen { since } => {
                let span = self.0.settings.open_duration.get();
                Err((since + span).saturating_duration_since(now).max(span / 10))
            }
        }
    }

    fn succeeded(&self) {
        let mut state = self.state();
        let was_closed = matches!(*state, State::Closed { .. });
        self.go(&mut state, State::Closed { failures: 0 });
        drop(state);
        if !was_closed {
            self.0.recovered.send_modify(|times| *times += 1);
        }
    }

    /// A destination that asked for a delay gets it from all batches, not only from the one it told.
    fn failed(&self, probe: bool, asked: Option<Duration>) {
        let span = self.0.settings.open_duration.get().max(asked.unwrap_or_default());
        let until = self.0.clock.now() + span;
        let mut state = self.state();
        match *state {
            State::Closed { failures } if failures + 1 < self.0.settings.failure_threshold => {
                *state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } => self.go(&mut state, State::Open { until }),
            State::HalfOpen { .. } if probe => self.go(&mut state, State::Open { until }),
            // Tries from before it opened say nothing new.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }
}

impl Pass {
    fn decide(mut self, outcome: &Result<Taken, Miss>) {
        self.decided = true;
        match outcome {
            // Nothing was tried: another batch probes.
            Err(Miss::Withdrawn) => self.decided = false,
            // A destination that rejects is well.
            Ok(_) | Err(Miss::Reject { .. }) => self.breaker.succeeded(),
            // So is one that slows one tenant down, where tenants have queues of their own: each keeps the delay that it was told.
            Err(Miss::Retry { reason: Reason::Throttled, .. }) if self.breaker.0.spares_throttled => {
                self.breaker.succeeded();
            }
            Err(Miss::Retry { after, .. }) => self.breaker.failed(self.probe, *after),
            Err(Miss::Held { .. } | Miss::Shut { .. }) => self.breaker.failed(self.probe, None),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe && !self.decided {
            let until = self.breaker.0.clock.now();
            let mut state = self.breaker.state();
            self.breaker.go(&mut state, State::Open { until });
        }
    }
}

impl BreakerLayer {
    pub(crate) fn new(breaker: Breaker) -> Self {
        Self(breaker)
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { breaker: self.0.clone(), inner }
    }
}

impl<S> Service<Parcel> for Guarded<S>
where
    S: Service<Parcel, Response = Taken, Error = Miss>,
    S::Future: Send + 'static,
{
    type Response = Taken;
    type Error = Miss;
    type Future = BoxFuture<'static, Result<Taken, Miss>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, parcel: Parcel) -> Self::Future {
        let pass = match self.breaker.enter() {
            Ok(pass) => pass,
            Err(after) => return Box::pin(std::future::ready(Err(Miss::Shut { after }))),
        };
        let trying = self.inner.call(parcel);
        Box::pin(async move {
            let outcome = trying.await;
            pass.decide(&outcome);
            outcome
        })
    }
}

//! How the agent is: starting, running, stopping. For health endpoints.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pdata::UnixNanos;
use pipeline::collection::CollectionPort;
use pipeline::{Clock, Collects, Health};
use tokio::time::Instant;

/// What everybody may know of the agent's state. Clones share it.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Mutex<State>>, Clock, Health);

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Components are being started.
    Starting,
    /// All components run.
    Running,
    /// The stop was asked for, or a component could not go on.
    Stopping,
}

/// Whether the agent does its work, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Why it is not ready; none when it is.
    pub missing: Option<String>,
    /// Since when it runs, in wall-clock time and as a span; none unless it runs.
    pub up: Option<(UnixNanos, Duration)>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    since_wall: UnixNanos,
    /// Receivers that collect. Ready means that those who do by their own clock have collected once.
    receivers: Vec<CollectionPort>,
}

/// How long readiness waits for first collections. A source that is down must not keep the whole agent out of service.
pub(crate) const STARTUP_GRACE: Duration = Duration::from_secs(10);

impl Vitals {
    /// An agent that is starting.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state =
            State { phase: Phase::Starting, since: clock.now(), since_wall: clock.wall(), receivers: Vec::new() };
        Self(Arc::new(Mutex::new(state)), clock, Health::default())
    }

    /// The same, not ready while a component complains.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self(self.0, self.1, health)
    }

    /// All components have been started; these are the receivers that collect.
    pub(crate) fn running(&self, ports: Vec<CollectionPort>) {
        self.set(Phase::Running, ports);
    }

    /// The stop was asked for.
    pub(crate) fn stopping(&self) {
        self.set(Phase::Stopping, Vec::new());
    }

    /// Where the agent is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Whether the agent does its work.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let complaint = self.2.complaint();
        let state = self.lock();
        let missing = match state.phase {
            Phase::Starting => Some("starting".to_owned()),
            Phase::Stopping => Some("stopping".to_owned()),
            Phase::Running => complaint.or_else(|| state.awaited()),
        };
        let up = (state.phase == Phase::Running).then(|| (state.since_wall, state.since.elapsed()));
        Readiness { missing, up }
    }

    fn set(&self, phase: Phase, receivers: Vec<CollectionPort>) {
        let (since, since_wall) = (self.1.now(), self.1.wall());
        *self.lock() = State { phase, since, since_wall, receivers };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A receiver whose first collection is still to come.
    fn awaited(&self) -> Option<String> {
        if self.since.elapsed() >= STARTUP_GRACE {
            return None;
        }
        let mut by_clock = self.receivers.iter().filter(|port| port.collects == Collects::Interval);
        let late = by_clock.find(|port| port.first_round().is_none())?;
        Some(format!("{} has not collected yet", late.receiver))
    }
}

#[cfg(test)]
mod tests {
    use pipeline::collection::CollectionDesk;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_ready_when_every_interval_receiver_has_collected_once() {
        let vitals = Vitals::new(Clock::stepped(UnixNanos(5)));
        assert_eq!(vitals.readiness().missing.unwrap(), "starting");
        let (desk, port) = CollectionDesk::pair("sql_query/a", Collects::Interval);
        let (_idle, on_demand) = CollectionDesk::pair("sql_query/b", Collects::OnDemand);
        vitals.running(vec![port, on_demand]);
        assert_eq!(vitals.readiness().missing.unwrap(), "sql_query/a has not collected yet");
        desk.first_round_done(Vec::new());
        assert_eq!(vitals.readiness().missing, None);
        vitals.stopping();
        assert_eq!(vitals.readiness(), Readiness { missing: Some("stopping".into()), up: None });
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_not_ready_while_a_component_cannot_do_its_work_however_long_it_runs() {
        let health = Health::default();
        let vitals = Vitals::new(Clock::stepped(UnixNanos(5))).with_health(health.clone());
        vitals.running(Vec::new());
        tokio::time::sleep(STARTUP_GRACE).await;
        assert_eq!(vitals.readiness().missing, None);
        health.ill("otlp_http", "the sending queue cannot store: no space left");
        assert_eq!(vitals.readiness().missing.unwrap(), "otlp_http: the sending queue cannot store: no space left");
        health.well("otlp_http");
        assert_eq!(vitals.readiness().missing, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_down_keeps_readiness_away_for_the_grace_only() {
        let vitals = Vitals::new(Clock::stepped(UnixNanos(5)));
        let (_desk, port) = CollectionDesk::pair("sql_query/a", Collects::Interval);
        vitals.running(vec![port]);
        tokio::time::sleep(STARTUP_GRACE).await;
        assert_eq!(vitals.readiness().missing, None);
    }
}

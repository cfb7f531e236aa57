//! The agent as a whole: configuration in, running pipelines, drained when asked to stop.

use std::sync::Arc;
use std::time::Duration;

use config::{Document, Environment, Files, Loaded, Problems, Sources};
use pipeline::{Clock, Fault, Stop};
use tokio::sync::Notify;

use crate::house::{House, SWEEP, tell};
use crate::plan::{GraphPlan, plan};
use crate::registry::Registry;
use crate::run::Drained;
use crate::telemetry::LogSettings;
use crate::telemetry::log::LogHandle;

/// An agent whose configuration is sound, ready to run.
pub struct Agent {
    source: Source,
    plan: GraphPlan,
    warnings: Problems,
    files: Files,
    document: Option<Document>,
    drain_timeout: Duration,
    clock: Clock,
    log: Option<LogHandle>,
    reload: Reload,
}

/// Where the configuration comes from, for reading it again.
#[derive(Clone)]
pub struct Source {
    /// What the command line names.
    pub sources: Sources,
    /// Where `${env:…}` looks.
    pub env: Arc<dyn Environment + Send + Sync>,
    /// The components there are.
    pub registry: Registry,
}

/// What reading and checking a configuration gave.
#[derive(Debug)]
pub struct Examined {
    /// What was planned; none when there are errors.
    pub plan: Option<GraphPlan>,
    /// Errors and warnings, sorted by place.
    pub problems: Problems,
    /// What was read.
    pub loaded: Loaded,
}

/// A configuration with errors, and the texts to show them with.
#[derive(Debug)]
pub struct Rejected {
    /// Errors and warnings.
    pub problems: Problems,
    /// What was read.
    pub files: Files,
}

/// Asks a running agent to read its configuration again. Clones ask the same agent; asking twice before it has begun is asking once.
#[derive(Clone, Debug, Default)]
pub struct Reload(Arc<Notify>);

/// How long a stop may take unless told otherwise: less than the 30 s that Kubernetes gives a pod.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

impl Source {
    /// Reads and checks the configuration: everything that start-up would find in it, and nothing is touched.
    #[must_use]
    pub fn examine(&self) -> Examined {
        let mut loaded = config::load(&self.sources, &*self.env);
        let problems = std::mem::take(&mut loaded.problems);
        let (plan, problems) = match &loaded.document {
            Some(document) => plan(document, &self.registry, problems),
            None => (None, problems),
        };
        Examined { plan, problems, loaded }
    }
}

impl Agent {
    /// An agent with the components of this build.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn from_config(sources: Sources, env: impl Environment + Send + Sync + 'static) -> Result<Self, Rejected> {
        Self::from_source(Source { sources, env: Arc::new(env), registry: Registry::builtin() })
    }

    /// An agent with components of the caller's choice.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn from_source(source: Source) -> Result<Self, Rejected> {
        let Examined { plan, problems, loaded } = source.examine();
        let Loaded { files, document, .. } = loaded;
        let Some(plan) = plan else { return Err(Rejected { problems, files }) };
        Ok(Self {
            source,
            plan,
            warnings: problems,
            files,
            document,
            drain_timeout: DRAIN_TIMEOUT,
            clock: Clock::system(),
            log: None,
            reload: Reload::default(),
        })
    }

    /// How long a stop may take; what is not handed over by then is lost.
    #[must_use]
    pub fn with_drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout, ..self }
    }

    /// Another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The log whose level follows the configuration at a reload.
    #[must_use]
    pub fn with_log(self, log: LogHandle) -> Self {
        Self { log: Some(log), ..self }
    }

    /// How the agent's own log is to look.
    #[must_use]
    pub fn log_settings(&self) -> &LogSettings {
        &self.plan.telemetry.logs
    }

    /// Asks this agent to read its configuration again, once it runs.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    pub(crate) fn registry(&self) -> Registry {
        self.source.registry
    }

    pub(crate) fn into_parts(self) -> (GraphPlan, Clock) {
        (self.plan, self.clock)
    }

    /// Runs until asked to stop, then drains. Must not be dropped before it ends, or what is in flight is lost.
    ///
    /// # Errors
    /// When something is in the way of the start, or a component cannot go on.
    pub async fn run(self, mut stop: Stop) -> Result<Drained, Fault> {
        tell(&self.warnings, &self.files);
        let mut house = House::open(self.plan.telemetry.clone(), self.clock, self.drain_timeout, self.log).await?;
        let graph = house.build(self.plan, self.document).await?;
        let mut running = house.start(graph);
        tracing::info!("Everything is ready. Begin running and processing data.");
        let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP, SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let fault = loop {
            // All arms are safe to drop.
            tokio::select! {
                () = stop.requested() => break None,
                fault = running.fault() => break Some(fault),
                () = self.reload.0.notified() => running = house.exchange(running, &self.source).await,
                _ = sweep.tick() => house.sweep(),
            }
        };
        tracing::info!("Stopping: receivers first, then what they sent is handed over.");
        let drained = house.close(running).await;
        tracing::info!("Stopped.");
        fault.map_or(Ok(drained), Err)
    }
}

impl Reload {
    /// Asks.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problems.render(&self.files))
    }
}

impl std::error::Error for Rejected {}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

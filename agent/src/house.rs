//! What stays while graphs come and go: own telemetry, the series table, sockets. A reload exchanges the graph in it.

use std::time::Duration;

use config::{Document, Files, Pipeline, Problem, Problems, Reference, Severity};
use pipeline::{Claim, Clock, Fault};

use crate::agent::{Examined, Source};
use crate::graph::{Graph, Queues, Surroundings};
use crate::plan::GraphPlan;
use crate::run::{Drained, Running};
use crate::telemetry::endpoint::OwnServers;
use crate::telemetry::log::LogHandle;
use crate::telemetry::meters::OwnMetrics;
use crate::telemetry::{LogSettings, Settings};
use crate::vitals::Vitals;

/// What stays while graphs come and go.
pub(crate) struct House {
    around: Surroundings,
    vitals: Vitals,
    queues: Queues,
    servers: OwnServers,
    /// Kept because its instruments end with it.
    _metrics: OwnMetrics,
    settings: Settings,
    drain_timeout: Duration,
    log: Option<LogHandle>,
    /// What the running graph was made from.
    document: Option<Document>,
    /// What the running graph listens on.
    listens: Vec<(String, String)>,
    /// Whether sockets may be open that no component wants any more.
    exchanged: bool,
}

/// How often the agent is swept.
pub(crate) const SWEEP: Duration = Duration::from_secs(10);

impl House {
    /// Opens the agent's own endpoints.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(crate) async fn open(
        settings: Settings,
        clock: Clock,
        drain_timeout: Duration,
        log: Option<LogHandle>,
    ) -> Result<Self, Fault> {
        let metrics = OwnMetrics::new(&settings)?;
        if let Some(log) = &log {
            metrics.observe_log(log);
        }
        let around = Surroundings::new(clock.clone(), metrics.meters());
        let queues = Queues::default();
        metrics.observe(&around, &queues);
        let health = around.health.clone();
        let servers = OwnServers::start(&metrics, &around).await?;
        Ok(Self {
            around,
            vitals: Vitals::new(clock).with_health(health),
            queues,
            servers,
            _metrics: metrics,
            settings,
            drain_timeout,
            log,
            document: None,
            listens: Vec::new(),
            exchanged: false,
        })
    }

    /// Opens the sockets of a plan that the running graph does not hold, and builds it.
    ///
    /// # Errors
    /// When something outside the configuration is in the way. The running graph has not noticed.
    pub(crate) async fn build(&mut self, plan: GraphPlan, document: Option<Document>) -> Result<Graph, Fault> {
        let listens = plan.listens.clone();
        for (id, address) in &listens {
            let held =
                |(_, other): &(String, String)| Claim::Listen(address.clone()).clashes(&Claim::Listen(other.clone()));
            if !self.listens.iter().any(held) {
                // Lent and given back: it stays open for the component, and clients may queue from now on.
                self.around.listeners.lend(address).await.map_err(|fault| fault.of(id))?;
            }
        }
        let graph = plan.build(&self.around)?;
        (self.listens, self.document) = (listens, document);
        Ok(graph)
    }

    /// Starts a graph; the one before must have ended.
    pub(crate) fn start(&self, graph: Graph) -> Running {
        let running = graph.start(&self.vitals);
        self.queues.replace(running.queues());
        running
    }

    /// Reads the configuration again. Everything that can fail happens before the running graph is touched; on failure it goes on.
    pub(crate) async fn exchange(&mut self, running: Running, source: &Source) -> Running {
        let Examined { plan, problems, loaded } = source.examine();
        tell(&problems, &loaded.files);
        let Some(plan) = plan else {
            tracing::error!("Configuration has errors and is not used; the one before keeps running.");
            return running;
        };
        if let (Some(new), Some(old)) = (&loaded.document, &self.document)
            && same(new, old)
        {
            tracing::info!("Configuration is unchanged.");
            return running;
        }
        let settings = plan.telemetry.clone();
        self.exchanged = true;
        let graph = match self.build(plan, loaded.document).await {
            Ok(graph) => graph,
            Err(fault) => {
                tracing::error!(error = %fault, "Configuration cannot be used; the one before keeps running.");
                return running;
            }
        };
        tracing::info!("Config updated, restart service");
        running.stop(self.drain_timeout, &self.queues).await.tell(&self.around.meters);
        self.take_over(settings);
        let running = self.start(graph);
        tracing::info!("Everything is ready. Begin running and processing data.");
        running
    }

    /// Stops the graph, then what stays.
    pub(crate) async fn close(self, running: Running) -> Drained {
        self.vitals.stopping();
        let drained = running.stop(self.drain_timeout, &self.queues).await;
        drained.tell(&self.around.meters);
        self.servers.stop().await;
        drained
    }

    /// Own telemetry outlives graphs: of its settings only the level of the log changes while the agent runs.
    fn take_over(&mut self, new: Settings) {
        if let Some(log) = &self.log {
            log.set(new.logs.level);
        }
        let same = LogSettings { level: None, ..new.logs.clone() }
            == LogSettings { level: None, ..self.settings.logs.clone() };
        if !same || new.endpoints != self.settings.endpoints {
            tracing::warn!("service::telemetry has changed: all but logs::level takes effect at the next start");
        }
        self.settings.logs.level = new.logs.level;
    }

    /// Frees what nobody uses. To be called at a steady pace; see [`SWEEP`].
    pub(crate) fn sweep(&mut self) {
        self.around.table.sweep();
        // Components take their sockets as they start, so by now what nobody has is not wanted.
        if std::mem::take(&mut self.exchanged) {
            self.around.listeners.close_unlent();
        }
    }
}

/// Whether two documents mean the same, wherever their parts stand.
fn same(one: &Document, two: &Document) -> bool {
    let ids = |list: &[Reference]| list.iter().map(|reference| reference.id.clone()).collect::<Vec<_>>();
    let pipeline = |pipeline: &Pipeline| {
        let Pipeline { id, receivers, processors, exporters, .. } = pipeline;
        (id.clone(), ids(receivers), ids(processors), ids(exporters))
    };
    let service = |document: &Document| {
        let pipelines: Vec<_> = document.service.pipelines.iter().map(pipeline).collect();
        (pipelines, ids(&document.service.extensions))
    };
    let classes = ["receivers", "processors", "exporters", "connectors", "extensions"];
    classes.iter().all(|class| one.class(class) == two.class(class))
        && one.service.telemetry == two.service.telemetry
        && service(one) == service(two)
}

/// Logs problems, one line each.
pub(crate) fn tell(problems: &Problems, files: &Files) {
    for problem in problems {
        let Problem { message, .. } = problem;
        let at = problem.place.map(|place| files.locate(place));
        let path = (!problem.path.is_empty()).then_some(&*problem.path);
        let help = problem.help.as_deref();
        match problem.severity {
            Severity::Error => tracing::error!(at, path, help, "{message}"),
            Severity::Warning => tracing::warn!(at, path, help, "{message}"),
        }
    }
}

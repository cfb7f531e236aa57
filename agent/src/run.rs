//! Runs a graph: starts it from the exporters up, watches it, stops it from the receivers down.
//!
//! Only receivers, servers and extensions are told to stop. Lanes and exporters end because their inboxes were closed and emptied.
//! One deadline holds for all; what is not handed over by then is lost, counted and said aloud.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use pipeline::{Count, Fault, Meters, Outlet, Stop, Stopper};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use crate::books::{Books, Owed};
use crate::graph::{Graph, Queues};
use crate::vitals::Vitals;

/// A graph whose components run.
#[derive(Debug)]
pub struct Running {
    receivers: Stage,
    lanes: Stage,
    drives: Stage,
    exporters: Stage,
    extensions: Stage,
    /// Emptied when the receivers have ended, so that a stray clone of an outlet cannot keep a lane alive.
    outlets: Vec<Outlet>,
    books: Books,
    queues: Queues,
    faults: mpsc::Receiver<Fault>,
}

/// How a stop went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// What was not handed over when the deadline passed. Empty when all was.
    pub lost: Vec<Owed>,
    /// Components that had to be cut off.
    pub cut_off: Vec<String>,
}

/// Components that start and stop together.
#[derive(Debug)]
struct Stage {
    tasks: JoinSet<()>,
    names: Vec<(tokio::task::Id, String)>,
    stopper: Stopper,
    stop: Stop,
    faults: mpsc::Sender<Fault>,
}

/// Faults that are kept until somebody looks: the first one stops the agent, the others are only logged.
const FAULTS_KEPT: usize = 16;

/// How long a task that is cut off may take to its next await; what it holds comes back then.
const LAST_AWAIT: Duration = Duration::from_secs(1);

impl Graph {
    /// Starts all components: exporters, then lanes, then receivers, so that nobody sends to one who is not there yet. Extensions
    /// stand first, because health endpoints show the start too.
    #[must_use]
    pub fn start(mut self, vitals: &Vitals) -> Running {
        let (tell, faults) = mpsc::channel(FAULTS_KEPT);
        let stage = || Stage::new(tell.clone());
        let (mut receivers, mut lanes, mut drives) = (stage(), stage(), stage());
        let (mut exporters, mut extensions) = (stage(), stage());
        self.books.begin();
        for (id, extension) in self.extensions {
            let work = extension.run(vitals.clone(), extensions.stop.clone());
            extensions.start("Extension", id.to_string(), work);
        }
        for built in self.exporters {
            let (exporter, stop) = (built.exporter.clone(), exporters.stop.clone());
            exporters.start("Exporter", built.id.to_string(), async move { exporter.run(stop).await });
            let work = pipeline::drive::drive(built.exporter, built.inbox, built.counts);
            drives.start("Exporter", built.id.to_string(), work.map(Ok));
        }
        for (id, lane) in self.lanes {
            lanes.start("Pipeline", id, lane.run());
        }
        let outlets = self.receivers.iter().map(|built| built.outlet.clone()).collect();
        for built in self.receivers {
            let work = built.receiver.run(built.outlet, receivers.stop.clone());
            receivers.start("Receiver", built.id.to_string(), work);
        }
        vitals.running(self.ports);
        let (books, queues) = (self.books, self.queues);
        Running { receivers, lanes, drives, exporters, extensions, outlets, books, queues, faults }
    }
}

impl Running {
    /// Waits until a component cannot go on. Safe to drop.
    pub async fn fault(&mut self) -> Fault {
        match self.faults.recv().await {
            Some(fault) => fault,
            // Every stage holds a sender, so this is never reached while they live.
            None => std::future::pending().await,
        }
    }

    /// The inboxes of exporters, for gauges.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// What is in flight, or lost when nothing runs any more.
    #[must_use]
    pub fn owed(&self) -> Vec<Owed> {
        self.books.owed()
    }

    /// Stops everything, from the receivers down, within `timeout`.
    ///
    /// Receivers may use half of it: one that hangs must not cost what others have sent already. Those that are cut off are safe
    /// to drop by contract, and their batches count as lost, so that cursors stay where they were.
    pub async fn stop(mut self, timeout: Duration, gauges: &Queues) -> Drained {
        let began = Instant::now();
        let deadline = began + timeout;
        let mut cut_off = Vec::new();
        self.receivers.stopper.stop();
        self.receivers.end(began + timeout / 2, &mut cut_off).await;
        self.outlets.iter().for_each(|outlet| outlet.replace(Vec::new()));
        self.lanes.end(deadline, &mut cut_off).await;
        self.queues.clear();
        gauges.clear();
        self.drives.end(deadline, &mut cut_off).await;
        self.exporters.stopper.stop();
        self.exporters.end(deadline, &mut cut_off).await;
        self.extensions.stopper.stop();
        self.extensions.end(deadline, &mut cut_off).await;
        // An exporter has two tasks, one that takes batches and one that serves.
        cut_off.dedup();
        Drained { lost: self.books.owed(), cut_off }
    }
}

impl Drained {
    /// Whether everything was handed over and everybody ended by themselves.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.cut_off.is_empty()
    }

    /// Says aloud what was lost, and counts it.
    pub fn tell(&self, meters: &Meters) {
        for name in &self.cut_off {
            tracing::warn!(component = name, "did not end within the drain timeout and was cut off");
        }
        for Owed { before, items } in &self.lost {
            lost_count(meters, before).add(*items);
            tracing::error!(before, items, "Dropping data: not handed over within the drain timeout");
        }
    }
}

fn lost_count(meters: &Meters, before: &str) -> Count {
    let about = "Points and records that were not handed over when the drain timeout passed.";
    meters.count("weir_drain_lost_items", about, "{items}", vec![("before", before.to_owned())])
}

impl Stage {
    fn new(faults: mpsc::Sender<Fault>) -> Self {
        let (stopper, stop) = Stop::pair();
        Self { tasks: JoinSet::new(), names: Vec::new(), stopper, stop, faults }
    }

    fn start<W>(&mut self, kind: &'static str, name: String, work: W)
    where
        W: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        // Error level, so that the span is there for events of every level.
        let span = tracing::error_span!("component", otelcol.component.id = name, otelcol.component.kind = kind);
        let watched = watch(name.clone(), work, self.faults.clone()).instrument(span);
        let handle = self.tasks.spawn(watched);
        self.names.push((handle.id(), name));
    }

    /// Waits for all tasks until `deadline`, and cuts off the rest.
    async fn end(&mut self, deadline: Instant, cut_off: &mut Vec<String>) {
        loop {
            match tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(Ok((id, ())))) => self.names.retain(|(task, _)| *task != id),
                // `watch` catches panics and nobody else aborts, so an error can only mean a task that has ended.
                Ok(Some(Err(error))) => self.names.retain(|(task, _)| *task != error.id()),
                Ok(None) => return,
                Err(_) => break,
            }
        }
        self.tasks.abort_all();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        // Who does not even reach his next await is left behind: the process ends without him.
        if tokio::time::timeout(LAST_AWAIT, gone).await.is_err() {
            self.tasks.detach_all();
        }
        cut_off.extend(self.names.drain(..).map(|(_, name)| name));
    }
}

/// Runs a component's work and tells how it ended, if badly.
async fn watch(name: String, work: impl Future<Output = Result<(), Fault>>, faults: mpsc::Sender<Fault>) {
    let fault = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => fault.of(&name),
        Err(panic) => Fault::new(format!("panicked: {}", words_of(&*panic))).of(&name),
    };
    tracing::error!(error = %fault, "component cannot go on");
    // A full channel has a fault that stops the agent already.
    faults.try_send(fault).ok();
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! `weir run --once`: collects each receiver once through the pipelines of metrics, and prints instead of exporting.
//!
//! Exporters are replaced before anything is built: none of them is made, so nothing can leave the agent. Components are told that
//! they run once, so that no cursor moves. Own telemetry and extensions stay away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::Signal;
use pipeline::collection::{CollectionPort, Unmet};
use pipeline::{Batch, BoxFuture, BuildContext, Collects, Exporter, Fault, Meters, Page, Plan, Refusal, Signals};
use tokio::time::Instant;

use crate::agent::Agent;
use crate::graph::{Queues, Surroundings};
use crate::plan::{GraphPlan, Node};
use crate::vitals::Vitals;

/// What one round of collections gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The metrics in the Prometheus text format; one exposition for each exporter.
    pub text: String,
    /// The reads that failed, one line each.
    pub failures: Vec<String>,
}

/// Turns what came to one exporter into text.
pub type Print = fn(&[Batch]) -> String;

/// Keeps what comes instead of sending it.
#[derive(Clone, Debug, Default)]
struct Capture(Arc<Mutex<Vec<Batch>>>);

/// Time for what was read to pass the lanes; nothing leaves the agent, so this is long.
const DRAIN: Duration = Duration::from_secs(5);

impl Agent {
    /// Collects each receiver once, within `timeout`.
    ///
    /// # Errors
    /// When a component cannot be built, or this build cannot show metrics.
    pub async fn run_once(self, timeout: Duration) -> Result<Collected, Fault> {
        let print = self.registry().print;
        let print = print.ok_or_else(|| Fault::new("this build cannot show metrics: it has no exporter prometheus"))?;
        let (mut plan, clock) = self.into_parts();
        let captures = divert(&mut plan);
        let around = Surroundings { once: true, ..Surroundings::new(clock.clone(), Meters::unread()) };
        let deadline = clock.now() + timeout;
        let graph = plan.build(&around)?;
        // Kept to the end: a receiver that nobody can ask any more says so in the log.
        let ports = graph.ports.clone();
        let mut running = graph.start(&Vitals::new(clock));
        let reads = futures_util::future::join_all(ports.iter().cloned().map(|port| read(port, deadline)));
        let mut failures = tokio::select! {
            read = reads => read.into_iter().flatten().collect(),
            fault = running.fault() => vec![fault.to_string()],
        };
        let drained = running.stop(DRAIN, &Queues::default()).await;
        drop(ports);
        failures.extend(drained.lost.iter().map(|owed| format!("{}: {} items did not pass", owed.before, owed.items)));
        let several = captures.len() > 1;
        let mut text = String::new();
        for (exporter, capture) in captures {
            let batches = capture.0.lock().unwrap_or_else(PoisonError::into_inner);
            if several {
                text.push_str(&format!("# exporter {exporter}\n"));
            }
            text.push_str(&print(&batches));
            failures.extend(batches.iter().filter_map(failed));
        }
        failures.sort();
        failures.dedup();
        Ok(Collected { text, failures })
    }
}

/// Leaves only pipelines of metrics, and puts a capture in the place of each exporter.
fn divert(plan: &mut GraphPlan) -> Vec<(String, Capture)> {
    plan.extensions.clear();
    plan.routes.retain(|route| route.id.signal == Signal::Metrics);
    keep_used(&mut plan.receivers, plan.routes.iter_mut().map(|route| &mut route.receivers));
    keep_used(&mut plan.exporters, plan.routes.iter_mut().map(|route| &mut route.exporters));
    let mut captures = Vec::new();
    for node in &mut plan.exporters {
        let capture = Capture::default();
        node.plan = Box::new(capture.clone());
        captures.push((node.id.to_string(), capture));
    }
    captures
}

/// Leaves only the nodes that one of the lists names, and makes the lists name them where they stand now.
fn keep_used<'l, C: ?Sized>(nodes: &mut Vec<Node<C>>, lists: impl Iterator<Item = &'l mut Vec<usize>>) {
    let lists: Vec<_> = lists.collect();
    let used: BTreeSet<usize> = lists.iter().flat_map(|list| list.iter().copied()).collect();
    for index in lists.into_iter().flatten() {
        *index = used.range(..*index).count();
    }
    let mut index = 0;
    nodes.retain(|_| {
        index += 1;
        used.contains(&(index - 1))
    });
}

/// Has one receiver read; gives what went wrong.
async fn read(mut port: CollectionPort, deadline: Instant) -> Option<String> {
    let receiver = port.receiver.clone();
    let unmet = match port.collects {
        Collects::Never => return None,
        Collects::OnDemand => port.collect(deadline).await.err()?,
        Collects::Interval => match tokio::time::timeout_at(deadline, port.wait_first_round()).await {
            Ok(Some(_)) => return None,
            Ok(None) => Unmet::Gone,
            Err(_) => Unmet::Late,
        },
    };
    let why = match unmet {
        Unmet::Late => "not read in time",
        Unmet::Crowded => "too many reads wait already",
        Unmet::Gone => "ended before it had read",
    };
    Some(format!("{receiver}: {why}"))
}

fn failed(batch: &Batch) -> Option<String> {
    let collection = batch.collection.as_ref()?;
    matches!(collection.page, Page::Failed(_)).then(|| format!("{}: the read failed", collection.source))
}

impl Plan<dyn Exporter> for Capture {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn build(self: Box<Self>, _: BuildContext) -> Result<Box<dyn Exporter>, Fault> {
        Ok(self)
    }
}

impl Exporter for Capture {
    fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch.fork_without_promise());
        Box::pin(std::future::ready(Ok(())))
    }
}

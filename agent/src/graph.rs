//! Builds what was planned: components, inboxes, lanes. Nothing runs yet, so a failure here disturbs nobody.
//!
//! Inboxes belong to the graph: who else wants to look at one (gauges) does it through [`Queues`], which lets go when the agent
//! stops. A stray sending end would keep its reader alive for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use config::{ComponentId, Signal};
use pdata::SeriesTable;
use pipeline::collection::{CollectionDesk, CollectionPort};
use pipeline::drive::{ExportCounts, Intake, enqueue_failed};
use pipeline::inbox::InboxLimits;
use pipeline::net::Listeners;
use pipeline::outlet::OutletCounts;
use pipeline::{
    Budget, BuildContext, Clock, Collects, Count, Exporter, Fault, Health, Inbox, Lane, Level, Meters, Outlet, Plan,
    Port, Processor, Receiver,
};

use crate::books::Books;
use crate::extensions::Extension;
use crate::plan::{GraphPlan, Node, Route};
use crate::wrap::{Counted, Taken};

/// What all components of an agent share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Time.
    pub clock: Clock,
    /// The one series table.
    pub table: Arc<SeriesTable>,
    /// The agent's own telemetry.
    pub meters: Meters,
    /// The byte budget of batches in flight.
    pub budget: Budget,
    /// What ails components.
    pub health: Health,
    /// Sockets.
    pub listeners: Arc<Listeners>,
    /// Whether the agent runs once.
    pub once: bool,
}

/// Built components, joined, not running.
pub struct Graph {
    pub(crate) receivers: Vec<BuiltReceiver>,
    pub(crate) lanes: Vec<(String, Lane)>,
    pub(crate) exporters: Vec<BuiltExporter>,
    pub(crate) extensions: Vec<(ComponentId, Box<dyn Extension>)>,
    pub(crate) books: Books,
    pub(crate) queues: Queues,
    /// The receivers that collect.
    pub(crate) ports: Vec<CollectionPort>,
}

pub(crate) struct BuiltReceiver {
    pub(crate) id: ComponentId,
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) outlet: Outlet,
}

pub(crate) struct BuiltExporter {
    pub(crate) id: ComponentId,
    pub(crate) exporter: Arc<dyn Exporter>,
    pub(crate) inbox: Inbox,
    pub(crate) counts: ExportCounts,
}

/// The inboxes of exporters, for gauges.
#[derive(Clone, Debug, Default)]
pub struct Queues(Arc<Mutex<BTreeMap<String, Waiting>>>);

/// Where an exporter's batches wait.
#[derive(Clone, Debug)]
enum Waiting {
    /// In memory.
    Inbox(Port),
    /// On disk: bytes, and bytes that there may be.
    Disk(Level, Level),
}

impl GraphPlan {
    /// Builds all components and joins them.
    ///
    /// # Errors
    /// When something outside the configuration is in the way of one of them.
    pub fn build(self, around: &Surroundings) -> Result<Graph, Fault> {
        let Self { receivers, exporters, extensions, routes, telemetry: _, listens: _ } = self;
        let (desks, ports): (Vec<_>, Vec<_>) = receivers.iter().map(desk).unzip();
        let feeds = |exporter: usize, receiver: usize| {
            routes.iter().any(|route| route.exporters.contains(&exporter) && route.receivers.contains(&receiver))
        };
        let mut inboxes = Vec::new();
        let mut built_exporters = Vec::new();
        for (index, node) in exporters.into_iter().enumerate() {
            let upstream = ports.iter().enumerate().filter(|(receiver, _)| feeds(index, *receiver));
            let upstream = upstream.filter_map(|(_, port)| port.clone()).collect();
            let (port, built) = build_exporter(node, around, upstream)?;
            let intake = built.exporter.intake();
            inboxes.push(Way { name: built.id.to_string(), port, intake });
            built_exporters.push(built);
        }
        let counts: Vec<_> = receivers.iter().map(|node| receiver_counts(&around.meters, &node.id)).collect();
        let mut books = Books::default();
        let (lanes, doors) = build_lanes(routes, around, &inboxes, &counts, &mut books)?;
        let mut built_receivers = Vec::new();
        for (index, ((node, desk), counts)) in receivers.into_iter().zip(desks).zip(counts).enumerate() {
            let context = BuildContext { desk, ..around.context(&node.id, Vec::new()) };
            let receiver = node.build(context)?;
            let ports = doors.iter().filter(|door| door.receivers.contains(&index)).map(|door| door.port.clone());
            let outlet = Outlet::new(ports.collect(), counts);
            built_receivers.push(BuiltReceiver { id: receiver.0, receiver: receiver.1, outlet });
        }
        let context = |node: &Node<dyn Extension>| around.context(&node.id, Vec::new());
        let extensions = extensions.into_iter().map(|node| {
            let context = context(&node);
            node.build(context)
        });
        Ok(Graph {
            receivers: built_receivers,
            lanes,
            exporters: built_exporters,
            extensions: extensions.collect::<Result<_, _>>()?,
            books,
            queues: Queues::of(inboxes, &around.meters),
            ports: ports.into_iter().flatten().collect(),
        })
    }
}

/// The way into an exporter.
struct Way {
    name: String,
    port: Port,
    /// How the exporter is fed.
    intake: Intake,
}

/// The way into a pipeline, for each of its receivers.
struct Door {
    receivers: Vec<usize>,
    port: Port,
}

type Lanes = (Vec<(String, Lane)>, Vec<Door>);

fn build_lanes(
    routes: Vec<Route>,
    around: &Surroundings,
    inboxes: &[Way],
    sent: &[OutletCounts],
    books: &mut Books,
) -> Result<Lanes, Fault> {
    let (mut lanes, mut doors) = (Vec::new(), Vec::new());
    let mut given: Vec<Vec<Count>> = vec![Vec::new(); inboxes.len()];
    for route in routes {
        let (id, signal) = (route.id.to_string(), route.id.signal);
        let taken = Count::default();
        let incoming = route.receivers.iter().map(|receiver| of_signal(&sent[*receiver], signal));
        books.open(format!("pipeline {id}"), incoming, [taken.clone()]);
        let mut processors: Vec<Box<dyn Processor>> = vec![Box::new(Taken(taken))];
        for node in route.processors {
            let context = around.context(&node.id, Vec::new());
            let (name, inner) = node.build(context)?;
            processors.push(Box::new(Counted::new(inner, &around.meters, &name, signal)));
        }
        let counts = OutletCounts::default();
        let out = route.exporters.iter().map(|exporter| {
            given[*exporter].push(of_signal(&counts, signal));
            let Way { name, port, .. } = &inboxes[*exporter];
            let dropped = enqueue_failed(&around.meters, name, signal);
            port.clone().for_signals(signal.into()).with_policy(port.policy(), dropped)
        });
        let outlet = Outlet::new(out.collect(), counts.clone());
        let (port, inbox) = Inbox::new(InboxLimits::default());
        doors.push(Door { receivers: route.receivers, port: port.for_signals(signal.into()) });
        lanes.push((id, Lane::new(inbox, processors, outlet)));
    }
    for (Way { name, intake, .. }, given) in inboxes.iter().zip(given) {
        books.open(format!("exporter {name}"), given, handled(&around.meters, name, *intake));
    }
    Ok((lanes, doors))
}

fn build_exporter(
    node: Node<dyn Exporter>,
    around: &Surroundings,
    upstream: Vec<CollectionPort>,
) -> Result<(Port, BuiltExporter), Fault> {
    let context = around.context(&node.id, upstream);
    let (id, exporter) = node.build(context)?;
    let intake = exporter.intake();
    let (port, inbox) = Inbox::new(intake.limits);
    // The counter of what it drops is the pipeline's, which knows the signal.
    let port = port.with_policy(intake.policy, Count::default());
    let mut counts = ExportCounts::new(&around.meters, &id.to_string());
    if intake.folds {
        counts = counts.with_folding(&around.meters, &id.to_string());
    }
    Ok((port, BuiltExporter { id, exporter: exporter.into(), inbox, counts }))
}

impl<C: ?Sized> Node<C> {
    fn build(self, context: BuildContext) -> Result<(ComponentId, Box<C>), Fault> {
        let context = BuildContext { state: self.state, ..context };
        let built = Plan::build(self.plan, context).map_err(|fault| fault.of(&self.id))?;
        Ok((self.id, built))
    }
}

/// Bytes that all batches in flight may have: four full inboxes. What is more is held back at the receivers.
const BUDGET_BYTES: usize = 256 << 20;

impl Surroundings {
    /// Surroundings of a new agent, with an empty table and no sockets.
    #[must_use]
    pub fn new(clock: Clock, meters: Meters) -> Self {
        Self {
            clock,
            table: SeriesTable::with_defaults(),
            meters,
            budget: Budget::new(BUDGET_BYTES),
            health: Health::default(),
            listeners: Arc::new(Listeners::default()),
            once: false,
        }
    }

    fn context(&self, id: &ComponentId, upstream: Vec<CollectionPort>) -> BuildContext {
        BuildContext {
            id: id.clone(),
            clock: self.clock.clone(),
            table: self.table.clone(),
            meters: self.meters.clone(),
            budget: self.budget.clone(),
            health: self.health.clone(),
            listeners: self.listeners.clone(),
            state: None,
            desk: None,
            upstream,
            once: self.once,
        }
    }
}

impl Queues {
    fn of(ways: Vec<Way>, meters: &Meters) -> Self {
        let waiting = |way: Way| {
            let labels = || vec![("exporter", way.name.clone())];
            // The queue sets these; name and labels are enough to find them.
            let level = |name| meters.level(name, "", "", labels());
            let waiting = if way.intake.keeps {
                Waiting::Disk(level("weir_queue_bytes"), level("weir_queue_capacity_bytes"))
            } else {
                Waiting::Inbox(way.port)
            };
            (way.name, waiting)
        };
        Self(Arc::new(Mutex::new(ways.into_iter().map(waiting).collect())))
    }

    /// What waits and what may wait, by exporter, in the unit in which its queue is bounded: batches, items, or bytes.
    #[must_use]
    pub fn fill(&self) -> Vec<(String, usize, usize)> {
        let read = |(name, waiting): (&String, &Waiting)| {
            let (size, capacity) = waiting.fill();
            (name.clone(), size, capacity)
        };
        self.lock().iter().map(read).collect()
    }

    /// Takes over the inboxes of another graph.
    pub(crate) fn replace(&self, other: &Self) {
        let ports = other.lock().clone();
        *self.lock() = ports;
    }

    /// Lets go of all inboxes, so that they can end.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn fill(&self) -> (usize, usize) {
        match self {
            Self::Inbox(port) => match port.limits() {
                InboxLimits { items, .. } if items != usize::MAX => (port.queued_items(), items),
                InboxLimits { bytes, batches, .. } if bytes != usize::MAX && batches >= PLACES_MANY => {
                    (port.queued_bytes(), bytes)
                }
                InboxLimits { batches, .. } => (port.queued_batches(), batches),
            },
            Self::Disk(size, capacity) => {
                let read = |level: &Level| usize::try_from(level.value()).unwrap_or(0);
                (read(size), read(capacity))
            }
        }
    }
}

/// An inbox with so many places is bounded by something else.
const PLACES_MANY: usize = 1 << 20;

fn desk(node: &Node<dyn Receiver>) -> (Option<CollectionDesk>, Option<CollectionPort>) {
    match node.plan.collects() {
        Collects::Never => (None, None),
        collects => {
            let (desk, port) = CollectionDesk::pair(node.id.to_string(), collects);
            (Some(desk), Some(port))
        }
    }
}

fn receiver_counts(meters: &Meters, id: &ComponentId) -> OutletCounts {
    let labels = || vec![("receiver", id.to_string())];
    OutletCounts {
        points: meters.count(
            "otelcol_receiver_accepted_metric_points",
            "Metric points taken in.",
            "{datapoints}",
            labels(),
        ),
        records: meters.count("otelcol_receiver_accepted_log_records", "Log records taken in.", "{records}", labels()),
        spans: meters.count("otelcol_receiver_accepted_spans", "Spans taken in.", "{spans}", labels()),
        unrouted: meters.count(
            "weir_receiver_unrouted_items",
            "Points, records and spans of a signal that no pipeline of the receiver carries.",
            "{items}",
            labels(),
        ),
    }
}

/// The counts of what an exporter handed over or was refused, under the names that `pipeline::drive` gives them. One that keeps
/// what it takes has done its part when it is on disk; what becomes of it then is the queue's own account.
fn handled(meters: &Meters, exporter: &str, intake: Intake) -> Vec<Count> {
    // The counts exist already, so name and labels are enough to find them.
    let names: &[_] = if intake.keeps {
        &["weir_queue_stored_items"]
    } else {
        &[
            "otelcol_exporter_sent_metric_points",
            "otelcol_exporter_sent_log_records",
            "otelcol_exporter_sent_spans",
            "otelcol_exporter_send_failed_metric_points",
            "otelcol_exporter_send_failed_log_records",
            "otelcol_exporter_send_failed_spans",
        ]
    };
    let folded = intake.folds.then_some(&"weir_queue_folded_items");
    let names = names.iter().chain(&["weir_exporter_withdrawn_items"]).chain(folded);
    let handled = names.map(|name| meters.count(name, "", "", vec![("exporter", exporter.to_owned())]));
    // Dropped at the door, and told there.
    let dropped =
        [Signal::Metrics, Signal::Logs, Signal::Traces].map(|signal| enqueue_failed(meters, exporter, signal));
    handled.chain(dropped).collect()
}

fn of_signal(counts: &OutletCounts, signal: Signal) -> Count {
    match signal {
        Signal::Metrics => counts.points.clone(),
        Signal::Logs => counts.records.clone(),
        Signal::Traces => counts.spans.clone(),
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |ids: Vec<&ComponentId>| ids.into_iter().map(ToString::to_string).collect::<Vec<_>>();
        f.debug_struct("Graph")
            .field("receivers", &names(self.receivers.iter().map(|built| &built.id).collect()))
            .field("lanes", &self.lanes.iter().map(|(id, _)| id).collect::<Vec<_>>())
            .field("exporters", &names(self.exporters.iter().map(|built| &built.id).collect()))
            .finish_non_exhaustive()
    }
}

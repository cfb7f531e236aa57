//! Tiny components for tests of the agent: what they do stands in their section, what they did stands in a journal.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use config::{MapEnvironment, Section, Sources};
use pdata::{Kind, Metrics, Number, SeriesTable, UnixNanos};
use pipeline::collection::{Collection, CollectionDesk, OnFailure, Page, SourceId};
use pipeline::testing::{identity, push};
use pipeline::{
    Batch, BoxFuture, BuildContext, Claim, Collects, Exporter, Factory, Fault, Meters, Outlet, Plan, Planned,
    Processor, Receiver, Refusal, Signals, Stop, Verdict,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::agent::Source;
use crate::extensions;
use crate::graph::Surroundings;
use crate::registry::{Class, Registry};

/// What happened, by journal.
static JOURNALS: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Adds a line to a journal.
fn note(journal: &str, line: impl Into<String>) {
    let mut journals = JOURNALS.lock().unwrap_or_else(PoisonError::into_inner);
    journals.entry(journal.to_owned()).or_default().push(line.into());
}

/// What happened in a journal. Each test uses its own.
pub(crate) fn journal(name: &str) -> Vec<String> {
    JOURNALS.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
}

/// The tiny components.
pub(crate) const REGISTRY: Registry = Registry {
    receivers: Class {
        built: &[SOURCE, LOGS],
        known: &[("source", "source"), ("absent", "absent")],
        prefix: "receiver-",
    },
    processors: Class { built: &[THIN], known: &[("thin", "thin")], prefix: "processor-" },
    exporters: Class { built: &[SINK], known: &[("sink", "sink")], prefix: "exporter-" },
    extensions: Class { built: extensions::ALL, known: extensions::KNOWN, prefix: "extension-" },
    print: Some(|batches| batches.iter().flat_map(pipeline::testing::lines).map(|line| line + "\n").collect()),
};

const SOURCE: Factory<dyn Receiver> = Factory {
    kind: "source",
    aliases: &["spring"],
    about: "Sends batches of gauges.",
    plan: plan_source,
    schema: || schemars::schema_for!(SourceConfig),
};

const LOGS: Factory<dyn Receiver> = Factory {
    kind: "log_source",
    aliases: &[],
    about: "Carries logs only.",
    plan: |section| {
        let config = section.decode()?;
        Ok(Box::new(SourcePlan { config, signals: Signals::LOGS }))
    },
    schema: || schemars::schema_for!(SourceConfig),
};

const THIN: Factory<dyn Processor> = Factory {
    kind: "thin",
    aliases: &[],
    about: "Drops every second batch.",
    plan: |section| Ok(Box::new(section.decode::<ThinPlan>()?)),
    schema: || schemars::schema_for!(ThinPlan),
};

const SINK: Factory<dyn Exporter> = Factory {
    kind: "sink",
    aliases: &[],
    about: "Takes batches, or not.",
    plan: |section| Ok(Box::new(section.decode::<SinkPlan>()?)),
    schema: || schemars::schema_for!(SinkPlan),
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Then {
    /// Waits for the stop.
    #[default]
    Wait,
    /// Never hears the stop.
    Hang,
    /// Ends with a fault.
    Fault,
    Panic,
    /// Answers demands.
    Collect,
    /// Answers demands with a failed read.
    CollectBadly,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SourceConfig {
    batches: u32,
    /// Points in each batch. Default 1.
    items: Option<u32>,
    then: Then,
    journal: String,
    password: Option<config::Secret>,
}

struct SourcePlan {
    config: SourceConfig,
    signals: Signals,
}

struct SourceReceiver {
    config: SourceConfig,
    context: BuildContext,
}

fn plan_source(section: &Section) -> Planned<dyn Receiver> {
    let config: SourceConfig = section.decode()?;
    if config.items == Some(0) {
        return Err(section.error("items", "items must not be 0").into());
    }
    Ok(Box::new(SourcePlan { config, signals: Signals::METRICS.with(Signals::LOGS) }))
}

impl Plan<dyn Receiver> for SourcePlan {
    fn signals(&self) -> Signals {
        self.signals
    }

    fn collects(&self) -> Collects {
        match self.config.then {
            Then::Collect | Then::CollectBadly => Collects::OnDemand,
            _ => Collects::Never,
        }
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        note(&self.config.journal, format!("built {}", context.id));
        Ok(Box::new(SourceReceiver { config: self.config, context }))
    }
}

impl SourceReceiver {
    fn batch(&self) -> Batch {
        let table: &std::sync::Arc<SeriesTable> = &self.context.table;
        let mut metrics = Metrics::new(table.pin());
        let series = table.intern(identity("m", Kind::Gauge, &[("from", &self.context.id.to_string())]));
        for value in 0..self.config.items.unwrap_or(1) {
            push(&mut metrics, &series, Number::Int(value.into()), 1);
        }
        Batch::new(metrics, UnixNanos(1))
    }

    async fn collect(&self, mut desk: CollectionDesk, outlet: &Outlet) {
        loop {
            let demands = desk.demanded().await;
            if demands.is_empty() {
                // Nobody can ask any more.
                return std::future::pending().await;
            }
            let source = SourceId(self.context.id.to_string().into());
            let page = match self.config.then {
                Then::CollectBadly => Page::Failed(OnFailure::Omit),
                _ => Page::Last,
            };
            let collection = Collection { source: source.clone(), sequence: 1, page };
            outlet.send(self.batch().with_collection(collection)).await;
            demands.into_iter().for_each(|demand| demand.answer(vec![(source.clone(), 1)]));
        }
    }
}

impl Receiver for SourceReceiver {
    fn run(mut self: Box<Self>, outlet: Outlet, mut stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            note(&self.config.journal, format!("started {}", self.context.id));
            for _ in 0..self.config.batches {
                outlet.send(self.batch()).await;
            }
            match self.config.then {
                Then::Wait => stop.requested().await,
                Then::Hang => std::future::pending().await,
                Then::Fault => return Err(Fault::new("the spring is dry")),
                Then::Panic => panic!("no water"),
                Then::Collect | Then::CollectBadly => {
                    let desk = self.context.desk.take().expect("receivers that collect get a desk");
                    tokio::select! {
                        () = self.collect(desk, &outlet) => {}
                        () = stop.requested() => {}
                    }
                }
            }
            note(&self.config.journal, format!("ended {}", self.context.id));
            Ok(())
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ThinPlan {
    /// Holds the last batch back until the end.
    hold: bool,
    journal: String,
}

struct Thin {
    plan: ThinPlan,
    seen: u64,
    held: Option<Batch>,
}

impl Plan<dyn Processor> for ThinPlan {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn build(self: Box<Self>, _: BuildContext) -> Result<Box<dyn Processor>, Fault> {
        Ok(Box::new(Thin { plan: *self, seen: 0, held: None }))
    }
}

impl Processor for Thin {
    fn process(&mut self, batch: Batch, out: &mut dyn FnMut(Batch)) {
        self.seen += 1;
        if self.seen.is_multiple_of(2) {
            batch.settle(Verdict::Discarded);
        } else if self.plan.hold {
            self.held.replace(batch).into_iter().for_each(out);
        } else {
            out(batch);
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(Batch)) {
        note(&self.plan.journal, "finished thin");
        self.held.take().into_iter().for_each(out);
    }
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SinkPlan {
    /// Refuses every so many-th batch.
    refuse_every: u64,
    /// Never takes a batch.
    stuck: bool,
    /// Cannot be built.
    broken: bool,
    /// Claims to listen here.
    endpoint: Option<String>,
    journal: String,
}

struct Sink {
    plan: SinkPlan,
    context: BuildContext,
    seen: std::sync::atomic::AtomicU64,
}

impl Plan<dyn Exporter> for SinkPlan {
    fn signals(&self) -> Signals {
        Signals::METRICS
    }

    fn claims(&self) -> Vec<Claim> {
        self.endpoint.iter().cloned().map(Claim::Listen).collect()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Exporter>, Fault> {
        if self.broken {
            return Err(Fault::new("the sink has a hole"));
        }
        let upstream: Vec<_> = context.upstream.iter().map(|port| port.receiver.to_string()).collect();
        note(&self.journal, format!("built {} below [{}]", context.id, upstream.join(" ")));
        Ok(Box::new(Sink { plan: *self, context, seen: 0.into() }))
    }
}

impl Exporter for Sink {
    fn export<'a>(&'a self, _: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            if self.plan.stuck {
                std::future::pending::<()>().await;
            }
            let seen = self.seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            match seen.checked_rem(self.plan.refuse_every) {
                Some(0) => Err(Refusal::Reject { why: "full".into() }),
                _ => Ok(()),
            }
        })
    }

    fn run(&self, mut stop: Stop) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            note(&self.plan.journal, format!("started {}", self.context.id));
            stop.requested().await;
            let seen = self.seen.load(std::sync::atomic::Ordering::Relaxed);
            note(&self.plan.journal, format!("ended {} with {seen}", self.context.id));
            Ok(())
        })
    }
}

/// A configuration with the tiny components; own metrics are off unless it says otherwise.
pub(crate) fn source(yaml: &str) -> Source {
    source_with(yaml, MapEnvironment::new())
}

pub(crate) fn source_with(yaml: &str, env: MapEnvironment) -> Source {
    let quiet = "yaml:service::telemetry::metrics::level: none".to_owned();
    let sources = Sources { configs: vec![quiet, format!("yaml:{yaml}")], sets: Vec::new() };
    Source { sources, env: std::sync::Arc::new(env), registry: REGISTRY }
}

/// Surroundings whose meters can be read.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings::new(pipeline::Clock::system(), Meters::unread())
}

/// The sum of all counts with a name, whatever their labels.
pub(crate) fn sum(meters: &Meters, name: &str) -> u64 {
    meters.counts().iter().filter(|(known, ..)| *known == name).map(|(_, _, value)| value).sum()
}

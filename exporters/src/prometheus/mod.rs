//! Exporter `prometheus`: an endpoint that is scraped.
//!
//! Points go into a [`table`]: the last value of each series, with its label text worked out at its first sight. A scrape is a walk
//! along that table, in text 0.0.4 or OpenMetrics 1.0.0, copied page by page and sent as the scraper takes it.
//!
//! ```yaml
//! exporters:
//!   prometheus:
//!     endpoint: localhost:9464
//! ```

mod body;
mod cells;
mod config;
mod distribution;
mod drops;
mod exemplar;
mod exposition;
mod family;
mod fresh;
mod glob;
mod kin;
mod kind;
mod labels;
mod layout;
mod leaf;
mod lines;
mod negotiate;
mod page;
mod pairs;
mod serve;
mod slots;
mod sources;
mod stream;
mod table;
mod transcode;

use std::sync::Arc;
use std::time::Duration;

use ::config::{Problems, Section};
use pipeline::net::{Gates, LimitsConfig, Listeners, Server, Timeouts, TlsServerConfig};
use pipeline::{
    Batch, BoxFuture, BuildContext, Claim, Clock, Exporter, Factory, Fault, Level, Meters, Plan, Planned, Refusal,
    Signals, Stop,
};
use tokio::time::Instant;

pub use self::config::{Config, ResourceConversion, ResourceLabels, TranslationStrategy};
pub use self::exposition::{Exposition, TextFormat, render_once};

use self::config::Checked;
use self::fresh::Upstream;
use self::serve::{Endpoint, ScrapeCounts};
use self::stream::Shared;
use self::table::Table;

/// The registry's line.
pub const FACTORY: Factory<dyn Exporter> = Factory {
    kind: "prometheus",
    aliases: &[],
    about: "serves the last value of every series to Prometheus, in text 0.0.4 and OpenMetrics 1.0",
    plan,
    schema: || schemars::schema_for!(Config),
};

/// A checked section.
struct PrometheusPlan(Checked);

/// The running exporter.
struct Prometheus {
    id: String,
    door: Door,
    shared: Shared,
    endpoint: Arc<Endpoint>,
    clock: Clock,
    /// Times within the table count from here.
    began: Instant,
    sweep_every: Duration,
    levels: Levels,
}

/// What the server needs.
struct Door {
    listeners: Arc<Listeners>,
    address: String,
    limits: LimitsConfig,
    timeouts: Timeouts,
    tls: Option<TlsServerConfig>,
    gates: Gates,
    meters: Meters,
}

struct Levels {
    series: Level,
    families: Level,
    bytes: Level,
}

/// Bytes of a request's body: scrapes have none.
const BODY_MAX: u64 = 1024;

/// Cells looked at under one hold of the lock while expired series are sought: about 0.2 ms.
const SWEEP_STEP: u32 = 1 << 16;

fn plan(section: &Section) -> Planned<dyn Exporter> {
    Ok(Box::new(PrometheusPlan(Checked::of(section)?)))
}

impl Plan<dyn Exporter> for PrometheusPlan {
    fn signals(&self) -> Signals {
        Signals::METRICS
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.0.config.endpoint.clone())]
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Exporter>, Fault> {
        Ok(Box::new(Prometheus::new(self.0, context)))
    }
}

impl Prometheus {
    fn new(checked: Checked, context: BuildContext) -> Self {
        let BuildContext { id, clock, meters, listeners, upstream, .. } = context;
        let id = id.to_string();
        let began = clock.now();
        let expiration = checked.config.metric_expiration.get();
        let shared = Shared::new(Table::new(checked.table_rules(), &meters, &id));
        let grace_ends = began + checked.config.startup_grace.get();
        let endpoint = Endpoint {
            path: checked.config.path.clone(),
            open_metrics: checked.config.enable_open_metrics,
            timestamps: checked.config.send_timestamps,
            shared: shared.clone(),
            upstream: Upstream::new(upstream, &meters, &id, grace_ends),
            clock: clock.clone(),
            counts: ScrapeCounts::new(&meters, &id),
        };
        let levels = Levels::new(&meters, &id);
        let timeouts = checked.timeouts();
        let Checked { config, endpoint: address, gates, .. } = checked;
        let gates = gates.watched(&config.limits, &meters, "exporter", &id);
        let door = Door {
            listeners,
            address: address.to_string(),
            limits: config.limits,
            timeouts,
            tls: config.tls.into_option(),
            gates,
            meters,
        };
        // Often enough that a series outlives its time by a quarter at most, seldom enough to cost nothing.
        let sweep_every = (expiration / 4).clamp(Duration::from_secs(1), Duration::from_secs(10));
        Self { id, door, shared, endpoint: Arc::new(endpoint), clock, began, sweep_every, levels }
    }

    fn seconds(&self) -> u32 {
        // The last value means "held"; 136 years pass before it is met.
        (self.clock.now() - self.began).as_secs() as u32
    }

    async fn serve(&self, stop: Stop) -> Result<(), Fault> {
        let door = &self.door;
        let lent = door.listeners.lend(&door.address).await?;
        let mut server = Server::new(lent).limits(&door.limits).timeouts(door.timeouts).max_body(BODY_MAX).meters(
            &door.meters,
            "exporter",
            &self.id,
        );
        if let Some(tls) = &door.tls {
            server = server.tls(tls, &door.gates)?;
        }
        tracing::info!(exporter = %self.id, address = %server.local_addr(), path = %self.endpoint.path, "serving metrics");
        server.serve(serve::service(self.endpoint.clone(), &door.gates), stop).await;
        Ok(())
    }

    /// Ends what has expired, by the clock and not by scrapes: memory stays bounded when nobody scrapes.
    async fn sweep(&self) {
        let mut from = 0;
        loop {
            let now = self.seconds();
            let end = self.shared.with(|table| {
                table.expire(from..from.saturating_add(SWEEP_STEP), now);
                table.cells.places().end
            });
            from = from.saturating_add(SWEEP_STEP);
            if from >= end {
                break;
            }
            tokio::task::yield_now().await;
        }
        let (series, families, bytes) = self.shared.with(|table| {
            table.tidy();
            (table.cells.live(), table.families.slots().len(), table.heap_bytes())
        });
        self.levels.set(series, families);
        self.levels.bytes.set(level(bytes));
    }
}

impl Exporter for Prometheus {
    fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        let now = self.seconds();
        let (series, families) = self.shared.with(|table| {
            table.apply(batch, now);
            (table.cells.live(), table.families.slots().len())
        });
        self.levels.set(series, families);
        if batch.collection.is_some() {
            self.endpoint.upstream.tell_applied();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn run(&self, stop: Stop) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let sweeping = async {
                loop {
                    self.clock.sleep(self.sweep_every).await;
                    self.sweep().await;
                }
            };
            tokio::select! {
                served = self.serve(stop) => served.map_err(|fault| fault.of(&self.id)),
                () = sweeping => unreachable!("sweeping never ends"),
            }
        })
    }
}

impl Levels {
    fn new(meters: &Meters, exporter: &str) -> Self {
        let level = |name, about, unit| meters.level(name, about, unit, vec![("exporter", exporter.to_owned())]);
        Self {
            series: level("weir_prometheus_series", "Series on a prometheus exporter's endpoint.", "{series}"),
            families: level(
                "weir_prometheus_families",
                "Metric families on a prometheus exporter's endpoint.",
                "{families}",
            ),
            bytes: level("weir_prometheus_table_bytes", "Memory of a prometheus exporter's series.", "By"),
        }
    }

    fn set(&self, series: usize, families: usize) {
        self.series.set(level(series));
        self.families.set(level(families));
    }
}

fn level(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

//! For tests of components: probes, benches, ready-made batches. Feature `test-util`.

use std::sync::Arc;

use config::ComponentId;
use pdata::{Attributes, Identity, Kind, Metric, Metrics, Number, Origin, Point, PointFlags, SeriesTable, UnixNanos};

use crate::batch::Batch;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::collection::CollectionDesk;
use crate::component::{Collects, Processor};
use crate::context::BuildContext;
use crate::health::Health;
use crate::inbox::{Inbox, InboxLimits};
use crate::meter::Meters;
use crate::net::Listeners;
use crate::outlet::{Outlet, OutletCounts};

/// A batch of `n` gauge points of one series, from a table of its own.
#[must_use]
pub fn batch_of(n: usize) -> Batch {
    let table = SeriesTable::with_defaults();
    let mut metrics = Metrics::new(table.pin());
    let series = table.intern(identity("m", Kind::Gauge, &[]));
    for value in 0..n {
        push(&mut metrics, &series, Number::Int(value as i64), 1);
    }
    Batch::new(metrics, UnixNanos(1))
}

/// An identity with an empty resource and scope.
#[must_use]
pub fn identity(name: &str, kind: Kind, attributes: &[(&str, &str)]) -> Identity {
    Identity {
        origin: Arc::new(Origin::default()),
        metric: Arc::new(Metric::new(name, kind)),
        attributes: Attributes::from_pairs(attributes.iter().copied()),
    }
}

/// Adds a point of `series` with this value and time (nanoseconds).
pub fn push(metrics: &mut Metrics, series: &pdata::Series, value: Number, time: u64) {
    let id = metrics.adopt(series);
    metrics.points.push(Point {
        series: id,
        start: UnixNanos::UNSET,
        time: UnixNanos(time),
        value: value.into(),
        flags: PointFlags::empty(),
    });
}

/// Surroundings for building a component in a test: a fresh table, meters that can be read, an ample budget.
///
/// # Panics
/// When `id` is not a component id.
#[must_use]
pub fn context(id: &str) -> BuildContext {
    BuildContext {
        id: id.parse::<ComponentId>().expect("a test names a valid component"),
        clock: Clock::system(),
        table: SeriesTable::with_defaults(),
        meters: Meters::unread(),
        budget: Budget::new(1 << 30),
        health: Health::default(),
        listeners: Arc::new(Listeners::default()),
        state: None,
        desk: Some(CollectionDesk::pair(id, Collects::Interval).0),
        upstream: Vec::new(),
        once: false,
    }
}

/// An outlet whose batches the test reads.
#[must_use]
pub fn probe() -> (Outlet, Inbox) {
    let (port, inbox) = Inbox::new(InboxLimits { batches: 1024, bytes: 1 << 30, items: usize::MAX });
    (Outlet::new(vec![port], OutletCounts::default()), inbox)
}

/// What a processor makes of one batch.
pub fn process(processor: &mut dyn Processor, batch: Batch) -> Vec<Batch> {
    let mut made = Vec::new();
    processor.process(batch, &mut |batch| made.push(batch));
    made
}

/// The points of a batch as text, one line each, `name{k="v"} value` or `… end`: for readable assertions.
#[must_use]
pub fn lines(batch: &Batch) -> Vec<String> {
    let Some(metrics) = batch.metrics() else { return Vec::new() };
    metrics.points.iter().map(|point| line(metrics, point)).collect()
}

fn line(metrics: &Metrics, point: &Point) -> String {
    let series = metrics.series(point.series);
    let labels: Vec<_> =
        series.attributes().iter().map(|(key, value)| format!("{key}={:?}", value.to_string())).collect();
    let value = if point.is_end() { "end".to_owned() } else { format!("{:?}", point.value) };
    format!("{}{{{}}} {value}", series.metric().name, labels.join(","))
}

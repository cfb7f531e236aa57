//! The table and its text, and the endpoint in front of it.

mod collections;
mod endpoint;
mod formats;
mod parser;
mod properties;
mod rules;
mod sections;

use std::sync::Arc;

use pdata::prom::Escaping;
use pdata::{
    Attributes, Identity, Kind, Metric, Metrics, Number, Origin, Point, PointFlags, PointValue, Seed, SeriesTable,
    Temporality, UnixNanos,
};
use pipeline::{Batch, Collection, Meters, Page as ReadPage, SourceId};

use super::kind::Format;
use super::stream::{Shared, View};
use super::table::{Table, TableRules};

/// An exporter's table with a series table to feed it from.
struct Bench {
    series: Arc<SeriesTable>,
    shared: Shared,
    meters: Meters,
    now: u32,
}

/// A batch in the making.
struct Feed<'a> {
    bench: &'a Bench,
    metrics: Metrics,
}

const SUM_DELTA: Kind = Kind::Sum { monotonic: true, temporality: Temporality::Delta };
const HISTOGRAM: Kind = Kind::Histogram { temporality: Temporality::Cumulative };

fn bench() -> Bench {
    Bench::with(TableRules::default())
}

impl Bench {
    fn with(rules: TableRules) -> Self {
        let meters = Meters::unread();
        let shared = Shared::new(Table::new(rules, &meters, "prometheus"));
        let series = SeriesTable::new(Seed::from_bytes([5; 16]), pdata::Limits::default());
        Self { series, shared, meters, now: 0 }
    }

    fn feed(&self) -> Feed<'_> {
        Feed { bench: self, metrics: Metrics::new(self.series.pin()) }
    }

    fn view(&self, format: Format, escaping: Escaping) -> String {
        let mut stream = self.shared.stream(View { format, escaping, timestamps: false });
        let mut out = Vec::new();
        while stream.fill(&mut out, usize::MAX) {}
        String::from_utf8(out).unwrap()
    }

    fn text(&self) -> String {
        self.view(Format::Text, Escaping::Underscores)
    }

    fn open(&self) -> String {
        self.view(Format::OpenMetrics, Escaping::Underscores)
    }

    /// The sample lines of the text format.
    fn samples(&self) -> Vec<String> {
        self.text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn dropped(&self, reason: &str) -> u64 {
        let counts = self.meters.counts();
        let mut of_reason = counts.iter().filter(|(_, labels, _)| labels.iter().any(|(_, value)| value == reason));
        of_reason.next().map_or(0, |(_, _, value)| *value)
    }
}

impl Feed<'_> {
    fn point(mut self, identity: Identity, value: impl Into<PointValue>, time: u64, flags: PointFlags) -> Self {
        let id = self.metrics.adopt(&self.bench.series.intern(identity));
        let (start, time) = (UnixNanos::UNSET, UnixNanos(time));
        self.metrics.points.push(Point { series: id, start, time, value: value.into(), flags });
        self
    }

    fn put(self, metric: impl Into<Metric>, labels: &[(&str, &str)], value: impl Into<PointValue>) -> Self {
        self.point(identity(metric.into(), labels), value, 0, PointFlags::empty())
    }

    fn gauge(self, name: &str, labels: &[(&str, &str)], value: i64) -> Self {
        self.put(Metric::new(name, Kind::Gauge), labels, Number::Int(value))
    }

    fn end(self, name: &str, labels: &[(&str, &str)]) -> Self {
        let metric = Metric::new(name, Kind::Gauge);
        self.point(identity(metric, labels), Number::Int(0), 0, PointFlags::NO_RECORDED_VALUE)
    }

    fn batch(self) -> Batch {
        Batch::new(self.metrics, UnixNanos(1))
    }

    fn apply(self) {
        let (shared, now) = (self.bench.shared.clone(), self.bench.now);
        let batch = self.batch();
        shared.with(|table| table.apply(&batch, now));
    }

    fn apply_as(self, sequence: u64, page: ReadPage) {
        let (shared, now) = (self.bench.shared.clone(), self.bench.now);
        let batch = self.batch().with_collection(Collection { source: SourceId("sql#0".into()), sequence, page });
        shared.with(|table| table.apply(&batch, now));
    }
}

fn identity(metric: Metric, labels: &[(&str, &str)]) -> Identity {
    Identity {
        origin: Arc::new(Origin::default()),
        metric: Arc::new(metric),
        attributes: Attributes::from_pairs(labels.iter().copied()),
    }
}

fn metric(name: &str, kind: Kind, unit: &str, description: &str) -> Metric {
    Metric { unit: unit.into(), description: description.into(), ..Metric::new(name, kind) }
}

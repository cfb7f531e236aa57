//! `weir_sql_up` and its companions: how each query fares, told where its data is.
//!
//! They are a source of their own, so that they are shown when the reading fails, and by the very scrape that asked for it.

use std::sync::Arc;

use pdata::{Attributes, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, Series, UnixNanos};
use pipeline::collection::Collected;
use pipeline::{Batch, Collection, Page, Signals, SourceId};

use super::health::Last;
use super::query::QueryAtWork;
use super::schedule::Around;

/// The vitals of some queries of one receiver.
pub(crate) struct Vitals {
    source: SourceId,
    sequence: u64,
    /// Per query, in the order of [`METRICS`].
    series: Vec<[Series; METRICS.len()]>,
    around: Arc<Around>,
}

/// Name, unit, description and kind.
const METRICS: [(&str, &str, &str, Kind); 5] = [
    ("weir_sql_up", "", "Whether the last read of the query succeeded.", Kind::Gauge),
    ("weir_sql_duration_seconds", "s", "How long the last read of the query took.", Kind::Gauge),
    ("weir_sql_rows", "", "Rows of the last successful read of the query.", Kind::Gauge),
    (
        "weir_sql_last_success_timestamp_seconds",
        "s",
        "When the last successful read of the query began, in seconds since 1970.",
        Kind::Gauge,
    ),
    ("weir_sql_skipped_ticks_total", "", "Ticks that passed while a read of the query was running.", Kind::COUNTER),
];

impl Vitals {
    /// The vitals of these queries, as a source with this name.
    pub(crate) fn new<'a>(source: String, queries: impl Iterator<Item = &'a QueryAtWork>, around: Arc<Around>) -> Self {
        let metrics = METRICS.map(|(name, unit, description, kind)| {
            let metric = Metric::new(name, kind);
            Arc::new(Metric { unit: unit.into(), description: description.into(), ..metric })
        });
        let of = |query: &QueryAtWork| {
            let resource = &query.plan.metrics.resource;
            let resource = Attributes::from_pairs(resource.iter().map(|(key, value)| (&**key, &**value)));
            let origin = Arc::new(Origin { resource, ..Origin::default() });
            let pairs = [("receiver", &*around.receiver), ("query", &query.plan.label)];
            let target = query.around.target.as_deref().map(|target| ("target", target));
            let attributes = Attributes::from_pairs(pairs.into_iter().chain(target));
            metrics.clone().map(|metric| {
                around.table.intern(Identity { origin: origin.clone(), metric, attributes: attributes.clone() })
            })
        };
        let series = queries.map(of).collect();
        Self { source: SourceId(source.into()), sequence: around.first_sequence(), series, around }
    }

    /// Sends how these queries, which are those it was made for, fare now. Nothing when nobody takes metrics.
    pub(crate) async fn send(&mut self, queries: Vec<Last>) -> Option<Collected> {
        if !self.around.outlet.ports().iter().any(|port| port.takes(Signals::METRICS)) {
            return None;
        }
        let now = self.around.clock.wall();
        self.sequence += 1;
        let mut metrics = Metrics::with_capacity(self.around.table.pin(), self.series.len() * METRICS.len());
        for (series, last) in self.series.iter().zip(&queries) {
            for (series, value) in series.iter().zip(values(last)) {
                let Some(value) = value else { continue };
                let series = metrics.adopt(series);
                let (start, flags) = (UnixNanos::UNSET, PointFlags::HELD);
                metrics.points.push(Point { series, start, time: now, value, flags });
            }
        }
        let collection = Collection { source: self.source.clone(), sequence: self.sequence, page: Page::Last };
        self.around.outlet.send(Batch::new(metrics, now).with_collection(collection)).await;
        Some((self.source.clone(), self.sequence))
    }
}

fn values(last: &Last) -> [Option<PointValue>; METRICS.len()] {
    [
        Some(PointValue::Int(i64::from(last.up))),
        Some(PointValue::Double(last.took.as_secs_f64())),
        Some(PointValue::Int(i64::try_from(last.rows).unwrap_or(i64::MAX))),
        last.success.is_set().then(|| PointValue::Double(last.success.as_seconds())),
        Some(PointValue::Int(i64::try_from(last.skipped).unwrap_or(i64::MAX))),
    ]
}

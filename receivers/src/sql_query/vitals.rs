//! `weir_sql_up` and its companions: how each query fares, told where its data is.
//!
//! They are a source of their own, so that they are shown when the reading fails, and by the very scrape that asked for it.

use std::sync::Arc;

use pdata::{Attributes, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, Series, UnixNanos};
use pipeline::collection::Collected;
use pipeline::{Batch, Collection, Page, Signals, SourceId};

use super::health::{Last, Part};
use super::query::QueryAtWork;
use super::schedule::Around;

/// The vitals of some queries of one receiver.
pub(crate) struct Vitals {
    source: SourceId,
    sequence: u64,
    /// Per query, in the order of [`METRICS`].
    series: Vec<[Series; METRICS.len()]>,
    /// Which of them have a value at the endpoint.
    told: Vec<[bool; METRICS.len()]>,
    around: Arc<Around>,
}

/// Name, unit, description and kind.
const METRICS: [(&str, &str, &str, Kind); 6] = [
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
    ("weir_sql_leader", "", "Whether this agent is the one that reads the query (singleton).", Kind::Gauge),
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
        let series: Vec<_> = queries.map(of).collect();
        let told = vec![[false; METRICS.len()]; series.len()];
        Self { source: SourceId(source.into()), sequence: around.first_sequence(), series, told, around }
    }

    /// Sends how these queries, which are those it was made for, fare now. Nothing when nobody takes metrics.
    pub(crate) async fn send(&mut self, queries: Vec<Last>) -> Option<Collected> {
        if !self.around.outlet.ports().iter().any(|port| port.takes(Signals::METRICS)) {
            return None;
        }
        let now = self.around.clock.wall();
        self.sequence += 1;
        let mut metrics = Metrics::with_capacity(self.around.table.pin(), self.series.len() * METRICS.len());
        for ((series, told), last) in self.series.iter().zip(&mut self.told).zip(&queries) {
            for ((series, told), value) in series.iter().zip(told).zip(values(last)) {
                let ended = std::mem::replace(told, value.is_some()) && value.is_none();
                let (value, flags) = match value {
                    Some(value) => (value, PointFlags::HELD),
                    None if ended => (PointValue::Int(0), PointFlags::NO_RECORDED_VALUE),
                    None => continue,
                };
                let series = metrics.adopt(series);
                let start = UnixNanos::UNSET;
                metrics.points.push(Point { series, start, time: now, value, flags });
            }
        }
        let collection = Collection { source: self.source.clone(), sequence: self.sequence, page: Page::Last };
        self.around.outlet.send(Batch::new(metrics, now).with_collection(collection)).await;
        Some((self.source.clone(), self.sequence))
    }
}

fn values(last: &Last) -> [Option<PointValue>; METRICS.len()] {
    // Who stands by has nothing to say of reads: it is neither up nor down.
    let reads = |value: PointValue| (last.part != Part::StandsBy).then_some(value);
    [
        reads(PointValue::Int(i64::from(last.up))),
        reads(PointValue::Double(last.took.as_secs_f64())),
        reads(PointValue::Int(i64::try_from(last.rows).unwrap_or(i64::MAX))),
        reads(PointValue::Double(last.success.as_seconds())).filter(|_| last.success.is_set()),
        reads(PointValue::Int(i64::try_from(last.skipped).unwrap_or(i64::MAX))),
        (last.part != Part::Alone).then(|| PointValue::Int(i64::from(last.part == Part::Leads))),
    ]
}

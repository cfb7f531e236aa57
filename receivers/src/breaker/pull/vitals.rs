//! `weir_breaker_up` and its companions: how each target fares, told where its data is.

use std::sync::Arc;
use std::time::Duration;

use pdata::{Attributes, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, Series, UnixNanos};
use pipeline::SourceId;
use pipeline::collection::Collected;
use tokio::time::Instant;

use crate::events::{Sender, Ways};

/// The vitals of one target: a source of their own, so that they are shown when asking fails.
#[derive(Debug)]
pub(super) struct Vitals {
    sender: Sender,
    series: [Series; METRICS.len()],
}

/// What the last poll came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    pub(super) up: bool,
    pub(super) took: Duration,
    /// Circuits of the last successful poll.
    pub(super) circuits: usize,
    /// When that was; unset before the first.
    pub(super) success: UnixNanos,
}

/// Name, unit and description.
const METRICS: [(&str, &str, &str); 4] = [
    ("weir_breaker_up", "", "Whether the last poll of the target succeeded."),
    ("weir_breaker_duration_seconds", "s", "How long the last poll of the target took."),
    ("weir_breaker_circuits", "", "Circuits of the last successful poll of the target."),
    (
        "weir_breaker_last_success_timestamp_seconds",
        "s",
        "When the last successful poll of the target began, in seconds since 1970.",
    ),
];

impl Vitals {
    pub(super) fn new(receiver: &str, target: &str, attributes: &[(String, String)], ways: &Ways) -> Self {
        let own = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = Attributes::from_pairs(own.chain([("receiver", receiver), ("target", target)]));
        let origin: Arc<Origin> = Arc::default();
        let series = METRICS.map(|(name, unit, description)| {
            let metric =
                Metric { unit: unit.into(), description: description.into(), ..Metric::new(name, Kind::Gauge) };
            let metric = Arc::new(metric);
            ways.table.intern(Identity { origin: origin.clone(), metric, attributes: attributes.clone() })
        });
        Self { sender: Sender::new(SourceId(format!("{receiver}@{target}#up").into()), ways.clone()), series }
    }

    /// Sends how the target fares now.
    pub(super) async fn send(&mut self, last: &Last, deadline: Instant) -> Option<Collected> {
        let ways = self.sender.ways.clone();
        let mut metrics = Metrics::with_capacity(ways.table.pin(), METRICS.len());
        let values = [
            Some(PointValue::Int(i64::from(last.up))),
            Some(PointValue::Double(last.took.as_secs_f64())),
            Some(PointValue::Int(i64::try_from(last.circuits).unwrap_or(i64::MAX))),
            last.success.is_set().then(|| PointValue::Double(last.success.as_seconds())),
        ];
        for (series, value) in self.series.iter().zip(values) {
            let Some(value) = value else { continue };
            let series = metrics.adopt(series);
            let (start, time, flags) = (UnixNanos::UNSET, ways.clock.wall(), PointFlags::HELD);
            metrics.points.push(Point { series, start, time, value, flags });
        }
        self.sender.send(std::iter::once(metrics), deadline).await.ok()?;
        Some(self.sender.last())
    }
}

//! Counters that live in memory and stand beside those of the ledger: what anybody may cause must not cost a write.

use std::sync::Arc;

use pdata::{Metrics, Number, Point, PointFlags, Series, SeriesTable, UnixNanos};
use pipeline::Count;

/// Cumulative counters since the start of the receiver.
#[derive(Debug)]
pub(crate) struct Live {
    started: UnixNanos,
    series: Vec<(Series, Count)>,
}

impl Live {
    /// Counters that began at `started`.
    #[cfg_attr(not(feature = "webhook"), expect(dead_code, reason = "the receiver webhook makes them"))]
    pub(crate) fn new(started: UnixNanos, series: Vec<(Series, Count)>) -> Self {
        Self { started, series }
    }

    /// Grows with each of them: whether anything has changed.
    pub(super) fn total(&self) -> u64 {
        self.series.iter().map(|(_, count)| count.value()).fold(0, u64::wrapping_add)
    }

    /// All of them as points of time `now`.
    pub(super) fn page(&self, table: &Arc<SeriesTable>, now: UnixNanos) -> Metrics {
        let mut metrics = Metrics::new(table.pin());
        for (series, count) in &self.series {
            let value = Number::Int(i64::try_from(count.value()).unwrap_or(i64::MAX)).into();
            let (series, time) = (metrics.adopt(series), now.max(self.started));
            metrics.points.push(Point { series, start: self.started, time, value, flags: PointFlags::HELD });
        }
        metrics
    }
}

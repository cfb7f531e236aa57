//! What a source counts of its requests. Labels come from the configuration and from [`Reason`], never from requests.

use std::sync::Arc;
use std::time::Duration;

use pdata::{Attributes, Identity, Kind, Metric, Origin, SeriesTable, UnixNanos};
use pipeline::{Count, Meters};

use super::reason::Reason;
use crate::events::Live;

/// The counts of one source.
#[derive(Debug)]
pub(super) struct SourceCounts {
    pub(super) requests: Count,
    pub(super) accepted: Count,
    pub(super) duplicates: Count,
    answer_us: Count,
    refused: [Count; Reason::ALL.len()],
}

impl SourceCounts {
    pub(super) fn new(meters: &Meters, receiver: &str, source: &str) -> Self {
        let labels = |more: Option<(&'static str, &str)>| {
            let of = [("receiver", receiver), ("source", source)].into_iter().chain(more);
            of.map(|(key, value)| (key, value.to_owned())).collect::<Vec<_>>()
        };
        let events = |outcome| {
            let about = "Events that were taken, by whether they were new.";
            meters.count("weir_webhook_events", about, "{events}", labels(Some(("outcome", outcome))))
        };
        Self {
            requests: meters.count("weir_webhook_requests", "Requests to a source's path.", "{requests}", labels(None)),
            accepted: events("accepted"),
            duplicates: events("duplicate"),
            answer_us: meters.count(
                "weir_webhook_answer_time",
                "Time from the request's head to its answer, added up over all requests.",
                "us",
                labels(None),
            ),
            refused: Reason::ALL.map(|reason| {
                let about =
                    "Requests that were refused, and events of authentic requests that were not counted, by reason.";
                meters.count("weir_webhook_refused", about, "{refused}", labels(Some(("reason", reason.word()))))
            }),
        }
    }

    pub(super) fn refused(&self, reason: Reason, count: usize) {
        self.refused[reason as usize].add(count as u64);
    }

    pub(super) fn answered(&self, after: Duration) {
        self.answer_us.add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }
}

/// What was refused, as series beside those of the ledger.
pub(super) fn live<'a>(
    name: &str,
    origin: &Arc<Origin>,
    sources: impl Iterator<Item = (&'a str, &'a SourceCounts)>,
    table: &SeriesTable,
    now: UnixNanos,
) -> Live {
    let description = "Requests that were refused, and events of authentic requests that were not counted, by reason";
    let metric = Arc::new(Metric { description: description.into(), ..Metric::new(name, Kind::COUNTER) });
    let mut series = Vec::new();
    for (source, counts) in sources {
        for (reason, count) in Reason::ALL.into_iter().zip(&counts.refused) {
            let attributes = Attributes::from_pairs([("source", source), ("reason", reason.word())]);
            let identity = Identity { origin: origin.clone(), metric: metric.clone(), attributes };
            series.push((table.intern(identity), count.clone()));
        }
    }
    Live::new(now, series)
}

//! What delivery counts, besides what every exporter counts.

use std::sync::Arc;

use pipeline::{Count, Level, Meters};

use super::Reason;
use super::throttle::Told;

/// Counters and levels of one exporter's delivery.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Tries on their way.
    pub(crate) in_flight: Level,
    /// Points or records that the destination said it will never take, while it took the rest.
    pub(crate) rejected: Count,
    /// Batches that wait because we may not enter.
    pub(crate) held: Level,
    /// How often we were not let in.
    pub(crate) refused_entry: Count,
    /// Batches given up because `max_elapsed_time` was over.
    pub(crate) exhausted: Count,
    retries: [Count; Reason::ALL.len()],
    /// What was logged lately.
    pub(crate) told: Arc<Told>,
}

impl Counts {
    /// Those of the exporter with this id.
    pub(crate) fn new(meters: &Meters, exporter: &str) -> Self {
        let labels = || vec![("exporter", exporter.to_owned())];
        let retries = "weir_exporter_retries";
        let about = "Tries that failed and are made again.";
        Self {
            in_flight: meters.level(
                "otelcol_exporter_in_flight_requests",
                "Requests on their way.",
                "{requests}",
                labels(),
            ),
            rejected: meters.count(
                "weir_exporter_rejected_items",
                "Points and records that the destination rejected while it took the rest of their batch.",
                "{items}",
                labels(),
            ),
            held: meters.level(
                "weir_exporter_auth_held_batches",
                "Batches that are held because the destination refuses our credentials. Above 0 somebody has to act.",
                "{batches}",
                labels(),
            ),
            refused_entry: meters.count(
                "weir_exporter_auth_refused",
                "Tries that the destination refused for our credentials.",
                "{requests}",
                labels(),
            ),
            exhausted: meters.count(
                "weir_exporter_retries_exhausted",
                "Batches that were given up because max_elapsed_time was over.",
                "{batches}",
                labels(),
            ),
            retries: Reason::ALL.map(|reason| {
                let labels = vec![("exporter", exporter.to_owned()), ("reason", reason.word().to_owned())];
                meters.count(retries, about, "{requests}", labels)
            }),
            told: Arc::default(),
        }
    }

    /// Retries for this reason.
    pub(crate) fn retries(&self, reason: Reason) -> &Count {
        &self.retries[reason as usize]
    }
}

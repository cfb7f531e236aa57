//! Drives an exporter: takes batches from its inbox, hands them over, settles their receipts.

use std::sync::Arc;

use crate::batch::{Batch, Payload};
use crate::component::Exporter;
use crate::fault::Refusal;
use crate::inbox::Inbox;
use crate::meter::{Count, Meters};
use crate::receipt::Verdict;

/// Counters of one exporter, under the Collector's names.
#[derive(Clone, Debug)]
pub struct ExportCounts {
    sent_points: Count,
    sent_records: Count,
    failed_points: Count,
    failed_records: Count,
}

impl ExportCounts {
    /// The counters of the exporter with this id.
    #[must_use]
    pub fn new(meters: &Meters, exporter: &str) -> Self {
        let count = |name, about, unit| meters.count(name, about, unit, vec![("exporter", exporter.to_owned())]);
        Self {
            sent_points: count("otelcol_exporter_sent_metric_points", "Metric points handed over.", "{datapoints}"),
            sent_records: count("otelcol_exporter_sent_log_records", "Log records handed over.", "{records}"),
            failed_points: count(
                "otelcol_exporter_send_failed_metric_points",
                "Metric points refused.",
                "{datapoints}",
            ),
            failed_records: count("otelcol_exporter_send_failed_log_records", "Log records refused.", "{records}"),
        }
    }

    fn count(&self, batch: &Batch, sent: bool) {
        let count = match (&batch.payload, sent) {
            (Payload::Metrics(_), true) => &self.sent_points,
            (Payload::Metrics(_), false) => &self.failed_points,
            (Payload::Logs(_), true) => &self.sent_records,
            (Payload::Logs(_), false) => &self.failed_records,
        };
        count.add(batch.items() as u64);
    }
}

/// Hands batches over one after another until the inbox ends.
pub async fn drive(exporter: Arc<dyn Exporter>, mut inbox: Inbox, counts: ExportCounts) {
    while let Some(batch) = inbox.next().await {
        let verdict = match exporter.export(&batch).await {
            Ok(()) => Verdict::Delivered,
            Err(Refusal::Retry { .. }) => Verdict::Lost,
            Err(Refusal::Reject { .. }) => Verdict::Rejected,
        };
        counts.count(&batch, verdict == Verdict::Delivered);
        batch.settle(verdict);
    }
}

//! Drives an exporter: takes batches from its inbox, hands them over, settles their receipts.

use std::sync::Arc;

use config::Signal;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::batch::Batch;
use crate::component::Exporter;
use crate::fault::Refusal;
use crate::inbox::{Inbox, InboxLimits, PortPolicy};
use crate::meter::{Count, Meters};
use crate::receipt::Verdict;
use crate::waiting::{Folds, Waiting};

/// How an exporter wants to be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// Bounds of its inbox.
    pub limits: InboxLimits,
    /// What its ports do when the inbox is full.
    pub policy: PortPolicy,
    /// How many batches may be handed over at the same time; at least one. Default 1.
    pub concurrency: usize,
    /// Whether `Ok` only means that the exporter keeps the batch, durably: then it counts itself what becomes of it, and a batch that it
    /// does not keep has found the queue full. Default false.
    pub keeps: bool,
    /// Whether points of cumulative series that wait are left out when a newer one supersedes them. Default false.
    pub folds: bool,
}

/// Counters of one exporter, under the Collector's names.
#[derive(Clone, Debug)]
pub struct ExportCounts {
    points: Ends,
    records: Ends,
    spans: Ends,
    withdrawn: Count,
    folded: Folds,
}

/// How the items of one signal ended.
#[derive(Clone, Debug)]
struct Ends {
    sent: Count,
    failed: Count,
    /// Not even queued.
    unqueued: Count,
}

impl Default for Intake {
    fn default() -> Self {
        Self { limits: InboxLimits::default(), policy: PortPolicy::Block, concurrency: 1, keeps: false, folds: false }
    }
}

impl ExportCounts {
    /// The counters of the exporter with this id.
    #[must_use]
    pub fn new(meters: &Meters, exporter: &str) -> Self {
        let count = |name, about, unit| meters.count(name, about, unit, vec![("exporter", exporter.to_owned())]);
        Self {
            points: Ends {
                sent: count("otelcol_exporter_sent_metric_points", "Metric points handed over.", "{datapoints}"),
                failed: count("otelcol_exporter_send_failed_metric_points", "Metric points refused.", "{datapoints}"),
                unqueued: enqueue_failed(meters, exporter, Signal::Metrics),
            },
            records: Ends {
                sent: count("otelcol_exporter_sent_log_records", "Log records handed over.", "{records}"),
                failed: count("otelcol_exporter_send_failed_log_records", "Log records refused.", "{records}"),
                unqueued: enqueue_failed(meters, exporter, Signal::Logs),
            },
            spans: Ends {
                sent: count("otelcol_exporter_sent_spans", "Spans handed over.", "{spans}"),
                failed: count("otelcol_exporter_send_failed_spans", "Spans refused.", "{spans}"),
                unqueued: enqueue_failed(meters, exporter, Signal::Traces),
            },
            withdrawn: count(
                "weir_exporter_withdrawn_items",
                "Points, records and spans that their sender was told to send again while they waited in the queue.",
                "{items}",
            ),
            folded: Folds::default(),
        }
    }

    /// With the counters of an exporter that folds what waits.
    #[must_use]
    pub fn with_folding(self, meters: &Meters, exporter: &str) -> Self {
        Self { folded: Folds::new(meters, exporter), ..self }
    }

    /// Counts items that were handed over, of which `failed` were refused.
    pub fn count(&self, signal: Signal, items: u64, failed: u64) {
        let ends = self.ends(signal);
        let failed = failed.min(items);
        ends.sent.add(items - failed);
        ends.failed.add(failed);
    }

    fn ends(&self, signal: Signal) -> &Ends {
        match signal {
            Signal::Metrics => &self.points,
            Signal::Logs => &self.records,
            Signal::Traces => &self.spans,
        }
    }
}

/// The count of what an exporter's queue did not take in.
#[must_use]
pub fn enqueue_failed(meters: &Meters, exporter: &str, signal: Signal) -> Count {
    let labels = vec![("exporter", exporter.to_owned())];
    match signal {
        Signal::Logs => meters.count(
            "otelcol_exporter_enqueue_failed_log_records",
            "Log records that found the queue full.",
            "{records}",
            labels,
        ),
        Signal::Traces => {
            meters.count("otelcol_exporter_enqueue_failed_spans", "Spans that found the queue full.", "{spans}", labels)
        }
        Signal::Metrics => meters.count(
            "otelcol_exporter_enqueue_failed_metric_points",
            "Metric points that found the queue full.",
            "{datapoints}",
            labels,
        ),
    }
}

/// Hands batches over until the inbox ends, as many at once as the exporter's [`Intake`] says, each begun in the order they came.
/// Safe to drop: what is in hand then counts as lost.
pub async fn drive(exporter: Arc<dyn Exporter>, mut inbox: Inbox, counts: ExportCounts) {
    let Intake { concurrency, keeps, folds, .. } = exporter.intake();
    let most = concurrency.max(1);
    let mut waiting = folds.then(|| Waiting::new(counts.folded.clone()));
    let hand = |batch| hand_over(&*exporter, batch, &counts, keeps);
    let mut in_hand = FuturesUnordered::new();
    let mut open = true;
    while open || !in_hand.is_empty() {
        tokio::select! {
            Some(()) = in_hand.next(), if !in_hand.is_empty() => {}
            // What folds looks at all that waits; everybody else leaves it in the inbox.
            next = inbox.queued(), if open && (waiting.is_some() || in_hand.len() < most) => match (next, &mut waiting) {
                (Some(queued), Some(waiting)) => waiting.push(queued),
                (Some(queued), None) => in_hand.extend(wanted(queued.into_batch(), &counts).map(hand)),
                (None, _) => open = false,
            },
        }
        while in_hand.len() < most
            && let Some(batch) = waiting.as_mut().and_then(Waiting::pop)
        {
            in_hand.extend(wanted(batch, &counts).map(hand));
        }
    }
}

/// A batch, unless it was withdrawn.
fn wanted(batch: Batch, counts: &ExportCounts) -> Option<Batch> {
    if !batch.withdrawal().is_withdrawn() {
        return Some(batch);
    }
    counts.withdrawn.add(batch.items() as u64);
    batch.settle(Verdict::Lost);
    None
}

async fn hand_over(exporter: &dyn Exporter, batch: Batch, counts: &ExportCounts, keeps: bool) {
    let (signal, items) = (batch.payload.signal(), batch.items() as u64);
    let (verdict, failed) = match exporter.export(&batch).await {
        Ok(()) => (Verdict::Delivered, 0),
        // Whoever made the batch must neither send it again nor take it for refused: most of it is where it was to go.
        Err(Refusal::Partial { rejected, .. }) => (Verdict::Delivered, rejected),
        Err(Refusal::Retry { .. }) => (Verdict::Lost, u64::MAX),
        Err(Refusal::Reject { .. }) => (Verdict::Rejected, u64::MAX),
    };
    match failed {
        0 if keeps => {}
        _ if keeps => counts.ends(signal).unqueued.add(items),
        _ => counts.count(signal, items, failed),
    }
    batch.settle(verdict);
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::BoxFuture;
    use crate::receipt::Receipt;
    use crate::testing::batch_of;

    /// Takes three at once; answers when the test gives it a permit.
    struct Slow {
        begun: Semaphore,
        answers: Semaphore,
    }

    impl Exporter for Slow {
        fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
            Box::pin(async move {
                self.begun.add_permits(1);
                self.answers.acquire().await.unwrap().forget();
                match batch.items() {
                    10 => Err(Refusal::Partial { rejected: 4, why: "too old".into() }),
                    _ => Ok(()),
                }
            })
        }

        fn intake(&self) -> Intake {
            Intake { concurrency: 3, ..Intake::default() }
        }
    }

    #[tokio::test]
    async fn what_is_withdrawn_while_it_waits_is_not_handed_over() {
        let slow = Arc::new(Slow { begun: Semaphore::new(0), answers: Semaphore::new(9) });
        let (port, inbox) = Inbox::new(InboxLimits::default());
        let (receipt, waiter) = Receipt::pair();
        port.send(batch_of(7).with_receipt(receipt)).await;
        port.send(batch_of(1)).await;
        drop(port);
        waiter.withdraw();
        let meters = Meters::unread();
        drive(slow.clone(), inbox, ExportCounts::new(&meters, "slow")).await;
        assert_eq!(slow.begun.available_permits(), 1);
        let counts: Vec<_> = meters.counts().into_iter().map(|(name, _, value)| (name, value)).collect();
        assert!(counts.contains(&("weir_exporter_withdrawn_items", 7)), "{counts:?}");
        assert_eq!(waiter.verdict().await, Verdict::Lost);
    }

    #[tokio::test]
    async fn as_many_batches_are_in_hand_as_the_exporter_wants() {
        let slow = Arc::new(Slow { begun: Semaphore::new(0), answers: Semaphore::new(0) });
        let (port, inbox) = Inbox::new(InboxLimits::default());
        let meters = Meters::unread();
        let driving = tokio::spawn(drive(slow.clone(), inbox, ExportCounts::new(&meters, "slow")));
        for _ in 0..5 {
            port.send(batch_of(1)).await;
        }
        let (receipt, waiter) = Receipt::pair();
        port.send(batch_of(10).with_receipt(receipt)).await;
        slow.begun.acquire_many(3).await.unwrap().forget();
        tokio::task::yield_now().await;
        assert_eq!(slow.begun.available_permits(), 0, "a fourth waits");
        drop(port);
        slow.answers.add_permits(6);
        driving.await.unwrap();
        assert_eq!(waiter.verdict().await, Verdict::Delivered, "taken in part is not to be sent again");
        let counts: Vec<_> = meters.counts().into_iter().map(|(name, _, value)| (name, value)).collect();
        assert!(counts.contains(&("otelcol_exporter_sent_metric_points", 11)), "{counts:?}");
        assert!(counts.contains(&("otelcol_exporter_send_failed_metric_points", 4)), "{counts:?}");
    }
}

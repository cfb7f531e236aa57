//! What stands before a scrape: receivers that are read on demand, and those that have not read once since the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use pipeline::collection::{CollectionPort, Unmet};
use pipeline::{Collects, Count, Meters, SourceId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::stream::Shared;

/// The receivers that feed the exporter.
pub(super) struct Upstream {
    ports: Vec<CollectionPort>,
    unmet: Vec<[Count; UNMET.len()]>,
    /// Told after every page of a collection that was applied.
    applied: watch::Sender<()>,
    /// When waiting for first rounds is over at the latest.
    grace_ends: Instant,
    ready: AtomicBool,
}

/// Why data of a receiver may be old in a scrape.
const UNMET: [&str; 4] = ["late", "crowded", "gone", "not_applied"];
const NOT_APPLIED: usize = 3;

/// A scrape's own deadline when it does not tell one: Prometheus' default time-out.
const DEADLINE: Duration = Duration::from_secs(10);

/// Kept of a scrape's time for rendering and the way: a twentieth, within these bounds.
const MARGIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

impl Upstream {
    pub(super) fn new(ports: Vec<CollectionPort>, meters: &Meters, exporter: &str, grace_ends: Instant) -> Self {
        let count = |receiver: &str, reason: &str| {
            meters.count(
                "weir_prometheus_unmet_demands",
                "Reads that a scrape asked a receiver for and did not get in time.",
                "{demands}",
                vec![
                    ("exporter", exporter.to_owned()),
                    ("receiver", receiver.to_owned()),
                    ("reason", reason.to_owned()),
                ],
            )
        };
        let unmet = ports.iter().map(|port| UNMET.map(|reason| count(&port.receiver, reason))).collect();
        Self { ports, unmet, applied: watch::Sender::new(()), grace_ends, ready: AtomicBool::new(false) }
    }

    /// A page of a collection has been applied, or a collection has failed.
    pub(super) fn tell_applied(&self) {
        self.applied.send_replace(());
    }

    /// Whether all receivers that read by their own clock have done so once, or the grace is over.
    pub(super) fn is_ready(&self, shared: &Shared, now: Instant) -> bool {
        if self.ready.load(Ordering::Relaxed) {
            return true;
        }
        let intervals = || self.ports.iter().filter(|port| port.collects == Collects::Interval);
        let ready = now >= self.grace_ends
            || intervals().all(|port| {
                port.first_round().is_some_and(|round| {
                    shared.with(|table| round.iter().all(|(source, sequence)| table.is_done(source, *sequence)))
                })
            });
        if ready {
            self.ready.store(true, Ordering::Relaxed);
        }
        ready
    }

    /// Has all receivers read that are read on demand, all at once, and waits until this exporter has applied what they read. What
    /// does not come before `deadline` is counted and left as it was: only the receiver knows whether a late read has failed, and
    /// its own time-out tells so by its failure policy.
    pub(super) async fn refresh(&self, shared: &Shared, deadline: Instant) {
        // From here on, so that nothing that is applied meanwhile is missed.
        let mut applied = self.applied.subscribe();
        let asked = self.ports.iter().zip(&self.unmet).filter(|(port, _)| port.collects == Collects::OnDemand);
        let reads = join_all(asked.map(|(port, unmet)| async move { (port.collect(deadline).await, unmet) })).await;
        let mut waiting: Vec<(SourceId, u64, &Count)> = Vec::new();
        for (read, unmet) in reads {
            match read {
                Ok(round) => {
                    waiting.extend(round.into_iter().map(|(source, sequence)| (source, sequence, &unmet[NOT_APPLIED])))
                }
                Err(why) => unmet[why as usize].add(1),
            }
        }
        loop {
            shared.with(|table| waiting.retain(|(source, sequence, _)| !table.is_done(source, *sequence)));
            if waiting.is_empty() {
                return;
            }
            match tokio::time::timeout_at(deadline, applied.changed()).await {
                Ok(Ok(())) => {}
                // The sender is ours: only the deadline ends the wait.
                Ok(Err(_)) | Err(_) => {
                    waiting.iter().for_each(|(_, _, unmet)| unmet.add(1));
                    return;
                }
            }
        }
    }
}

/// By when receivers must have been read, for the scrape to be answered in its own time.
pub(super) fn deadline(headers: &HeaderMap, now: Instant) -> Instant {
    let told = headers.get("x-prometheus-scrape-timeout-seconds").and_then(|value| value.to_str().ok()?.parse().ok());
    // Anything else is no time-out that a scraper would have.
    let seconds = told.filter(|seconds: &f64| (0.001..=3600.0).contains(seconds));
    let time = seconds.map_or(DEADLINE, Duration::from_secs_f64);
    let margin = (time / 20).clamp(MARGIN.0, MARGIN.1).min(time / 2);
    now + time - margin
}

const _: () = assert!(Unmet::Late as usize == 0 && Unmet::Crowded as usize == 1 && Unmet::Gone as usize == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scrape_keeps_some_of_its_time_for_the_answer() {
        let now = Instant::now();
        for (told, millis) in [("10", 9_500), ("1", 950), ("0.1", 50), ("x", 9_500), ("-1", 9_500), ("1e9", 9_500)] {
            let mut headers = HeaderMap::new();
            headers.insert("x-prometheus-scrape-timeout-seconds", told.parse().unwrap());
            assert_eq!(deadline(&headers, now) - now, Duration::from_millis(millis), "{told}");
        }
    }
}

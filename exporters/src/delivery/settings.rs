//! What users write about delivery, under the Collector's keys.

use std::time::Duration as Span;

use config::{Duration, Optional, Problems, Section, Unsupported};
use pipeline::inbox::InboxLimits;
use pipeline::{Intake, PortPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

/// The key `retry_on_failure`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetrySettings {
    /// Whether a batch is tried again at all. Default true.
    pub(crate) enabled: bool,
    /// The wait after the first failure. Default 5s.
    pub(crate) initial_interval: Duration,
    /// How far each wait is moved at random, from 0 to 1: 0.5 (default) makes 10s anything from 5s to 15s.
    pub(crate) randomization_factor: f64,
    /// By what each wait is longer than the one before. Default 1.5.
    pub(crate) multiplier: f64,
    /// The longest wait that we choose ourselves; a destination may ask for longer. Default 30s.
    pub(crate) max_interval: Duration,
    /// After how long a batch is given up, counted from its first try. 0 means never. Default 5m. Time in which the destination
    /// refuses our credentials does not count.
    pub(crate) max_elapsed_time: Duration,
}

/// The key `sending_queue`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueSettings {
    /// How much may wait, in units of `sizer`. Default 1000. What is being sent does not count.
    pub(crate) queue_size: usize,
    /// In what the queue is measured. Default requests.
    pub(crate) sizer: Sizer,
    /// Whether senders wait when the queue is full. False (default): the newest batch is refused, counted, and its sender is told.
    pub(crate) block_on_overflow: bool,
    /// How many batches are sent at the same time. Default 10.
    pub(crate) num_consumers: usize,
    /// The Collector's; only false can be written, because here every sender that asks is told how its batch ended.
    pub(crate) wait_for_result: bool,
    #[schemars(skip)]
    storage: Unsupported,
    #[schemars(skip)]
    batch: Unsupported,
}

/// In what a queue is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sizer {
    /// Batches.
    #[default]
    Requests,
    /// Points and records.
    Items,
    /// Bytes that batches keep in memory.
    Bytes,
}

/// The key `circuit_breaker`; weir's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BreakerSettings {
    /// Whether there is one. Default true.
    pub(crate) enabled: bool,
    /// After how many failures in a row it opens. Default 5.
    pub(crate) failure_threshold: u32,
    /// How long it stays open before one batch probes. Default 10s.
    pub(crate) open_duration: Duration,
}

/// All of it, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeliverySettings {
    pub(crate) timeout: Span,
    pub(crate) retry: RetrySettings,
    pub(crate) queue: QueueSettings,
    /// Whether batches wait in a queue at all.
    pub(crate) queued: bool,
    pub(crate) breaker: BreakerSettings,
}

/// Instead of "no time-out": a day outlives any try that still means something, and no wait is without a bound.
const LONGEST_TRY: Span = Span::from_secs(24 * 3600);

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            num_consumers: 10,
            wait_for_result: false,
            storage: Unsupported,
            batch: Unsupported,
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { enabled: true, failure_threshold: 5, open_duration: Duration::from_secs(10) }
    }
}

impl RetrySettings {
    fn problems(&self, section: &Section) -> Problems {
        let mut problems = Problems::new();
        if !self.enabled {
            return problems;
        }
        let mut wrong = |key: &str, what: &str| problems.push(section.error(&format!("retry_on_failure.{key}"), what));
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            wrong("randomization_factor", "'randomization_factor' must be within [0, 1]");
        }
        if !(self.multiplier >= 1.0 && self.multiplier.is_finite()) {
            wrong("multiplier", "'multiplier' must be at least 1: waits do not get shorter");
        }
        if self.initial_interval.is_zero() {
            wrong(
                "initial_interval",
                "'initial_interval' must be positive: a destination that is down is not to be asked without pause",
            );
        }
        if self.max_interval < self.initial_interval {
            wrong("max_interval", "'max_interval' must not be less than 'initial_interval'");
        }
        if !self.max_elapsed_time.is_zero() {
            if self.max_elapsed_time < self.initial_interval {
                wrong("max_elapsed_time", "'max_elapsed_time' must not be less than 'initial_interval'");
            } else if self.max_elapsed_time < self.max_interval {
                wrong("max_elapsed_time", "'max_elapsed_time' must not be less than 'max_interval'");
            }
        }
        problems
    }
}

impl QueueSettings {
    fn problems(&self, section: &Section) -> Problems {
        let mut problems = Unsupported::problems(
            section,
            &[
                ("sending_queue.storage", "without it the queue is kept in memory and lost at a restart"),
                ("sending_queue.batch", "batches leave as they come in; ask for larger ones at the receivers"),
            ],
        );
        let mut wrong = |key: &str, what: &str| problems.push(section.error(&format!("sending_queue.{key}"), what));
        if self.queue_size == 0 {
            wrong("queue_size", "`queue_size` must be positive");
        }
        if self.num_consumers == 0 {
            wrong("num_consumers", "`num_consumers` must be positive");
        }
        if self.num_consumers > CONSUMERS_MAX {
            wrong("num_consumers", "`num_consumers` must be at most 1000");
        }
        if self.wait_for_result {
            wrong(
                "wait_for_result",
                "`wait_for_result` is not supported: every sender that asks is told how its batch ended",
            );
        }
        problems
    }
}

/// More connections than any one destination wants from one agent.
const CONSUMERS_MAX: usize = 1000;

impl DeliverySettings {
    /// Checks what is written. `timeout` of zero means none.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn plan(
        section: &Section,
        timeout: Duration,
        retry: &RetrySettings,
        queue: &Optional<QueueSettings>,
        breaker: &BreakerSettings,
    ) -> Result<Self, Problems> {
        let queued = *queue != Optional::Disabled;
        let queue = queue.as_ref().cloned().unwrap_or_default();
        let mut problems = retry.problems(section);
        problems.extend(queue.problems(section));
        if breaker.enabled && breaker.failure_threshold == 0 {
            let what = "`failure_threshold` must be positive; to have no breaker write `enabled: false`";
            problems.push(section.error("circuit_breaker.failure_threshold", what));
        }
        if breaker.enabled && breaker.open_duration.is_zero() {
            problems.push(section.error("circuit_breaker.open_duration", "`open_duration` must be positive"));
        }
        problems.into_result()?;
        let timeout = if timeout.is_zero() { LONGEST_TRY } else { timeout.get().min(LONGEST_TRY) };
        Ok(Self { timeout, retry: retry.clone(), queue, queued, breaker: breaker.clone() })
    }

    /// How the exporter wants to be fed.
    ///
    /// Without a queue one batch may wait, because somebody has to hold it, and its sender waits with it. A queue that is measured
    /// in requests or items has no bound in bytes of its own: the agent's byte budget holds for all batches together.
    pub(crate) fn intake(&self) -> Intake {
        let QueueSettings { queue_size, sizer, block_on_overflow, num_consumers, .. } = self.queue;
        let open = InboxLimits { batches: PLACES_MAX, bytes: usize::MAX, items: usize::MAX };
        let limits = match sizer {
            _ if !self.queued => InboxLimits { batches: 1, ..open },
            Sizer::Requests => InboxLimits { batches: queue_size.min(PLACES_MAX), ..open },
            Sizer::Items => InboxLimits { items: queue_size, ..open },
            Sizer::Bytes => InboxLimits { bytes: queue_size, ..open },
        };
        let policy = if block_on_overflow || !self.queued { PortPolicy::Block } else { PortPolicy::DropNewest };
        Intake { limits, policy, concurrency: num_consumers }
    }
}

/// The most batches that wait in any queue: a channel's places are counted in a semaphore, and a million empty batches are 200 MB.
const PLACES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Config {
        timeout: Duration,
        retry_on_failure: RetrySettings,
        sending_queue: Optional<QueueSettings>,
        circuit_breaker: BreakerSettings,
    }

    fn plan(yaml: &str) -> Result<DeliverySettings, Problems> {
        let section = Section::from_yaml("otlp_http", yaml).unwrap();
        let config: Config = section.decode()?;
        DeliverySettings::plan(
            &section,
            config.timeout,
            &config.retry_on_failure,
            &config.sending_queue,
            &config.circuit_breaker,
        )
    }

    fn told(yaml: &str) -> Vec<String> {
        plan(yaml).unwrap_err().iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn the_defaults_are_the_collectors() {
        let plan = plan("").unwrap();
        let intake = plan.intake();
        assert_eq!((intake.limits.batches, intake.concurrency, intake.policy), (1000, 10, PortPolicy::DropNewest));
        assert_eq!(plan.retry, RetrySettings::default());
    }

    #[test]
    fn each_sizer_bounds_its_own_unit() {
        let limits = |yaml: &str| plan(yaml).unwrap().intake().limits;
        assert_eq!(limits("sending_queue: {sizer: items, queue_size: 5000}").items, 5000);
        assert_eq!(limits("sending_queue: {sizer: bytes, queue_size: 1048576}").bytes, 1 << 20);
        let blocking = plan("sending_queue: {block_on_overflow: true, num_consumers: 2}").unwrap().intake();
        assert_eq!((blocking.policy, blocking.concurrency), (PortPolicy::Block, 2));
        let none = plan("sending_queue: {enabled: false}").unwrap().intake();
        assert_eq!((none.policy, none.limits.batches), (PortPolicy::Block, 1));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let yaml = "\
retry_on_failure: {randomization_factor: 1.5, multiplier: 0.5, max_elapsed_time: 20s}
sending_queue: {queue_size: 0, num_consumers: 0, wait_for_result: true, storage: file_storage, batch: {}}
circuit_breaker: {failure_threshold: 0, open_duration: 0s}
";
        assert_eq!(
            told(yaml),
            [
                "otlp_http::retry_on_failure::randomization_factor 'randomization_factor' must be within [0, 1]",
                "otlp_http::retry_on_failure::multiplier 'multiplier' must be at least 1: waits do not get shorter",
                "otlp_http::retry_on_failure::max_elapsed_time 'max_elapsed_time' must not be less than 'max_interval'",
                "otlp_http::sending_queue::storage `sending_queue.storage` is not supported yet",
                "otlp_http::sending_queue::batch `sending_queue.batch` is not supported yet",
                "otlp_http::sending_queue::queue_size `queue_size` must be positive",
                "otlp_http::sending_queue::num_consumers `num_consumers` must be positive",
                "otlp_http::sending_queue::wait_for_result `wait_for_result` is not supported: every sender that asks is told how its batch ended",
                "otlp_http::circuit_breaker::failure_threshold `failure_threshold` must be positive; to have no breaker write `enabled: false`",
                "otlp_http::circuit_breaker::open_duration `open_duration` must be positive",
            ]
        );
    }
}

//! What users write about delivery, under the Collector's keys.

use std::time::Duration as Span;

use config::{ByteSize, ComponentId, Duration, Optional, Problems, Section, Unsupported};
use pipeline::inbox::InboxLimits;
use pipeline::spool::{SpoolOptions, WhenFull};
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
    /// How much may wait, in units of `sizer`. Default 1000 requests; with `storage` 512MiB. What is being sent does not count.
    pub(crate) queue_size: Option<ByteSize>,
    /// In what the queue is measured. Default requests; with `storage` bytes, and nothing else.
    pub(crate) sizer: Option<Sizer>,
    /// Whether senders wait when the queue is full. False (default): the newest batch is refused, counted, and its sender is told.
    pub(crate) block_on_overflow: bool,
    /// How many batches are sent at the same time. Default 10.
    pub(crate) num_consumers: usize,
    /// The Collector's; only false can be written, because here every sender that asks is told how its batch ended.
    pub(crate) wait_for_result: bool,
    /// The extension file_storage under which the queue is kept on disk. Without it the queue is in memory.
    pub(crate) storage: Option<String>,
    /// A queue of its own for each tenant; only with `storage`.
    pub(crate) partition: Option<PartitionSettings>,
    /// How many batches of one partition are sent at the same time; only with `storage`. Default 1, which keeps their order.
    pub(crate) consumers_per_partition: Option<usize>,
    /// Whether points of cumulative series that a newer one supersedes are left out of what waits. Default false.
    pub(crate) fold_superseded: bool,
    /// What becomes of batches that the destination will never take; only with `storage`.
    pub(crate) dead_letters: Option<DeadLetterSettings>,
    #[schemars(skip)]
    batch: Unsupported,
}

/// The key `sending_queue.partition`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartitionSettings {
    /// The attribute of the resource whose value decides. What has none shares the common partition.
    pub(crate) by: String,
    /// Partitions at most, 32 by default; who comes later shares the common one.
    #[serde(default = "max_partitions")]
    pub(crate) max_partitions: usize,
    /// How much of one partition may wait. A quarter of `queue_size` by default.
    #[serde(default)]
    pub(crate) queue_size: Option<ByteSize>,
}

/// The key `sending_queue.dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeadLetterSettings {
    /// Whether they are kept. Default true; else they are dropped and counted.
    pub(crate) enabled: bool,
    /// How much is kept, the newest. Default 64MiB.
    pub(crate) max_bytes: ByteSize,
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
    /// Bounds of the queue on disk, where there is one.
    pub(crate) spool: Option<SpoolOptions>,
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
            queue_size: None,
            sizer: None,
            block_on_overflow: false,
            num_consumers: 10,
            wait_for_result: false,
            storage: None,
            partition: None,
            consumers_per_partition: None,
            fold_superseded: false,
            dead_letters: None,
            batch: Unsupported,
        }
    }
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self { enabled: true, max_bytes: ByteSize::from_bytes(64 << 20) }
    }
}

const fn max_partitions() -> usize {
    32
}

/// The least that a queue on disk may have: some files of 64 KiB.
const DISK_MIN: u64 = 1 << 20;
/// What it has unless told otherwise: an hour of 10,000 points a second, compressed.
const DISK_DEFAULT: u64 = 512 << 20;
/// The most that waits in memory by default.
const REQUESTS_DEFAULT: u64 = 1000;
/// Each partition has a reader and an open file.
const PARTITIONS_MAX: usize = 1000;

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
            &[("sending_queue.batch", "batches leave as they come in; ask for larger ones at the receivers")],
        );
        if self.storage.is_some() {
            problems.extend(self.disk_problems(section));
        } else {
            for key in ["partition", "consumers_per_partition", "dead_letters"] {
                if !section.has(&format!("sending_queue.{key}")) {
                    continue;
                }
                let what = format!("`{key}` needs a queue on disk: name an extension file_storage under `storage`");
                problems.push(section.error(&format!("sending_queue.{key}"), what));
            }
        }
        let mut wrong = |key: &str, what: &str| problems.push(section.error(&format!("sending_queue.{key}"), what));
        if self.queue_size.is_some_and(|size| size.get() == 0) {
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

impl QueueSettings {
    fn disk_problems(&self, section: &Section) -> Problems {
        let mut problems = Problems::new();
        if let Some(sizer @ (Sizer::Requests | Sizer::Items)) = self.sizer {
            let what = format!("a queue on disk is measured in bytes, not in {}", sizer.word());
            let help = "write `sizer: bytes`, and a `queue_size` such as 512MiB";
            problems.push(section.error("sending_queue.sizer", what).with_help(help));
        } else if let Some(size) = self.queue_size.filter(|size| (1..DISK_MIN).contains(&size.get())) {
            let what = format!("a queue on disk has at least 1MiB; {} bytes are too few", size.get());
            let help = "with `storage`, `queue_size` is in bytes: write it as in 512MiB";
            problems.push(section.error("sending_queue.queue_size", what).with_help(help));
        }
        let mut wrong = |key: &str, what: &str| problems.push(section.error(&format!("sending_queue.{key}"), what));
        if self.storage.as_ref().is_some_and(|storage| storage.parse::<ComponentId>().is_err()) {
            wrong("storage", "`storage` must name an extension, such as file_storage");
        }
        if self.consumers_per_partition.is_some_and(|count| !(1..=CONSUMERS_MAX).contains(&count)) {
            wrong("consumers_per_partition", "`consumers_per_partition` must be 1 to 1000");
        }
        if let Some(partition) = &self.partition {
            if partition.by.is_empty() {
                wrong("partition.by", "`by` must name an attribute of the resource, such as tenant");
            }
            if !(1..=PARTITIONS_MAX).contains(&partition.max_partitions) {
                wrong("partition.max_partitions", "`max_partitions` must be 1 to 1000");
            }
            if partition.queue_size.is_some_and(|size| size.get() < DISK_MIN) {
                wrong("partition.queue_size", "a partition has at least 1MiB");
            }
        }
        if self.dead_letters.as_ref().is_some_and(|dead| dead.enabled && dead.max_bytes.get() < DISK_MIN) {
            wrong("dead_letters.max_bytes", "`max_bytes` must be at least 1MiB; to keep none write `enabled: false`");
        }
        problems
    }

    /// The bounds of the queue on disk.
    fn spool(&self) -> SpoolOptions {
        let max_bytes = self.queue_size.map_or(DISK_DEFAULT, ByteSize::get);
        let partition = self.partition.as_ref();
        let own = partition.and_then(|partition| partition.queue_size).map(ByteSize::get);
        let dead = self.dead_letters.clone().unwrap_or_default();
        SpoolOptions {
            max_bytes,
            partition_bytes: own.unwrap_or((max_bytes / 4).max(DISK_MIN)),
            max_partitions: partition.map_or(0, |partition| partition.max_partitions),
            dead_bytes: if dead.enabled { dead.max_bytes.get() } else { 0 },
            when_full: if self.block_on_overflow { WhenFull::Wait } else { WhenFull::Refuse },
            fold: self.fold_superseded,
        }
    }
}

impl Sizer {
    const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Items => "items",
            Self::Bytes => "bytes",
        }
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
        let spool = (queued && queue.storage.is_some()).then(|| queue.spool());
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
        Ok(Self { timeout, retry: retry.clone(), queue, queued, breaker: breaker.clone(), spool })
    }

    /// The storage of the queue on disk.
    pub(crate) fn storage(&self) -> Option<ComponentId> {
        self.spool.as_ref().and(self.queue.storage.as_ref()?.parse().ok())
    }

    /// How the exporter wants to be fed.
    ///
    /// Without a queue one batch may wait, because somebody has to hold it, and its sender waits with it. A queue that is measured
    /// in requests or items has no bound in bytes of its own: the agent's byte budget holds for all batches together.
    pub(crate) fn intake(&self) -> Intake {
        if self.spool.is_some() {
            // A short way to the disk, where the queue is; as many at once as may share an fsync.
            return Intake { concurrency: SHARING, keeps: true, ..Intake::default() };
        }
        let QueueSettings { queue_size, sizer, block_on_overflow, num_consumers, .. } = &self.queue;
        let (block_on_overflow, num_consumers) = (*block_on_overflow, *num_consumers);
        let queue_size = queue_size.map_or(REQUESTS_DEFAULT, ByteSize::get);
        let queue_size = usize::try_from(queue_size).unwrap_or(usize::MAX);
        let open = InboxLimits { batches: PLACES_MAX, bytes: usize::MAX, items: usize::MAX };
        let limits = match sizer.unwrap_or_default() {
            _ if !self.queued => InboxLimits { batches: 1, ..open },
            Sizer::Requests => InboxLimits { batches: queue_size.min(PLACES_MAX), ..open },
            Sizer::Items => InboxLimits { items: queue_size, ..open },
            Sizer::Bytes => InboxLimits { bytes: queue_size, ..open },
        };
        let policy = if block_on_overflow || !self.queued { PortPolicy::Block } else { PortPolicy::DropNewest };
        Intake {
            limits,
            policy,
            concurrency: num_consumers,
            keeps: false,
            folds: self.queued && self.queue.fold_superseded,
        }
    }
}

/// Batches that are on their way to the disk at the same time.
const SHARING: usize = 64;

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
    fn a_queue_in_memory_folds_when_it_is_told_to_and_one_on_disk_does_so_itself() {
        let folds = |yaml: &str| plan(yaml).unwrap().intake().folds;
        assert!(
            folds("sending_queue: {fold_superseded: true}")
                && !folds("")
                && !folds("sending_queue: {enabled: false, fold_superseded: true}")
        );
        let disk = plan("sending_queue: {fold_superseded: true, storage: file_storage}").unwrap();
        assert!(!disk.intake().folds && disk.spool.unwrap().fold);
    }

    #[test]
    fn a_queue_on_disk_is_bounded_in_bytes() {
        let plan_of = plan("sending_queue: {storage: file_storage, block_on_overflow: true}").unwrap();
        assert_eq!(plan_of.storage().unwrap().to_string(), "file_storage");
        assert!(plan_of.intake().keeps);
        let spool = plan_of.spool.unwrap();
        assert_eq!((spool.max_bytes, spool.dead_bytes, spool.when_full), (512 << 20, 64 << 20, WhenFull::Wait));
        let yaml =
            "sending_queue: {storage: s, queue_size: 8MiB, partition: {by: tenant}, dead_letters: {enabled: false}}";
        let spool = plan(yaml).unwrap().spool.unwrap();
        assert_eq!((spool.max_bytes, spool.partition_bytes, spool.max_partitions), (8 << 20, 2 << 20, 32));
        assert_eq!((spool.dead_bytes, spool.when_full), (0, WhenFull::Refuse));
        assert_eq!(plan("sending_queue: {enabled: false, storage: s}").unwrap().storage(), None);
        let yaml = "sending_queue: {storage: s, queue_size: 1000, partition: {by: '', max_partitions: 0}, dead_letters: {max_bytes: 1KiB}, consumers_per_partition: 0}";
        assert_eq!(
            told(yaml),
            [
                "otlp_http::sending_queue::queue_size a queue on disk has at least 1MiB; 1000 bytes are too few",
                "otlp_http::sending_queue::consumers_per_partition `consumers_per_partition` must be 1 to 1000",
                "otlp_http::sending_queue::partition::by `by` must name an attribute of the resource, such as tenant",
                "otlp_http::sending_queue::partition::max_partitions `max_partitions` must be 1 to 1000",
                "otlp_http::sending_queue::dead_letters::max_bytes `max_bytes` must be at least 1MiB; to keep none write `enabled: false`",
            ]
        );
        assert_eq!(
            told("sending_queue: {storage: s, sizer: items, queue_size: 1000}"),
            ["otlp_http::sending_queue::sizer a queue on disk is measured in bytes, not in items"]
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let yaml = "\
retry_on_failure: {randomization_factor: 1.5, multiplier: 0.5, max_elapsed_time: 20s}
sending_queue: {queue_size: 0, num_consumers: 0, wait_for_result: true, partition: {by: tenant}, batch: {}}
circuit_breaker: {failure_threshold: 0, open_duration: 0s}
";
        assert_eq!(
            told(yaml),
            [
                "otlp_http::retry_on_failure::randomization_factor 'randomization_factor' must be within [0, 1]",
                "otlp_http::retry_on_failure::multiplier 'multiplier' must be at least 1: waits do not get shorter",
                "otlp_http::retry_on_failure::max_elapsed_time 'max_elapsed_time' must not be less than 'max_interval'",
                "otlp_http::sending_queue::batch `sending_queue.batch` is not supported yet",
                "otlp_http::sending_queue::partition `partition` needs a queue on disk: name an extension file_storage under `storage`",
                "otlp_http::sending_queue::queue_size `queue_size` must be positive",
                "otlp_http::sending_queue::num_consumers `num_consumers` must be positive",
                "otlp_http::sending_queue::wait_for_result `wait_for_result` is not supported: every sender that asks is told how its batch ended",
                "otlp_http::circuit_breaker::failure_threshold `failure_threshold` must be positive; to have no breaker write `enabled: false`",
                "otlp_http::circuit_breaker::open_duration `open_duration` must be positive",
            ]
        );
    }
}

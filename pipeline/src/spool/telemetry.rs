//! Names of a spool's own telemetry. No label carries a partition's key: it comes from the data.

use crate::meter::{Count, Level, Meters};

/// Counts and levels of one spool, labelled by the exporter that it serves.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) replayed_items: Count,
    pub(super) stored_batches: Count,
    pub(super) stored_items: Count,
    pub(super) commits: Count,
    pub(super) failed: Count,
    pub(super) refused: Count,
    pub(super) waited: Count,
    pub(super) damaged: Count,
    pub(super) damaged_items: Count,
    pub(super) dead_items: Count,
    pub(super) dead_dropped: Count,
    pub(super) folded: Count,
    pub(super) fold_failures: Count,
    pub(super) crowded: Count,
    pub(super) batches: Level,
    pub(super) items: Level,
    pub(super) bytes: Level,
    pub(super) capacity: Level,
    pub(super) oldest: Level,
    pub(super) partitions: Level,
    pub(super) dead_bytes: Level,
    pub(super) not_ready: Level,
}

impl Telemetry {
    pub(super) fn new(meters: &Meters, exporter: &str) -> Self {
        let labels = || vec![("exporter", exporter.to_owned())];
        let count = |name, about, unit| meters.count(name, about, unit, labels());
        let level = |name, about, unit| meters.level(name, about, unit, labels());
        Self {
            replayed_items: count(
                "weir_queue_replayed_items",
                "Points and records that were in the queue when it was opened.",
                "{items}",
            ),
            stored_batches: count("weir_queue_stored_batches", "Batches that were put on disk.", "{batches}"),
            stored_items: count("weir_queue_stored_items", "Points and records that were put on disk.", "{items}"),
            commits: count("weir_queue_commits", "Fsyncs; each covers all batches that waited for it.", "{commits}"),
            failed: count("weir_queue_commit_failures", "Groups of batches that the disk did not take.", "{commits}"),
            refused: count(
                "weir_queue_refused_batches",
                "Batches that found no room or no disk; their senders were told.",
                "{batches}",
            ),
            waited: count(
                "weir_queue_blocked_batches",
                "Batches that had to wait for room or for the disk.",
                "{batches}",
            ),
            damaged: count("weir_queue_damaged", "Damaged places that were put aside.", "{places}"),
            damaged_items: count("weir_queue_damaged_items", "Points and records that damage took.", "{items}"),
            dead_items: count(
                "weir_queue_dead_letter_items",
                "Points and records that the destination will never take, kept as dead letters.",
                "{items}",
            ),
            dead_dropped: count(
                "weir_queue_dead_letters_dropped_items",
                "Dead letters that were deleted: the oldest at the bound, or all when none are kept.",
                "{items}",
            ),
            folded: count(
                "weir_queue_folded_items",
                "Points that a newer point of their series made needless while they waited.",
                "{items}",
            ),
            fold_failures: count(
                "weir_queue_fold_failures",
                "Folds that the disk broke off; what waits stays as it is, and is folded later.",
                "{folds}",
            ),
            crowded: count(
                "weir_queue_other_batches",
                "Batches that went to the common partition, since there are as many partitions as there may be.",
                "{batches}",
            ),
            batches: level("weir_queue_batches", "Batches on disk that are not delivered.", "{batches}"),
            items: level("weir_queue_items", "Points and records on disk that are not delivered.", "{items}"),
            bytes: level("weir_queue_bytes", "Bytes that the queue takes on disk, dead letters not counted.", "By"),
            capacity: level("weir_queue_capacity_bytes", "Bytes that the queue may take on disk.", "By"),
            oldest: level("weir_queue_oldest_seconds", "Age of the oldest batch that is not delivered.", "s"),
            partitions: level("weir_queue_partitions", "Partitions that hold something.", "{partitions}"),
            dead_bytes: level("weir_queue_dead_letter_bytes", "Bytes of dead letters.", "By"),
            not_ready: level("weir_queue_not_ready", "1 while the queue cannot store.", "1"),
        }
    }
}

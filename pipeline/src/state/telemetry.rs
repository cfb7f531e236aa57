//! Names of a ledger's own telemetry.

use crate::meter::{Count, Level, Meters};

/// Counts and levels of one ledger, labelled by the receiver that it serves.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) commits: Count,
    pub(super) failed: Count,
    pub(super) entries: Count,
    pub(super) duplicates: Count,
    pub(super) too_old: Count,
    pub(super) overflowed: Count,
    pub(super) forgotten: Count,
    pub(super) quarantined: Count,
    pub(super) damaged: Count,
    pub(super) group: Level,
    pub(super) ids: Level,
    pub(super) window: Level,
    pub(super) bytes: Level,
    pub(super) series: Level,
    pub(super) not_ready: Level,
    pub(super) relaxed: Level,
}

impl Telemetry {
    pub(super) fn new(meters: &Meters, receiver: &str) -> Self {
        let labels = || vec![("receiver", receiver.to_owned())];
        let count = |name, about, unit| meters.count(name, about, unit, labels());
        let level = |name, about, unit| meters.level(name, about, unit, labels());
        Self {
            commits: count("weir_ledger_commits", "Groups of events that were committed.", "{commits}"),
            failed: count(
                "weir_ledger_commit_failures",
                "Groups that could not be committed; their senders were told to try again.",
                "{commits}",
            ),
            entries: count("weir_ledger_events", "Events that were counted.", "{events}"),
            duplicates: count("weir_ledger_duplicates", "Events that had been counted before.", "{events}"),
            too_old: count(
                "weir_ledger_too_old",
                "Events whose signed time lies before the window; they were not added.",
                "{events}",
            ),
            overflowed: count(
                "weir_ledger_overflowed",
                "Changes that went to an overflow series, or for gauges nowhere, since the bound on series was met.",
                "{changes}",
            ),
            forgotten: count("weir_ledger_ids_forgotten", "Ids that left the window.", "{ids}"),
            quarantined: count("weir_ledger_quarantined", "Damaged databases that were put aside.", "{files}"),
            damaged: count(
                "weir_ledger_damaged_rows",
                "Rows that damage took; 1 at least for each damaged database.",
                "{rows}",
            ),
            group: level("weir_ledger_group_events", "Events in the last group.", "{events}"),
            ids: level("weir_ledger_ids", "Ids that are remembered.", "{ids}"),
            window: level(
                "weir_ledger_window_seconds",
                "How long ids are remembered in truth: shorter than configured at max_bytes, longer after downtime.",
                "s",
            ),
            bytes: level("weir_ledger_bytes", "Bytes of the database, its log not counted.", "By"),
            series: level("weir_ledger_series", "Series that are kept.", "{series}"),
            not_ready: level("weir_ledger_not_ready", "1 while the ledger cannot commit.", "1"),
            relaxed: level(
                "weir_ledger_durability_relaxed",
                "1 when answered events may be lost to a power failure, 2 when to any restart, as configured.",
                "1",
            ),
        }
    }
}

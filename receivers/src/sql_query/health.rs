//! How a query fares: its counters in the agent's own telemetry, and what is logged of it.

use std::sync::{Arc, Mutex, PoisonError};

use pdata::UnixNanos;
use pipeline::mapping::{MapCounts, Unread};
use pipeline::{Count, Level, Meters};

use super::source::{ReadError, Reason};
use super::track::progress::ProgressTally;

/// The health of one query.
pub(crate) struct Health {
    receiver: String,
    query: String,
    /// The last message of each kind, so that one is not told at warn level again at every read.
    last_error: Option<String>,
    database: DatabaseHealth,
    last_row_error: Option<String>,
    last_unread: Option<String>,
    pub(crate) last: Last,
    meters: QueryMeters,
}

/// What was last told of the database itself. The queries of a receiver share it: twenty of them would say the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct DatabaseHealth(Arc<Mutex<Option<String>>>);

/// What the last read came to, for the data endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Last {
    pub(crate) up: bool,
    pub(crate) took: std::time::Duration,
    /// Rows of the last successful read.
    pub(crate) rows: u64,
    /// When the last successful read began; unset before the first.
    pub(crate) success: UnixNanos,
    /// Ticks that passed while a read was running, since start.
    pub(crate) skipped: u64,
    /// The agent's part among several.
    pub(crate) part: Part,
}

/// The part of this agent among several that could read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// There are no others.
    #[default]
    Alone,
    Leads,
    /// Another one reads.
    StandsBy,
    /// The lock could not be asked, so nothing is read.
    Unknown,
}

struct QueryMeters {
    scraped_points: Count,
    errored_points: Count,
    scraped_records: Count,
    failed: Vec<Count>,
    skipped: Count,
    nulls: Count,
    unknown_states: Count,
    merged: Count,
    replaced_text: Count,
    unread_cells: Count,
    repeated_rows: Count,
    too_late_rows: Count,
    forgotten_keys: Count,
    unsettled_rows: Share,
    keys: Share,
}

/// What one query adds to a level that all turns of a loop share.
struct Share {
    level: Level,
    own: i64,
}

impl Share {
    fn set(&mut self, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.level.add(value - self.own);
        self.own = value;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.level.add(-self.own);
    }
}

impl Health {
    pub(crate) fn new(receiver: &str, query: &str, database: DatabaseHealth, meters: &Meters) -> Self {
        Self {
            database,
            receiver: receiver.to_owned(),
            query: query.to_owned(),
            last_error: None,
            last_row_error: None,
            last_unread: None,
            last: Last::default(),
            meters: QueryMeters::new(receiver, query, meters),
        }
    }

    /// A read succeeded and its points were sent.
    pub(crate) fn succeeded(&mut self, counts: &MapCounts, points: usize, records: usize) {
        self.meters.scraped_points.add(points as u64);
        self.meters.scraped_records.add(records as u64);
        self.count(counts);
        self.last.up = true;
        self.last.rows = counts.records;
        if self.database.healed() {
            tracing::info!(receiver = %self.receiver, "the database can be read again");
        }
        if self.last_error.take().is_some() {
            tracing::info!(receiver = %self.receiver, query = %self.query, "reading works again");
        }
        self.tell_rows(counts);
    }

    /// Calls the query by another name in logs, such as one that says for which tenant it was read. Counters keep the first.
    pub(crate) fn call(&mut self, name: String) {
        self.query = name;
    }

    /// The rows of the loop that it stands in could be read.
    pub(crate) fn loop_works(&mut self) {
        self.last_error = None;
    }

    /// A read failed; `lost` points of it had been mapped.
    pub(crate) fn failed(&mut self, error: &ReadError, counts: &MapCounts, lost: usize) {
        self.meters.errored_points.add(lost as u64);
        self.count(counts);
        let index = Reason::ALL.iter().position(|reason| *reason == error.reason);
        index.and_then(|index| self.meters.failed.get(index)).inspect(|count| count.add(1));
        self.last.up = false;
        let (receiver, query, reason) = (&self.receiver, &self.query, error.reason.name());
        // One line a failure, and the same line again is no news.
        let news = match error.reason {
            Reason::Stopped => false,
            Reason::Unavailable | Reason::Corrupt => self.database.is_news(&error.why),
            _ => self.last_error.as_deref() != Some(&error.why),
        };
        if !news {
            tracing::debug!(%receiver, %query, reason, "reading failed: {error}");
        } else if matches!(error.reason, Reason::Unavailable | Reason::Corrupt) {
            tracing::warn!(%receiver, reason, "reading failed: {error}");
        } else {
            tracing::warn!(%receiver, %query, reason, "reading failed: {error}");
            self.last_error = Some(error.why.clone());
        }
    }

    /// Cells of log records that could not be read as what their rule says. Told at its first time and after a restart: the same cell
    /// comes again and again.
    pub(crate) fn unread(&mut self, unread: Unread) {
        self.meters.unread_cells.add(unread.cells);
        if let Some(first) = unread.first
            && self.last_unread.as_ref() != Some(&first)
        {
            tracing::warn!(receiver = %self.receiver, query = %self.query, cells = unread.cells, "left unset: {first}");
            self.last_unread = Some(first);
        }
    }

    /// What became of the rows of a tracked query.
    pub(crate) fn progress(&mut self, tally: &ProgressTally) {
        self.meters.repeated_rows.add(tally.repeated);
        self.meters.too_late_rows.add(tally.too_old);
        self.meters.unsettled_rows.set(tally.unsettled);
    }

    /// Keys within the overlap: those that were forgotten before their time, and those that are remembered.
    pub(crate) fn keys(&mut self, (forgotten, held): (usize, usize)) {
        if forgotten > 0 {
            let (receiver, query) = (&self.receiver, &self.query);
            tracing::debug!(%receiver, %query, forgotten, "more rows within the overlap than max_keys: it is shorter now");
        }
        self.meters.forgotten_keys.add(forgotten as u64);
        self.meters.keys.set(held as u64);
    }

    /// Ticks passed while a read was running.
    pub(crate) fn skipped(&mut self, ticks: u64) {
        self.last.skipped += ticks;
        self.meters.skipped.add(ticks);
    }

    fn count(&self, counts: &MapCounts) {
        let meters = &self.meters;
        for (count, value) in [
            (&meters.errored_points, counts.errors),
            (&meters.nulls, counts.nulls),
            (&meters.unknown_states, counts.unknown_states),
            (&meters.merged, counts.merged),
            (&meters.replaced_text, counts.replaced_text),
        ] {
            count.add(value);
        }
    }

    fn tell_rows(&mut self, counts: &MapCounts) {
        let (receiver, query) = (&self.receiver, &self.query);
        match &counts.first_error {
            Some(first) if self.last_row_error.as_ref() != Some(first) => {
                tracing::warn!(%receiver, %query, points = counts.errors, "points left out: {first}");
            }
            Some(first) => tracing::debug!(%receiver, %query, points = counts.errors, "points left out: {first}"),
            None => {}
        }
        self.last_row_error.clone_from(&counts.first_error);
        if counts.nulls + counts.unknown_states + counts.replaced_text > 0 {
            let MapCounts { nulls, unknown_states, replaced_text, .. } = counts;
            tracing::debug!(%receiver, %query, nulls, unknown_states, replaced_text, "not every cell became a value");
        }
    }
}

impl DatabaseHealth {
    /// Whether this has not just been told; remembers it.
    fn is_news(&self, why: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.as_deref() != Some(why);
        *last = Some(why.to_owned());
        news
    }

    /// Whether something had been told that is over now.
    fn healed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

impl QueryMeters {
    fn new(receiver: &str, query: &str, meters: &Meters) -> Self {
        let count = |name, about, unit| {
            meters.count(name, about, unit, vec![("receiver", receiver.to_owned()), ("scraper", query.to_owned())])
        };
        let level = |name, about, unit| {
            let labels = vec![("receiver", receiver.to_owned()), ("scraper", query.to_owned())];
            Share { level: meters.level(name, about, unit, labels), own: 0 }
        };
        let failed = |reason: Reason| {
            let labels = vec![
                ("receiver", receiver.to_owned()),
                ("scraper", query.to_owned()),
                ("reason", reason.name().to_owned()),
            ];
            meters.count("weir_sql_failed_reads", "Reads of a query that failed.", "{reads}", labels)
        };
        Self {
            scraped_points: count(
                "otelcol_scraper_scraped_metric_points",
                "Metric points made of rows.",
                "{datapoints}",
            ),
            errored_points: count(
                "otelcol_scraper_errored_metric_points",
                "Metric points that rows should have made and did not.",
                "{datapoints}",
            ),
            scraped_records: count("otelcol_scraper_scraped_log_records", "Log records made of rows.", "{records}"),
            failed: Reason::ALL.into_iter().map(failed).collect(),
            skipped: count("weir_sql_skipped_ticks", "Ticks that passed while a read was running.", "{ticks}"),
            nulls: count("weir_sql_null_values", "Points left out because their value was NULL.", "{datapoints}"),
            unknown_states: count("weir_sql_unknown_states", "Rows whose state is none of the known ones.", "{rows}"),
            merged: count("weir_sql_merged_points", "Points of rows that made a series a second time.", "{datapoints}"),
            replaced_text: count("weir_sql_replaced_texts", "Attributes whose bad UTF-8 was replaced.", "{attributes}"),
            unread_cells: count(
                "weir_sql_unread_cells",
                "Times, severities and ids of log records that could not be read and were left unset.",
                "{cells}",
            ),
            repeated_rows: count(
                "weir_sql_repeated_rows",
                "Rows within the overlap that an earlier read had passed.",
                "{rows}",
            ),
            too_late_rows: count(
                "weir_sql_too_late_rows",
                "Rows within the overlap, older than the keys that are remembered: not passed.",
                "{rows}",
            ),
            forgotten_keys: count(
                "weir_sql_forgotten_keys",
                "Keys that were forgotten before the overlap was over, because there were more than max_keys.",
                "{keys}",
            ),
            unsettled_rows: level(
                "weir_sql_unsettled_rows",
                "Rows that the last read saw and left for a later one (late_commits: xmin).",
                "{rows}",
            ),
            keys: level("weir_sql_keys", "Keys that are remembered for the overlap.", "{keys}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_database_is_told_once_for_all_queries() {
        let (one, two) = (DatabaseHealth::default(), DatabaseHealth::default());
        let shared = one.clone();
        assert!(one.is_news("gone") && !shared.is_news("gone") && two.is_news("gone"));
        assert!(shared.is_news("locked") && one.healed() && !shared.healed());
        assert!(one.is_news("gone"));
    }

    #[test]
    fn reads_are_counted_under_the_collectors_names() {
        let meters = Meters::unread();
        let mut health = Health::new("sql_query/x", "0", DatabaseHealth::default(), &meters);
        let counts = MapCounts { records: 5, errors: 2, merged: 1, ..MapCounts::default() };
        health.succeeded(&counts, 3, 0);
        health.failed(&ReadError::new(Reason::Timeout, "late"), &MapCounts::default(), 4);
        let value = |name: &str| {
            let found = meters.counts().into_iter().filter(|(known, ..)| *known == name);
            found.map(|(.., value)| value).sum::<u64>()
        };
        assert_eq!(value("otelcol_scraper_scraped_metric_points"), 3);
        assert_eq!(value("otelcol_scraper_errored_metric_points"), 6);
        assert_eq!((value("weir_sql_merged_points"), value("weir_sql_failed_reads")), (1, 1));
        assert_eq!((health.last.up, health.last.rows), (false, 5));
    }
}

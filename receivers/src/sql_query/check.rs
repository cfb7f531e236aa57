//! From what the user wrote to what can run: the receiver and its queries. Metrics are checked next door.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use config::{ComponentId, Problem, Problems, Section};
use pdata::Severity;
use pipeline::OnFailure;
use pipeline::mapping::{AttributeRule, LogRule, MapperRules};

use super::check_metric::{self, MetricCheck};
use super::check_singleton::Contest;
use super::counting::CountedMetric;
use super::driver::Database;
use super::settings::{Consistency, Failure, Log, Query, Settings, When};
use super::track::Tracking;

/// A section of `sql_query` that has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// At least one.
    pub(crate) targets: Vec<Target>,
    /// Statements at the beginning of each collection.
    #[cfg_attr(not(feature = "sql-server"), expect(dead_code, reason = "files have no settings"))]
    pub(crate) session: Vec<Box<str>>,
    pub(crate) max_cell_bytes: u64,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) snapshot: bool,
    pub(crate) on_failure: OnFailure,
    pub(crate) self_metrics: bool,
    pub(crate) log_sql: bool,
    pub(crate) for_each: Option<Arc<CheckedEach>>,
    pub(crate) queries: Vec<CheckedQuery>,
    /// How agents agree on who reads, if they do.
    pub(crate) contest: Option<Contest>,
    /// Where cursors are kept.
    pub(crate) storage: Option<ComponentId>,
    pub(crate) warnings: Problems,
}

/// One of the databases that a receiver reads.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What tells it from the others; none where there is only one.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) database: Database,
    /// Attributes of the resource of what is read from it; they win over the receiver's.
    pub(crate) resource: Vec<(Box<str>, Box<str>)>,
}

/// When a receiver reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Interval { initial_delay: Duration },
    OnScrape { min_interval: Duration },
}

/// A loop that has been checked.
#[derive(Clone, Debug)]
pub(crate) struct CheckedEach {
    pub(crate) sql: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) max_rows: usize,
    pub(crate) concurrency: usize,
    /// Columns that become attributes.
    pub(crate) attributes: Vec<Box<str>>,
    /// Columns by which cursors know a row again; all of them where there are none.
    pub(crate) key: Vec<Box<str>>,
}

/// One query that has been checked.
#[derive(Clone, Debug)]
pub(crate) struct CheckedQuery {
    /// Its name, or its place in the list.
    pub(crate) label: String,
    pub(crate) sql: Arc<str>,
    /// Means nothing for reads on demand.
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Whether no rows are a failure.
    pub(crate) expect_rows: bool,
    pub(crate) metrics: Arc<MapperRules>,
    pub(crate) logs: Arc<[LogRule]>,
    /// What new rows add up to; only where they are tracked.
    pub(crate) counted: Arc<[CountedMetric]>,
    /// How it knows which rows are new.
    pub(crate) tracking: Option<Arc<Tracking>>,
}

/// Connections that read at the same time when the user does not say: enough that a slow query does not hold up the others.
const CONNECTIONS: usize = 4;

/// The time-out of a query that is read on demand: what Prometheus grants a scrape by default.
const ON_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Smaller cells would keep SQLite from reading the schema of a database with long table definitions.
const MIN_CELL_BYTES: u64 = 64 << 10;

/// SQLite's own limit.
const MAX_CELL_BYTES: u64 = 1_000_000_000;

/// Checks a section; finds all problems that can be found.
pub(crate) fn check(section: &Section) -> Result<Checked, Problems> {
    let settings: Settings = section.decode()?;
    let mut check = Check { section, settings: &settings, problems: Problems::new() };
    let targets = check.targets();
    check.receiver();
    if settings.queries.is_empty() {
        check.error("queries", "'queries' cannot be empty");
    }
    let mut names = BTreeSet::new();
    let queries: Vec<_> =
        settings.queries.iter().enumerate().map(|(index, query)| check.query(index, query, &mut names)).collect();
    let for_each = check.for_each();
    let contest = check.contest(&targets);
    let storage = check.storage();
    let problems = check.problems;
    if problems.has_errors() {
        Err(problems)
    } else {
        Ok(Checked { for_each, contest, storage, ..checked(&settings, targets, queries, problems) })
    }
}

fn checked(settings: &Settings, targets: Vec<Target>, queries: Vec<CheckedQuery>, warnings: Problems) -> Checked {
    Checked {
        targets,
        session: settings.session.iter().map(|statement| statement.as_str().into()).collect(),
        max_cell_bytes: settings.max_cell_bytes.get(),
        connections: connections(settings),
        pace: match settings.collection {
            When::Interval => Pace::Interval { initial_delay: settings.initial_delay.get() },
            When::OnScrape => Pace::OnScrape { min_interval: settings.min_interval.get() },
        },
        snapshot: settings.consistency == Consistency::Snapshot,
        on_failure: match settings.on_failure {
            Failure::Omit => OnFailure::Omit,
            Failure::Last => OnFailure::Last,
            Failure::Fail => OnFailure::Fail,
        },
        self_metrics: settings.self_metrics,
        log_sql: settings.telemetry.logs.query,
        for_each: None,
        queries,
        contest: None,
        storage: None,
        warnings,
    }
}

fn connections(settings: &Settings) -> usize {
    match settings.max_open_conn {
        0 => CONNECTIONS,
        connections => connections as usize,
    }
}

impl CheckedQuery {
    /// The same query with further attributes: of its metrics, and of the resource of its log records.
    pub(crate) fn with_attributes(&self, attributes: &[(Box<str>, Box<str>)]) -> Self {
        let mut query = self.clone();
        if !attributes.is_empty() {
            let mut metrics = (*query.metrics).clone();
            metrics.metrics.iter_mut().for_each(|rule| rule.static_attributes.extend_from_slice(attributes));
            query.metrics = Arc::new(metrics);
            let counted = |metric: &CountedMetric| {
                let static_attributes = [&metric.static_attributes, attributes].concat();
                CountedMetric { static_attributes, ..metric.clone() }
            };
            query.counted = query.counted.iter().map(counted).collect();
            let with = |rule: &LogRule| [&rule.resource, attributes].concat();
            query.logs = query.logs.iter().map(|rule| LogRule { resource: with(rule), ..rule.clone() }).collect();
        }
        query
    }

    /// The same query for one of several databases.
    pub(crate) fn at(&self, target: &Target) -> Self {
        let mut query = self.clone();
        if !target.resource.is_empty() {
            let with = |resource: &[(Box<str>, Box<str>)]| {
                let own = |key: &str| target.resource.iter().any(|(known, _)| **known == *key);
                let others = resource.iter().filter(|(key, _)| !own(key));
                others.chain(&target.resource).cloned().collect::<Vec<_>>()
            };
            let mut metrics = (*query.metrics).clone();
            metrics.resource = with(&metrics.resource);
            query.metrics = Arc::new(metrics);
            let logs = query.logs.iter().map(|rule| LogRule { resource: with(&rule.resource), ..rule.clone() });
            query.logs = logs.collect();
        }
        query
    }
}

pub(super) struct Check<'a> {
    pub(super) section: &'a Section,
    pub(super) settings: &'a Settings,
    problems: Problems,
}

impl Check<'_> {
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.section.error(path, message));
    }

    pub(super) fn help(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.section.error(path, message).with_help(help));
    }

    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.section.warning(path, message).with_help(help));
    }

    fn receiver(&mut self) {
        let on_scrape = self.settings.collection == When::OnScrape;
        if on_scrape && self.section.has("collection_interval") {
            self.help(
                "collection_interval",
                "'collection_interval' cannot be set when 'collection' is on_scrape",
                "scrapes set the pace; 'min_interval' bounds it",
            );
        }
        if !on_scrape && self.settings.collection_interval.is_zero() {
            self.error("collection_interval", "\"collection_interval\": requires positive value");
        }
        if on_scrape && self.section.has("initial_delay") {
            self.help("initial_delay", "'initial_delay' means nothing when 'collection' is on_scrape", "leave it out");
        }
        if !on_scrape && self.section.has("min_interval") {
            self.help(
                "min_interval",
                "'min_interval' needs 'collection: on_scrape'",
                "'collection_interval' sets the pace here",
            );
        }
        let bytes = self.settings.max_cell_bytes.get();
        if !(MIN_CELL_BYTES..=MAX_CELL_BYTES).contains(&bytes) {
            self.error("max_cell_bytes", format!("'max_cell_bytes' must be from 64KiB to 1GB, got {bytes} bytes"));
        }
        if self.settings.resource_attributes.contains_key("") {
            self.error("resource_attributes", "'resource_attributes' has an empty key");
        }
    }

    /// Where cursors are kept; nowhere when there are none.
    fn storage(&mut self) -> Option<ComponentId> {
        let written = self.settings.storage.as_deref()?;
        let Ok(storage) = written.parse() else {
            self.help("storage", format!("'{written}' is no id of an extension"), "such as storage: file_storage");
            return None;
        };
        if self.settings.queries.iter().all(|query| query.tracking_column.is_none()) {
            self.warn(
                "storage",
                "'storage' keeps tracking values, and no query has a 'tracking_column'",
                "leave it out",
            );
            return None;
        }
        Some(storage)
    }

    fn for_each(&mut self) -> Option<Arc<CheckedEach>> {
        let written = self.settings.for_each.as_ref()?;
        if written.sql.trim().is_empty() || written.sql.contains('\0') {
            self.error("for_each.sql", "'for_each.sql' cannot be empty, or hold a NUL byte");
        }
        if written.timeout.is_some_and(|timeout| timeout.is_zero()) {
            self.help("for_each.timeout", "'timeout' must be positive", "leave it out");
        }
        if written.max_rows == 0 {
            self.error("for_each.max_rows", "'max_rows' must be at least 1");
        }
        let attributes = self.columns("for_each.attribute_columns", &written.attribute_columns);
        let key = self.columns("for_each.key_columns", &written.key_columns);
        if !key.is_empty() && self.settings.queries.iter().all(|query| query.tracking_column.is_none()) {
            let help = "leave it out";
            self.warn(
                "for_each.key_columns",
                "'key_columns' keys tracking values, and no query has a 'tracking_column'",
                help,
            );
        }
        let connections = connections(self.settings);
        let timeout = match (written.timeout, self.settings.timeout, self.settings.collection) {
            (Some(timeout), ..) => timeout.get(),
            (None, timeout, _) if !timeout.is_zero() => timeout.get(),
            (None, _, When::Interval) => self.settings.collection_interval.get(),
            (None, _, When::OnScrape) => ON_SCRAPE_TIMEOUT,
        };
        Some(Arc::new(CheckedEach {
            sql: written.sql.as_str().into(),
            timeout,
            max_rows: written.max_rows as usize,
            // More would only wait for a connection, and their time would run.
            concurrency: match written.max_concurrency {
                0 => connections,
                several => connections.min(several as usize),
            },
            attributes: attributes.into_iter().map(|attribute| attribute.column).collect(),
            key: key.into_iter().map(|attribute| attribute.column).collect(),
        }))
    }

    fn query(&mut self, index: usize, query: &Query, names: &mut BTreeSet<String>) -> CheckedQuery {
        let at = |key: &str| format!("queries[{index}].{key}");
        if query.sql.trim().is_empty() {
            self.error(&at("sql"), "'query.sql' cannot be empty");
        }
        if query.sql.contains('\0') {
            self.error(&at("sql"), "'query.sql' holds a NUL byte");
        }
        if query.metrics.is_empty() && query.logs.is_empty() {
            let message = "at least one of 'query.logs' and 'query.metrics' must not be empty";
            self.error(&format!("queries[{index}]"), message);
        }
        self.query_pace(&at, query);
        let label = query.name.clone().unwrap_or_else(|| index.to_string());
        if label.is_empty() {
            self.error(&at("name"), "'name' cannot be empty");
        } else if !names.insert(label.clone()) {
            self.error(&at("name"), format!("two queries are called '{label}'"));
        }
        let resource_columns = self.columns(&at("resource_attribute_columns"), &query.resource_attribute_columns);
        let resource = check_metric::pairs(&self.settings.resource_attributes);
        let interval = query.collection_interval.unwrap_or(self.settings.collection_interval).get();
        let timeout = match (query.timeout, self.settings.timeout, self.settings.collection) {
            (Some(timeout), ..) => timeout.get(),
            (None, timeout, _) if !timeout.is_zero() => timeout.get(),
            (None, _, When::Interval) => interval,
            (None, _, When::OnScrape) => ON_SCRAPE_TIMEOUT,
        };
        let (mut metrics, mut counted) = (Vec::new(), Vec::new());
        for (metric_index, metric) in query.metrics.iter().enumerate() {
            let path = format!("queries[{index}].metrics[{metric_index}]");
            let check = MetricCheck { section: self.section, path: &path, metric, interval };
            match metric.new_rows {
                Some(_) => counted.extend(check.counted(&mut self.problems)),
                None => metrics.extend(check.rule(&mut self.problems)),
            }
        }
        let counts = query.metrics.iter().any(|metric| metric.new_rows.is_some());
        if counts && !query.resource_attribute_columns.is_empty() {
            self.help(
                &at("resource_attribute_columns"),
                "'resource_attribute_columns' cannot stand beside 'new_rows'",
                "name the columns in 'attribute_columns' of each metric",
            );
        }
        let tracking = self.tracking(index, query, counts).map(Arc::new);
        let logs: Vec<_> = query
            .logs
            .iter()
            .enumerate()
            .map(|(log_index, log)| LogRule {
                resource: resource.clone(),
                resource_columns: resource_columns.clone(),
                ..self.log(&format!("queries[{index}].logs[{log_index}]"), log)
            })
            .collect();
        // A read that tracks in order ends where it has enough rows, and the next one goes on.
        let max_records =
            if tracking.as_ref().is_some_and(|tracking| tracking.ordered) { 0 } else { query.max_rows as usize };
        let rules = MapperRules { metrics, resource, resource_columns, max_records };
        CheckedQuery {
            label,
            sql: query.sql.as_str().into(),
            interval,
            timeout,
            expect_rows: query.expect_rows,
            metrics: Arc::new(rules),
            logs: logs.into(),
            counted: counted.into(),
            tracking,
        }
    }

    fn log(&mut self, path: &str, log: &Log) -> LogRule {
        if log.body_column.is_empty() {
            self.error(&format!("{path}.body_column"), "'body_column' must not be empty");
        }
        if log.static_attributes.contains_key("") {
            self.error(&format!("{path}.static_attributes"), "'static_attributes' has an empty key");
        }
        if log.severity_column.is_empty() && !log.severities.is_empty() {
            self.help(&format!("{path}.severities"), "'severities' needs a 'severity_column'", "name the column");
        }
        let mut severities = Vec::with_capacity(log.severities.len());
        for (cell, meant) in &log.severities {
            let written = meant.as_str().map_or_else(|| meant.to_string(), str::to_owned);
            match Severity::parse(&written) {
                Some(severity) => severities.push((cell.as_str().into(), severity)),
                None => self.help(
                    &format!("{path}.severities[{cell}]"),
                    format!("'{written}' is no severity"),
                    "write trace, debug, info, warn, error or fatal, or a number of 1 to 24",
                ),
            }
        }
        let optional = |column: &str| (!column.is_empty()).then(|| column.into());
        LogRule {
            body: log.body_column.as_str().into(),
            attributes: self.columns(&format!("{path}.attribute_columns"), &log.attribute_columns),
            static_attributes: check_metric::pairs(&log.static_attributes),
            time: optional(&log.ts_column),
            severity: optional(&log.severity_column),
            severities,
            event_name: optional(&log.event_name_column),
            trace_id: optional(&log.trace_id_column),
            span_id: optional(&log.span_id_column),
            ..LogRule::default()
        }
    }

    fn query_pace(&mut self, at: &dyn Fn(&str) -> String, query: &Query) {
        let on_scrape = self.settings.collection == When::OnScrape;
        match query.collection_interval {
            Some(_) if on_scrape => self.help(
                &at("collection_interval"),
                "'collection_interval' cannot be set when 'collection' is on_scrape",
                "scrapes set the pace; 'min_interval' bounds it",
            ),
            Some(interval) if interval.is_zero() => {
                self.error(&at("collection_interval"), "\"collection_interval\": requires positive value");
            }
            _ => {}
        }
        if query.timeout.is_some_and(|timeout| timeout.is_zero()) {
            self.help(&at("timeout"), "'timeout' must be positive", "leave it out for the query's interval");
        }
        if query.max_rows == 0 {
            self.error(&at("max_rows"), "'max_rows' must be at least 1");
        }
        if on_scrape && !query.logs.is_empty() {
            self.help(
                &at("logs"),
                "'logs' cannot be made on a scrape: every scrape would send all rows again",
                "read them in a receiver with 'collection: interval'",
            );
        }
        if query.ignore_null_values
            && query.metrics.iter().any(|metric| metric.null.is_some_and(|null| null != super::settings::Null::Omit))
        {
            self.warn(
                &at("ignore_null_values"),
                "'ignore_null_values' and 'null' speak of the same thing; 'null' wins",
                "leave 'ignore_null_values' out: NULLs are left out anyway",
            );
        }
    }

    pub(super) fn columns(&mut self, path: &str, columns: &[String]) -> Vec<AttributeRule> {
        let mut problems: Vec<Problem> = Vec::new();
        let rules = check_metric::columns(self.section, path, columns, &mut |problem| problems.push(problem));
        self.problems.extend(problems);
        rules
    }
}

//! A section against its databases: what they say of its statements, in the user's places. Nothing is run and no row is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::{Problem, Problems, Section};
use futures_util::{StreamExt, stream};
use pipeline::mapping::MissingColumn;
use pipeline::{BoxFuture, Clock};

use super::check::{Checked, Target};
use super::describe::{Answers, Described, Kind, Refused};
use super::driver;
use super::settings::{Query, Settings};
use super::source::{NO_PARAMETER, ReadError, Reason};

/// Databases that are asked at the same time.
const TARGETS_AT_ONCE: usize = 8;

/// Something that one database does not agree with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    grave: Grave,
    message: String,
    help: Option<String>,
}

/// Whether reading would fail, or may give less than was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grave {
    Error,
    Warning,
}

/// A column that some key names.
struct Wanted<'a> {
    /// The key.
    path: String,
    column: &'a str,
    /// What wants it, as messages of failed reads call it.
    by: &'a str,
    number: bool,
}

/// Asks every database about every statement; each database gets `time`.
pub(crate) async fn check(section: Section, checked: Checked, time: Duration) -> Problems {
    // It was decoded once, or there would be nothing that was checked.
    let Ok(settings) = section.decode::<Settings>() else { return Problems::new() };
    let (section, checked, settings) = (&section, &checked, &settings);
    let mut asking: Vec<BoxFuture<'_, (usize, Vec<Finding>)>> = Vec::with_capacity(checked.targets.len());
    for (index, target) in checked.targets.iter().enumerate() {
        asking.push(Box::pin(async move { (index, ask(section, checked, settings, index, target, time).await) }));
    }
    let mut asked: Vec<_> = stream::iter(asking).buffer_unordered(TARGETS_AT_ONCE).collect().await;
    asked.sort_by_key(|(index, _)| *index);
    let mut found: BTreeMap<Finding, Vec<&str>> = BTreeMap::new();
    for (index, findings) in asked {
        let name = checked.targets[index].name.as_deref().unwrap_or_default();
        findings.into_iter().for_each(|finding| found.entry(finding).or_default().push(name));
    }
    let all = checked.targets.len();
    let mut problems: Problems =
        found.into_iter().map(|(finding, targets)| finding.problem(section, &targets, all)).collect();
    problems.sort();
    problems
}

async fn ask(
    section: &Section,
    checked: &Checked,
    settings: &Settings,
    index: usize,
    target: &Target,
    time: Duration,
) -> Vec<Finding> {
    let source = driver::open(checked, target, Clock::system());
    // The loop's statement comes first: the others get its columns.
    let of_loop = checked.for_each.iter().map(|each| each.sql.clone());
    let statements: Vec<Arc<str>> = of_loop.chain(checked.queries.iter().map(|query| query.sql.clone())).collect();
    let answers = source.describe(statements, time).await;
    source.close().await;
    match answers {
        Ok(answers) => agree(settings, answers),
        Err(error) => vec![Finding::error(database_path(section, settings, index), error.why)],
    }
}

/// The key that says where a database is.
fn database_path(section: &Section, settings: &Settings, index: usize) -> String {
    let at = if settings.targets.is_empty() { String::new() } else { format!("targets[{index}].") };
    let key = |key: &str| format!("{at}{key}");
    let written = ["datasource", "host"].map(key).into_iter().find(|path| section.has(path));
    written.unwrap_or(at)
}

/// What one database's answers mean for what was written.
fn agree(settings: &Settings, answers: Answers) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, refused) in answers.session {
        let sql = settings.session.get(index).map_or("", String::as_str);
        found.push(refused.at(format!("session[{index}]"), sql));
    }
    let mut answers = answers.statements.into_iter();
    let mut given = 0;
    if let Some(each) = &settings.for_each {
        match answers.next() {
            Some(Ok(described)) => {
                given = described.columns.len();
                let wanted = each.attribute_columns.iter().enumerate().map(|(index, column)| Wanted {
                    path: format!("for_each.attribute_columns[{index}]"),
                    column,
                    by: "for_each",
                    number: false,
                });
                let wanted = wanted.chain(each.key_columns.iter().enumerate().map(|(index, column)| Wanted {
                    path: format!("for_each.key_columns[{index}]"),
                    column,
                    by: "for_each",
                    number: false,
                }));
                statement(&mut found, "for_each.sql", &described, Given::default(), wanted.collect());
                session_parameters(&mut found, settings, given);
            }
            Some(Err(refused)) => {
                found.push(refused.at("for_each.sql".to_owned(), &each.sql));
                // How many columns it would have is not known, and one mistake is told once.
                given = usize::MAX;
            }
            None => {}
        }
    }
    for ((index, query), answer) in settings.queries.iter().enumerate().zip(answers) {
        let path = format!("queries[{index}].sql");
        match answer {
            Ok(described) => {
                let tracked = tracking_names(query).len();
                if tracked > 0 && described.parameters == 0 {
                    found.push(Finding::error(path.clone(), NO_PARAMETER));
                }
                let given = Given { tracked, of_loop: given };
                statement(&mut found, &path, &described, given, wanted(index, query));
            }
            Err(refused) => found.push(refused.at(path, &query.sql)),
        }
    }
    found
}

/// What a statement gets as parameters.
#[derive(Clone, Copy, Default)]
struct Given {
    /// Values of its tracking columns, which come first.
    tracked: usize,
    /// Columns of a loop; `usize::MAX` where nobody knows how many.
    of_loop: usize,
}

impl Given {
    fn all(self) -> usize {
        self.tracked.saturating_add(self.of_loop)
    }

    /// Where they come from, for who wrote more.
    fn help(self) -> String {
        match self {
            Self { tracked: 0, of_loop: 0 } => {
                "write the value into the statement: parameters are for 'tracking_column' and 'for_each'".to_owned()
            }
            Self { tracked: 0, of_loop } => format!("they are the {of_loop} columns of 'for_each', in order"),
            Self { tracked, of_loop: 0 } => {
                format!(
                    "they are the values of 'tracking_column', of which there are {tracked}; $1 may stand more than once"
                )
            }
            Self { tracked, of_loop } => {
                format!(
                    "first come the values of 'tracking_column' ({tracked}), then the columns of 'for_each' ({of_loop})"
                )
            }
        }
    }
}

/// A statement that the database takes: its parameters, and the columns that are wanted of it.
fn statement(found: &mut Vec<Finding>, path: &str, described: &Described, given: Given, wanted: Vec<Wanted<'_>>) {
    let Described { columns, parameters } = described;
    let all = given.all();
    if *parameters > all {
        let message = format!("the statement has {parameters} parameters ($1, …) and gets {all}");
        found.push(Finding::error(path.to_owned(), message).help(&given.help()));
    }
    if columns.is_empty() {
        found.push(Finding::error(path.to_owned(), "the statement gives no rows; write a select"));
        return;
    }
    for Wanted { path, column, by, number } in wanted {
        let mut named = columns.iter().filter(|known| *known.name == *column);
        let (Some(one), None) = (named.next(), named.next()) else {
            let names = columns.iter().map(|column| column.name.clone()).collect();
            let missing = MissingColumn { column: column.into(), wanted_by: by.into(), found: names };
            found.push(Finding::error(path, missing.to_string()));
            continue;
        };
        match &one.kind {
            Kind::NoNumber(kind) if number => {
                let message = format!("column '{column}' has the type {kind}, which is no number");
                found.push(Finding::error(path, message).help("convert it in the SQL"));
            }
            Kind::Text(kind) if number => {
                let message =
                    format!("column '{column}' has the type {kind}: where a text is no number, there is no point");
                found.push(
                    Finding { grave: Grave::Warning, ..Finding::error(path, message) }.help("cast it in the SQL"),
                );
            }
            _ => {}
        }
    }
}

/// `session` gets the same columns as the queries.
fn session_parameters(found: &mut Vec<Finding>, settings: &Settings, given: usize) {
    for (index, statement) in settings.session.iter().enumerate() {
        let numbers = statement.split('$').skip(1).filter_map(|rest| {
            let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            rest[..digits].parse::<usize>().ok()
        });
        if let Some(highest) = numbers.max().filter(|highest| *highest > given) {
            let message = format!("'session' names ${highest}, and the rows of 'for_each' have {given} columns");
            found.push(Finding::error(format!("session[{index}]"), message));
        }
    }
}

/// All columns that a query's keys name.
fn wanted(index: usize, query: &Query) -> Vec<Wanted<'_>> {
    let mut all = Vec::new();
    let mut add = |path: String, column, by, number| all.push(Wanted { path, column, by, number });
    let query_name = query.name.as_deref().unwrap_or("the query");
    for (at, column) in query.resource_attribute_columns.iter().enumerate() {
        add(format!("queries[{index}].resource_attribute_columns[{at}]"), column.as_str(), query_name, false);
    }
    for (metric_index, metric) in query.metrics.iter().enumerate() {
        let path = |key: &str| format!("queries[{index}].metrics[{metric_index}].{key}");
        let by = metric.metric_name.as_str();
        let kind = metric.data_type.as_deref().unwrap_or_default();
        // Keys that mean nothing for a data type were warned of when the section was checked.
        if !matches!(kind, "stateset" | "histogram") || metric.new_rows.is_some() {
            add(path("value_column"), &metric.value_column, by, kind != "info");
        }
        if let (Some(state), "stateset") = (&metric.state, kind) {
            add(path("state.column"), &state.column, by, false);
        }
        for (bound, column) in metric.bucket_columns.iter().filter(|_| kind == "histogram") {
            add(path(&format!("bucket_columns[{bound}]")), column, by, true);
        }
        add(path("count_column"), &metric.count_column, by, true);
        add(path("sum_column"), &metric.sum_column, by, true);
        add(path("start_ts_column"), &metric.start_ts_column, by, false);
        add(path("ts_column"), &metric.ts_column, by, false);
        for (at, column) in metric.attribute_columns.iter().enumerate() {
            add(path(&format!("attribute_columns[{at}]")), column, by, false);
        }
    }
    for (log_index, log) in query.logs.iter().enumerate() {
        let path = |key: &str| format!("queries[{index}].logs[{log_index}].{key}");
        add(path("body_column"), &log.body_column, "logs", false);
        for (key, column) in [
            ("ts_column", &log.ts_column),
            ("severity_column", &log.severity_column),
            ("event_name_column", &log.event_name_column),
            ("trace_id_column", &log.trace_id_column),
            ("span_id_column", &log.span_id_column),
        ] {
            add(path(key), column, "logs", false);
        }
        for (at, column) in log.attribute_columns.iter().enumerate() {
            add(path(&format!("attribute_columns[{at}]")), column, "logs", false);
        }
    }
    for column in tracking_names(query) {
        add(format!("queries[{index}].tracking_column"), column, "tracking_column", false);
    }
    for (at, column) in query.key_columns.iter().enumerate() {
        add(format!("queries[{index}].key_columns[{at}]"), column, "key_columns", false);
    }
    all.retain(|wanted| !wanted.column.is_empty());
    all
}

/// The tracking columns of a query.
fn tracking_names(query: &Query) -> Vec<&str> {
    let list = match &query.tracking_column {
        Some(serde_json::Value::Array(list)) => list.as_slice(),
        one => one.as_slice(),
    };
    list.iter().filter_map(|column| column.as_str().or_else(|| column.get("name")?.as_str())).collect()
}

impl Refused {
    /// As a finding at a key whose value is this statement.
    fn at(self, path: String, sql: &str) -> Finding {
        let Self { error: ReadError { reason, why }, at } = self;
        let place = at.filter(|_| reason == Reason::Statement).map(|at| line_and_column(sql, at));
        Finding::error(path, place.map_or(why.clone(), |place| format!("{place}: {why}")))
    }
}

/// Where a character of a statement stands in it.
fn line_and_column(sql: &str, at: usize) -> String {
    let before: String = sql.chars().take(at).collect();
    let column = 1 + before.chars().rev().take_while(|letter| *letter != '\n').count();
    match before.matches('\n').count() {
        0 if !sql.trim_end().contains('\n') => format!("column {column} of the statement"),
        lines => format!("line {}, column {column} of the statement", lines + 1),
    }
}

impl Finding {
    fn error(path: String, message: impl Into<String>) -> Self {
        Self { path, grave: Grave::Error, message: message.into(), help: None }
    }

    fn help(self, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..self }
    }

    /// What all databases say is not told of each.
    fn problem(self, section: &Section, targets: &[&str], all: usize) -> Problem {
        let message = match targets {
            _ if targets.len() == all => self.message,
            [target] => format!("target {target}: {}", self.message),
            several => format!("targets {}: {}", several.join(", "), self.message),
        };
        let problem = match self.grave {
            Grave::Error => section.error(&self.path, message),
            Grave::Warning => section.warning(&self.path, message),
        };
        match self.help {
            Some(help) => problem.with_help(help),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_statement_counts_characters_and_lines() {
        assert_eq!(line_and_column("select ä, x", 10), "column 11 of the statement");
        assert_eq!(line_and_column("select 1\n  , ä, x\n", 16), "line 2, column 8 of the statement");
        assert_eq!(line_and_column("select\n1", 0), "line 1, column 1 of the statement");
        assert_eq!(line_and_column("", 7), "column 1 of the statement");
    }
}

//! The receiver as a whole: on a scripted source with a stepped clock, and on real databases.

mod connected;
mod databases;
mod log_pages;
mod schedules;
mod tracking;

use std::time::Duration;

use config::{Problems, Section};
use pipeline::collection::{Collected, CollectionDesk, CollectionPort};
use pipeline::inbox::{Inbox, InboxLimits, Port};
use pipeline::outlet::{Outlet, OutletCounts};
use pipeline::testing::{context, lines};
use pipeline::{Batch, BuildContext, Collects, Page, Signals, Stop, Stopper};
use tokio::task::JoinHandle;

use super::*;

const ID: &str = "sql_query/x";

fn checked(yaml: &str) -> Checked {
    check::check(&Section::from_yaml(ID, yaml).unwrap()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn plan_of(checked: Checked) -> SqlPlan {
    SqlPlan { checked, section: Section::empty(ID.parse().unwrap()) }
}

fn problems(yaml: &str) -> Problems {
    match Section::from_yaml(ID, yaml).and_then(|section| check::check(&section)) {
        Ok(checked) => checked.warnings,
        Err(problems) => problems,
    }
}

/// A receiver that runs, with what it sends and what asks it.
struct Running {
    inbox: Inbox,
    port: CollectionPort,
    stopper: Stopper,
    task: JoinHandle<Result<(), Fault>>,
}

impl Running {
    fn start(checked: Checked, sources: Vec<Arc<dyn source::Source>>, change: impl FnOnce(&mut BuildContext)) -> Self {
        let collects = plan_of(checked.clone()).collects();
        let (desk, port) = CollectionDesk::pair(ID, collects);
        let mut context = context(ID);
        context.desk = Some(desk);
        change(&mut context);
        let (send, inbox) = Inbox::new(InboxLimits { batches: 1024, bytes: 1 << 30, ..InboxLimits::default() });
        let (stopper, stop) = Stop::pair();
        let task = tokio::spawn(run(checked, context, sources, outlet(send), stop));
        Self { inbox, port, stopper, task }
    }

    fn on_sqlite(yaml: &str) -> Self {
        let checked = checked(yaml);
        let open = |target| driver::open(&checked, target, pipeline::Clock::system());
        let sources = checked.targets.iter().map(open).collect();
        Self::start(checked, sources, |_| {})
    }

    /// The next batch.
    async fn batch(&mut self) -> Batch {
        self.inbox.next().await.expect("the receiver runs")
    }

    /// The next batch as text: source, page, points; vitals are left out but for `up` and `rows`.
    async fn shown(&mut self) -> String {
        show(&self.batch().await)
    }

    async fn scrape(&self) -> Vec<Collected> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        self.port.collect(deadline).await.expect("the receiver answers")
    }

    async fn stop(self) {
        self.stopper.stop();
        self.task.await.unwrap().unwrap();
    }
}

fn outlet(port: Port) -> Outlet {
    Outlet::new(vec![port.for_signals(Signals::ALL)], OutletCounts::default())
}

fn show(batch: &Batch) -> String {
    let Some(collection) = &batch.collection else { return format!("{} log records", batch.items()) };
    let source = collection.source.to_string();
    let source = source.trim_start_matches(ID);
    let page = match collection.page {
        Page::More => "more".to_owned(),
        Page::Last => "last".to_owned(),
        Page::Failed(how) => format!("failed {how:?}"),
    };
    let mut lines = lines(batch);
    if source.starts_with("#up") {
        lines.retain(|line| ["weir_sql_up", "weir_sql_rows"].iter().any(|name| line.starts_with(name)));
        lines = lines
            .iter()
            .map(|line| line.replace("receiver=\"sql_query/x\"", "").replace(",}", "}").replace(",,", ","))
            .collect();
    }
    format!("{source} {page}: {}", lines.join(" | "))
}

fn messages(yaml: &str) -> Vec<String> {
    let mut found = problems(yaml);
    found.sort();
    found.iter().map(|problem| problem.message.clone()).collect()
}

const ONE: &str = "
driver: sqlite
datasource: x.db
queries:
  - sql: select name, v from t
    metrics: [{metric_name: m, value_column: v, attribute_columns: [name]}]
";

#[test]
fn the_smallest_section_is_enough() {
    let checked = checked(ONE);
    assert_eq!(checked.pace, Pace::Interval { initial_delay: Duration::ZERO });
    assert_eq!((checked.connections, checked.snapshot, checked.self_metrics), (4, false, true));
    let query = &checked.queries[0];
    assert_eq!(
        (query.label.as_str(), query.interval, query.timeout),
        ("0", Duration::from_secs(10), Duration::from_secs(10))
    );
    assert_eq!(query.metrics.max_records, 1_000_000);
    assert!(checked.warnings.is_empty());
}

#[test]
fn the_documentation_is_true() {
    let page = include_str!("../../../docs/receivers/sql_query.md");
    let mut tried = 0;
    for block in page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        let body = block.split_once("sql_query").map_or(block, |(_, rest)| rest.split_once(":\n").unwrap().1);
        // What stands beside the receiver, such as its storage, is for the test that loads whole pages.
        let indent = |line: &str| line.len() - line.trim_start().len();
        let own = indent(body);
        let body: String =
            body.split_inclusive('\n').take_while(|line| line.trim().is_empty() || indent(line) >= own).collect();
        let found = problems(&body);
        // Passwords and certificates are on the reader's machine only.
        let mut wrong =
            found.iter().filter(|problem| !problem.message.ends_with("No such file or directory (os error 2)"));
        assert!(wrong.next().is_none(), "{found}\n{body}");
        tried += 1;
    }
    assert!(tried >= 4, "{tried}");
}

/// The Collector's own words, so that what people grep for is found; see also the corpus of the crate `config`.
#[test]
fn mistakes_are_told_in_the_collectors_words() {
    let with = |key: &str, line: &str| {
        let mut text: Vec<&str> =
            ONE.trim().lines().filter(|known| !known.trim_start_matches("  - ").starts_with(key)).collect();
        text.insert(0, line);
        messages(&text.join("\n"))
    };
    assert_eq!(with("driver", ""), ["'driver' cannot be empty"]);
    assert_eq!(with("driver", "driver: sqlite3"), ["unsupported driver: sqlite3"]);
    assert_eq!(with("driver", "driver: oracle"), ["unsupported driver: oracle is not in this version of weir yet"]);
    assert_eq!(with("datasource", ""), ["'host' or 'datasource' must be specified"]);
    let oracle = "driver: oracle\nhost: db\nqueries: [{sql: s, metrics: [{metric_name: m, value_column: v}]}]";
    assert_eq!(messages(oracle), ["unsupported driver: oracle is not in this version of weir yet"]);
    assert_eq!(
        with("-", "host: h\nport: 5432"),
        ["'host' cannot be set when 'datasource' is specified", "'port' cannot be set when 'datasource' is specified"]
    );
    assert_eq!(messages("driver: sqlite\ndatasource: x\nqueries: []"), ["'queries' cannot be empty"]);
    assert_eq!(
        messages("driver: sqlite\ndatasource: x\nqueries: [{}]"),
        ["'query.sql' cannot be empty", "at least one of 'query.logs' and 'query.metrics' must not be empty"]
    );
    assert_eq!(
        messages("driver: sqlite\ndatasource: x\nqueries: [{sql: s, logs: [{}]}]"),
        ["'body_column' must not be empty"]
    );
    assert_eq!(
        with("-", "storage: file_storage"),
        ["'storage' keeps tracking values, and no query has a 'tracking_column'"]
    );
}

#[test]
fn mistakes_of_targets_name_the_target() {
    let targets = |targets: &str| {
        messages(&format!(
            "driver: sqlite\n{targets}\nqueries: [{{sql: s, metrics: [{{metric_name: m, value_column: v}}]}}]"
        ))
    };
    assert_eq!(targets("targets: [{datasource: a.db}, {name: b, datasource: b.db}]"), [""; 0]);
    assert_eq!(
        targets("datasource: x.db\ntargets: [{datasource: a.db}]"),
        ["'datasource' cannot be set when 'targets' is specified"]
    );
    assert_eq!(
        targets("targets: [{name: a, datasource: a.db}, {name: a, datasource: a.db}]"),
        ["two targets are called 'a', or one has no name"]
    );
    assert_eq!(targets("targets: [{name: a}]"), ["'host' or 'datasource' must be specified"]);
    assert_eq!(targets("datasource: x.db\nsingleton: none"), [""; 0]);
    let db_lock = "'singleton: db_lock' needs a database server: a file has no locks that outlive a read";
    assert_eq!(targets("datasource: x.db\nsingleton: db_lock"), [db_lock]);
    assert_eq!(targets("datasource: x.db\nlock_file: y"), ["'lock_file' needs 'singleton: file_lock'"]);
    let lease = ["'lock_lease' must be from 2s to 10m", "'lock_lease' needs 'singleton: db_lock'"];
    let mut found = targets("datasource: x.db\nsingleton: file_lock\nlock_lease: 1s");
    found.sort();
    assert_eq!(found, lease);
    assert_eq!(targets("datasource: x.db\nsingleton: file_lock\nlock_file: ''"), ["'lock_file' cannot be empty"]);
    assert_eq!(targets("datasource: x.db\nsession: [set a = 1]"), ["'session' needs the driver postgres or mysql"]);
}

#[cfg(feature = "sql-postgres")]
#[test]
fn a_server_is_named_in_one_way() {
    let server = |keys: &str| {
        messages(&format!(
            "driver: postgres\n{keys}\nqueries: [{{sql: s, metrics: [{{metric_name: m, value_column: v}}]}}]"
        ))
    };
    assert_eq!(server("datasource: postgres://a@db/x"), [""; 0]);
    assert_eq!(server("host: db\ndatabase: x\nusername: a\nadditional_params: {sslmode: disable}"), [""; 0]);
    assert_eq!(
        server("datasource: postgres://a@db/x?sslrootcert=/nowhere/ca.pem\npassword_file: /nowhere/password"),
        [
            "TLS cannot be set up: sslrootcert: cannot read /nowhere/ca.pem: No such file or directory (os error 2)",
            "'password_file' /nowhere/password cannot be read: No such file or directory (os error 2)"
        ]
    );
    assert_eq!(server("datasource: postgres://a@db/x?sslrootcert=/nowhere/ca.pem&sslmode=disable"), [""; 0]);
    assert_eq!(server("host: db"), ["'database' or 'datasource' must be specified"]);
    assert_eq!(server("host: db\ndatabase: x"), ["no user is named"]);
    assert_eq!(
        server("datasource: postgres://a@db/x\nport: 1"),
        ["'port' cannot be set when 'datasource' is specified"]
    );
    assert_eq!(
        server("datasource: postgres://a:p@db/x\npassword_file: f"),
        ["'password_file' cannot be set when the password is written"]
    );
    assert_eq!(
        server("datasource: postgres://a@db/x\nsession: [set a = $$1]"),
        ["'session' has parameters, which come from 'for_each'"]
    );
    assert_eq!(server("datasource: postgres://a@db/x\nfor_each: {sql: s}\nsession: [set a = $$1]"), [""; 0]);
    assert_eq!(
        server("datasource: postgres://a@db/x\nfor_each: {timeout: 0s, max_rows: 0}"),
        [
            "'for_each.sql' cannot be empty, or hold a NUL byte",
            "'timeout' must be positive",
            "'max_rows' must be at least 1"
        ]
    );
    assert_eq!(
        server("datasource: postgres://a@db/x\nsession: [drop table t]"),
        ["'session' holds a statement that sets nothing"]
    );
}

#[tokio::test]
async fn targets_are_read_with_the_same_queries_and_told_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    for name in ["a", "b"] {
        let setup = format!("create table t(v); insert into t values ('{name}')");
        rusqlite::Connection::open(folder.path().join(name)).unwrap().execute_batch(&setup).unwrap();
    }
    let path = folder.path().display();
    let mut running = Running::on_sqlite(&format!(
        "driver: sqlite
collection: on_scrape
resource_attributes: {{site: here, kind: app}}
targets: [{{name: one, datasource: {path}/a, resource_attributes: {{site: there}}}}, {{name: two, datasource: {path}/b}}, {{name: three, datasource: {path}/c}}]
queries: [{{sql: select v from t, metrics: [{{metric_name: m, data_type: info, attribute_columns: [v]}}]}}]
"
    ));
    running.scrape().await;
    let mut shown = Vec::new();
    for _ in 0..4 {
        let batch = running.batch().await;
        let resources: Vec<String> = match batch.metrics() {
            Some(metrics) => metrics
                .points
                .iter()
                .map(|point| format!("{:?}", metrics.series(point.series).identity().origin.resource))
                .collect(),
            None => Vec::new(),
        };
        shown.push(format!("{} {}", show(&batch), resources.first().cloned().unwrap_or_default()));
    }
    shown.sort();
    let here = r#"{"kind": Str("app"), "site": Str("here")}"#;
    let there = r#"{"kind": Str("app"), "site": Str("there")}"#;
    assert_eq!(shown[1], format!("@one#0 last: m{{v=\"a\"}} Int(1) {there}"));
    assert_eq!(shown[2], "@three#0 failed Omit:  ");
    assert_eq!(shown[3], format!("@two#0 last: m{{v=\"b\"}} Int(1) {here}"));
    for (target, up) in [("one", 1), ("two", 1), ("three", 0)] {
        assert!(
            shown[0].contains(&format!("weir_sql_up{{query=\"0\",target=\"{target}\"}} Int({up})")),
            "{}",
            shown[0]
        );
    }
    running.stop().await;
}

fn metric(keys: &str) -> Vec<String> {
    messages(&format!("driver: sqlite\ndatasource: x\nqueries: [{{sql: s, metrics: [{{{keys}}}]}}]"))
}

#[test]
fn mistakes_of_metrics_name_the_metric() {
    let of = |message: &str| vec![format!("{message} (invalid metric config with metric_name 'm')")];
    assert_eq!(metric("value_column: v"), ["'metric_name' cannot be empty"]);
    assert_eq!(metric("metric_name: m"), of("'value_column' cannot be empty"));
    let typed = |keys: &str| metric(&format!("metric_name: m, value_column: v, {keys}"));
    assert_eq!(typed("data_type: gauge2"), of("metric config has unsupported data_type: 'gauge2'"));
    assert_eq!(typed("value_type: float"), of("metric config has unsupported value_type: 'float'"));
    assert_eq!(typed("data_type: sum, aggregation: total"), of("metric config has unsupported aggregation: 'total'"));
    let unnecessary = of("aggregation=delta but data_type=gauge does not support aggregation");
    assert_eq!(typed("data_type: gauge, aggregation: delta"), unnecessary);
    assert_eq!(typed("state: {column: s}"), of("'state' needs data_type: stateset"));
    assert_eq!(typed("data_type: updowncounter, monotonic: true"), of("'monotonic' needs data_type: sum"));
    assert_eq!(metric("metric_name: m, data_type: stateset"), of("'state' cannot be empty for data_type: stateset"));
    assert_eq!(
        metric("metric_name: m, data_type: stateset, attribute_columns: [s], state: {column: s, states: [a, a]}"),
        [of("'s' names the state and cannot be another attribute too"), of("the state 'a' stands twice")].concat()
    );
    assert_eq!(
        metric("metric_name: m, data_type: histogram"),
        [
            of("'bucket_columns' cannot be empty for data_type: histogram"),
            of("'count_column' cannot be empty for data_type: histogram")
        ]
        .concat()
    );
    assert_eq!(
        metric("metric_name: m, data_type: histogram, count_column: n, bucket_columns: {x: a, \"1\": b, \"1.0\": c}"),
        [of("'bucket_columns' has one upper bound twice"), of("'x' is no upper bound")].concat()
    );
    assert_eq!(typed("attribute_columns: [a, a]"), ["the column 'a' stands twice"]);
    assert_eq!(typed("null_attributes: {a: x}"), of("'a' is none of the 'attribute_columns'"));
}

#[test]
fn all_problems_of_a_section_come_at_once_with_their_places() {
    let found = problems(
        "driver: sqlight\ncollection: on_scrape\ncollection_interval: 10s\nqueries:\n  - sql: s\n    collection_interval: 1s\n    \
         overlap: 5m\n    max_rows: 0\n    metrics:\n      - metric_name: m\n",
    );
    let mut told: Vec<_> = found
        .iter()
        .map(|problem| (problem.place.map(|place| place.line).unwrap_or(0), problem.path.replace("sql_query/x::", "")))
        .collect();
    told.sort();
    assert_eq!(
        told.iter().map(|(line, path)| (*line, path.as_str())).collect::<Vec<_>>(),
        [
            (1, "datasource"),
            (1, "driver"),
            (3, "collection_interval"),
            (6, "queries[0]::collection_interval"),
            (7, "queries[0]::overlap"),
            (8, "queries[0]::max_rows"),
            (10, "queries[0]::metrics[0]::value_column")
        ]
    );
}

#[test]
fn the_example_of_the_issue_is_understood() {
    let found = problems(
        "driver: sqlite
datasource: /data/cb.db
collection: on_scrape
min_interval: 0s
consistency: snapshot
on_failure: omit
queries:
  - sql: select 1
    timeout: 10s
    max_rows: 1000000
    metrics:
      - metric_name: x
        value_column: v
        value_type: number
        data_type: stateset
        state: {column: s, label: status, states: [a, b], encoding: all, unknown: zeros}
        attribute_columns: [name, env]
        null: omit
        null_attributes: {env: \"\", kind: unknown}
        on_duplicate: last
",
    );
    assert!(!found.has_errors(), "{found}");
    assert_eq!(found.len(), 3, "{found}");
}

#[test]
fn signals_follow_what_the_queries_make() {
    let signals = |yaml: &str| plan_of(checked(yaml)).signals();
    assert_eq!(signals(ONE), Signals::METRICS);
    let logs = "driver: sqlite\ndatasource: x\nqueries: [{sql: s, logs: [{body_column: b}]}]\n";
    assert_eq!(signals(logs), Signals::METRICS.with(Signals::LOGS));
    assert_eq!(signals(&format!("{logs}self_metrics: false\n")), Signals::LOGS);
    assert_eq!(plan_of(checked(ONE)).collects(), Collects::Interval);
}

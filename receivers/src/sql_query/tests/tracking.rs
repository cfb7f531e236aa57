//! Queries that read only what is new: the cursor, what moves it, and what new rows add up to.

use std::path::Path;

use pdata::Value;
use pipeline::Verdict;
use pipeline::state::Offline;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A database, a state folder, and the section that goes with them.
struct House {
    folder: TempDir,
    yaml: String,
}

const TABLE: &str = "create table t(id integer primary key, at text, body text, kind text, ms integer)";

/// Logs of a table by its id.
const BY_ID: &str = "
  - name: events
    sql: select id, body from t where id > ? order by id
    tracking_column: id
    tracking_start_value: 0
    logs: [{body_column: body}]
";

impl House {
    fn new(queries: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch(TABLE).unwrap();
        let yaml = format!(
            "driver: sqlite\ndatasource: {}\nself_metrics: false\ncollection_interval: 20ms\ntimeout: 10s\nstorage: file_storage\nqueries:{queries}",
            path.display()
        );
        Self { folder, yaml }
    }

    fn execute(&self, sql: &str) {
        let connection = Connection::open(self.folder.path().join("x.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn insert(&self, bodies: &[&str]) {
        bodies.iter().for_each(|body| self.execute(&format!("insert into t(body) values ('{body}')")));
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn start(&self) -> (Running, pipeline::Meters) {
        self.start_as(&self.yaml, |_| {})
    }

    fn start_as(&self, yaml: &str, change: impl FnOnce(&mut BuildContext)) -> (Running, pipeline::Meters) {
        let checked = checked(yaml);
        let open = |target| driver::open(&checked, target, pipeline::Clock::system());
        let sources = checked.targets.iter().map(open).collect();
        let (state, mut meters) = (self.state(), None);
        let running = Running::start(checked, sources, |context| {
            context.state = Some(state);
            change(context);
            meters = Some(context.meters.clone());
        });
        (running, meters.unwrap())
    }

    fn cursors(&self) -> Vec<(String, String)> {
        let cursors = Offline::open(&self.state()).unwrap().cursors().unwrap();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        cursors.into_iter().map(|cursor| (cursor.key.into(), text(&cursor.value))).collect()
    }
}

fn bodies(batch: &Batch) -> Vec<String> {
    let records = &batch.logs().expect("a page of log records").records;
    let body = |record: &pdata::LogRecord| match &record.body {
        Value::Str(body) => body.to_string(),
        other => format!("{other:?}"),
    };
    records.iter().map(body).collect()
}

/// The bodies of the next page, which ends like this.
async fn page(running: &mut Running, verdict: Verdict) -> Vec<String> {
    let page = tokio::time::timeout(Duration::from_secs(10), running.batch()).await.expect("a page comes");
    let bodies = bodies(&page);
    page.settle(verdict);
    bodies
}

async fn delivered(running: &mut Running) -> Vec<String> {
    page(running, Verdict::Delivered).await
}

/// Whether nothing is sent for some reads.
async fn is_quiet(running: &mut Running) -> bool {
    tokio::time::timeout(Duration::from_millis(150), running.batch()).await.is_err()
}

fn failed(meters: &pipeline::Meters, reason: &str) -> u64 {
    let of = |labels: &pipeline::meter::Labels| labels.iter().any(|(key, value)| *key == "reason" && value == reason);
    let counts = meters.counts().into_iter();
    counts.filter(|(name, labels, _)| *name == "weir_sql_failed_reads" && of(labels)).map(|(.., value)| value).sum()
}

async fn until_failed(meters: &pipeline::Meters, reason: &str) {
    let began = tokio::time::Instant::now();
    while failed(meters, reason) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "no read failed because of {reason}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_row_leaves_once_across_restarts_and_with_another_statement() {
    let house = House::new(BY_ID);
    house.insert(&["a", "b"]);
    let (mut running, _) = house.start();
    assert_eq!(delivered(&mut running).await, ["a", "b"]);
    house.insert(&["c"]);
    assert_eq!(delivered(&mut running).await, ["c"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
    assert_eq!(house.cursors(), [("events".into(), r#"{"columns":["id"],"types":["int"],"at":[3]}"#.into())]);
    house.insert(&["d"]);
    let other = house.yaml.replace("select id, body from t", "select id, upper(body) as body from t");
    let (mut running, _) = house.start_as(&other, |_| {});
    assert_eq!(delivered(&mut running).await, ["D"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
}

#[tokio::test]
async fn only_what_is_lost_is_read_again() {
    let house = House::new(BY_ID);
    house.insert(&["a"]);
    let (mut running, meters) = house.start();
    assert_eq!(page(&mut running, Verdict::Lost).await, ["a"]);
    house.insert(&["b"]);
    let mut again = page(&mut running, Verdict::Discarded).await;
    while again.len() < 2 {
        again.extend(delivered(&mut running).await);
    }
    assert_eq!((again, failed(&meters, "lost")), (vec!["a".to_owned(), "b".to_owned()], 1));
    house.insert(&["c"]);
    assert_eq!(page(&mut running, Verdict::Rejected).await, ["c"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
}

#[tokio::test]
async fn a_page_after_a_lost_one_does_not_move_the_cursor() {
    let house = House::new(BY_ID);
    house.execute("with recursive r(n) as (select 1 union all select n + 1 from r where n < 5000) insert into t(body) select n from r");
    let (mut running, _) = house.start();
    let first = running.batch().await;
    let second = running.batch().await;
    let rows = first.items();
    second.settle(Verdict::Delivered);
    first.settle(Verdict::Lost);
    // What was under way behind it, and then the read from the beginning.
    let mut bodies = delivered(&mut running).await;
    while bodies.first().is_none_or(|body| body != "1") {
        bodies = delivered(&mut running).await;
    }
    assert_eq!(bodies.len(), rows);
    running.stop().await;
}

#[tokio::test]
async fn without_storage_the_cursor_lives_in_memory() {
    let house = House::new(BY_ID);
    house.insert(&["a"]);
    let yaml = house.yaml.replace("storage: file_storage\n", "");
    assert_eq!(
        messages(&yaml),
        ["without 'storage' the tracking value is forgotten when the agent ends, and all rows are sent again"]
    );
    let (mut running, _) = house.start_as(&yaml, |context| context.state = None);
    assert_eq!(delivered(&mut running).await, ["a"]);
    house.insert(&["b"]);
    assert_eq!(delivered(&mut running).await, ["b"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
    assert!(!house.state().exists());
}

#[tokio::test]
async fn several_columns_and_times_as_text_are_tracked_as_a_row() {
    let house = House::new(
        "
  - name: events
    sql: select at, id, body from t where (at, id) > (?, ?) order by at, id limit 2
    tracking_column: [{name: at, type: timestamp}, id]
    tracking_start_value: ['1970-01-01', 0]
    logs: [{body_column: body, ts_column: at}]
",
    );
    for (id, at) in [(1, "01"), (2, "01"), (3, "01"), (4, "02"), (5, "02")] {
        house.execute(&format!("insert into t(id, at, body) values ({id}, '2026-01-{at} 00:00:00', '{id}')"));
    }
    let (mut running, _) = house.start();
    for expected in [vec!["1", "2"], vec!["3", "4"], vec!["5"]] {
        assert_eq!(delivered(&mut running).await, expected);
    }
    assert!(is_quiet(&mut running).await);
    running.stop().await;
}

#[tokio::test]
async fn a_read_ends_at_max_rows_and_the_next_goes_on() {
    let house = House::new(&BY_ID.replace("tracking_column: id", "tracking_column: id\n    max_rows: 2"));
    house.insert(&["a", "b", "c", "d", "e"]);
    let (mut running, meters) = house.start();
    for expected in [vec!["a", "b"], vec!["c", "d"], vec!["e"]] {
        assert_eq!(delivered(&mut running).await, expected);
    }
    assert_eq!(failed(&meters, "limit"), 0);
    running.stop().await;
}

#[tokio::test]
async fn rows_without_an_order_move_the_cursor_at_the_end() {
    let house = House::new(&BY_ID.replace("from t where id > ? order by id", "from t where id > ? group by body"));
    house.execute("insert into t(id, body) values (5, 'a'), (2, 'c'), (4, 'b')");
    let (mut running, _) = house.start();
    assert_eq!(delivered(&mut running).await, ["a", "b", "c"]);
    house.execute("insert into t(id, body) values (6, 'f')");
    assert_eq!(delivered(&mut running).await, ["f"]);
    running.stop().await;
}

#[tokio::test]
async fn rows_out_of_order_stop_the_query_and_put_the_cursor_back() {
    let house = House::new(&BY_ID.replace("order by id", "order by body"));
    house.execute("insert into t(id, body) values (1, 'a')");
    let (mut running, meters) = house.start();
    assert_eq!(delivered(&mut running).await, ["a"]);
    house.execute("insert into t(id, body) values (3, 'b'), (2, 'c')");
    until_failed(&meters, "data").await;
    house.insert(&["d"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
    assert!(house.cursors()[0].1.contains(r#""at":[1]"#), "{:?}", house.cursors());
    let (mut running, _) = house.start_as(&house.yaml.replace("order by body", "order by id"), |_| {});
    assert_eq!(delivered(&mut running).await, ["c", "b", "d"]);
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_of_other_columns_is_not_read_from() {
    let house = House::new(BY_ID);
    house.insert(&["a"]);
    let (mut running, _) = house.start();
    assert_eq!(delivered(&mut running).await, ["a"]);
    running.stop().await;
    house.insert(&["b"]);
    for change in [
        ("tracking_column: id", "tracking_column: {name: id, type: uuid}"),
        ("tracking_column: id", "tracking_column: body"),
    ] {
        let yaml =
            house.yaml.replace(change.0, change.1).replace("value: 0", "value: 00000000-0000-0000-0000-000000000000");
        let (mut running, meters) = house.start_as(&yaml, |_| {});
        until_failed(&meters, "storage").await;
        assert!(is_quiet(&mut running).await);
        running.stop().await;
    }
    let (mut running, _) = house.start_as(&house.yaml.replace("name: events", "name: anew"), |_| {});
    assert_eq!(delivered(&mut running).await, ["a", "b"]);
    running.stop().await;
}

#[tokio::test]
async fn an_overlap_meets_late_rows_once_and_knows_the_others_after_a_restart() {
    let house = House::new(&BY_ID.replace("start_value: 0", "start_value: 0\n    overlap: 5\n    key_columns: [id]"));
    house.execute("insert into t(id, body) values (1, 'a'), (4, 'd')");
    let (mut running, _) = house.start();
    assert_eq!(delivered(&mut running).await, ["a", "d"]);
    house.execute("insert into t(id, body) values (3, 'c')");
    assert_eq!(delivered(&mut running).await, ["c"]);
    running.stop().await;
    house.execute("insert into t(id, body) values (2, 'b'), (5, 'e')");
    let (mut running, meters) = house.start();
    assert_eq!(delivered(&mut running).await, ["b", "e"]);
    assert!(is_quiet(&mut running).await);
    running.stop().await;
    let repeated = meters.counts().into_iter().filter(|(name, ..)| *name == "weir_sql_repeated_rows");
    assert!(repeated.map(|(.., value)| value).sum::<u64>() >= 3);
    // The naive way misses it.
    house.execute("delete from t");
    let house = House::new(BY_ID);
    house.execute("insert into t(id, body) values (4, 'd')");
    let (mut running, _) = house.start();
    assert_eq!(delivered(&mut running).await, ["d"]);
    house.execute("insert into t(id, body) values (3, 'c')");
    assert!(is_quiet(&mut running).await);
    running.stop().await;
}

#[tokio::test]
async fn queries_of_a_snapshot_have_cursors_of_their_own_and_are_stopped_alone() {
    let wrong = BY_ID.replace("name: events", "name: wrong").replace("order by id", "order by body");
    let house = House::new(&format!("{BY_ID}{}", wrong.trim_start_matches('\n')));
    house.execute("insert into t(id, body) values (1, 'b'), (2, 'a')");
    let (mut running, meters) = house.start_as(&format!("{}consistency: snapshot\n", house.yaml), |_| {});
    assert_eq!(delivered(&mut running).await, ["b", "a"]);
    until_failed(&meters, "data").await;
    for body in ["c", "d"] {
        house.insert(&[body]);
        assert_eq!(delivered(&mut running).await, [body]);
    }
    running.stop().await;
    assert_eq!(house.cursors(), [("events".into(), r#"{"columns":["id"],"types":["int"],"at":[4]}"#.into())]);
}

#[tokio::test]
async fn a_query_that_waits_for_its_destination_keeps_no_other_of_its_snapshot_from_sending() {
    let counting = "
  - sql: select count(*) as n from t
    metrics: [{metric_name: rows, value_column: n}]
";
    let house = House::new(&format!("{BY_ID}{}", counting.trim_start_matches('\n')));
    house.insert(&["a"]);
    let (mut running, _) = house.start_as(&format!("{}consistency: snapshot\n", house.yaml), |_| {});
    let held = running.batch().await;
    assert_eq!(bodies(&held), ["a"]);
    assert_eq!(running.shown().await, "#1 last: rows{} Int(1)");
    held.settle(Verdict::Delivered);
    running.stop().await;
}

const COUNTED: &str = "
  - name: jobs
    sql: select id, kind, ms from t where id > ? order by id
    tracking_column: id
    tracking_start_value: 0
    metrics:
      - {metric_name: jobs_total, new_rows: count, attribute_columns: [kind]}
      - {metric_name: job_ms_total, new_rows: add, value_column: ms}
      - {metric_name: job_ms, new_rows: observe, value_column: ms, buckets: [10, 100]}
";

fn listed(state: &Path) -> Vec<String> {
    let series = Offline::open(state).unwrap().series().unwrap();
    let line = |listed: pipeline::state::Listed| {
        let attributes = listed.series.attributes();
        format!("{} {attributes:?} {:?}", listed.series.metric().name, listed.standing.value())
    };
    let mut lines: Vec<_> = series.into_iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn new_rows_add_up_across_restarts() {
    let house = House::new(COUNTED);
    house.execute("insert into t(kind, ms) values ('a', 5), ('b', 50), ('a', 500)");
    let (mut running, _) = house.start();
    let mut shown = running.shown().await;
    while !shown.contains("jobs_total{kind=\"b\"} Int(1)") {
        shown = running.shown().await;
    }
    assert!(shown.contains("jobs_total{kind=\"a\"} Int(2)"), "{shown}");
    running.stop().await;
    house.execute("insert into t(kind, ms) values ('a', 7), ('a', null)");
    let (running, _) = house.start();
    let began = tokio::time::Instant::now();
    while !house.cursors()[0].1.contains("[5]") {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    let found = listed(&house.state());
    assert!(found[0].starts_with("job_ms {}") && found[0].contains("counts: [2, 1, 1]"), "{found:?}");
    assert_eq!(
        found[1..],
        [
            "job_ms_total {} Int(562)",
            r#"jobs_total {"kind": Str("a")} Int(4)"#,
            r#"jobs_total {"kind": Str("b")} Int(1)"#,
        ]
    );
}

#[tokio::test]
async fn run_once_neither_reads_tracked_queries_nor_moves_their_cursors() {
    let house = House::new(COUNTED);
    house.execute("insert into t(kind, ms) values ('a', 5)");
    let (mut running, _) = house.start_as(&house.yaml, |context| context.once = true);
    assert!(tokio::time::timeout(Duration::from_secs(5), running.port.wait_first_round()).await.unwrap().is_some());
    assert!(is_quiet(&mut running).await);
    running.stop().await;
    assert!(!house.state().exists());
}

#[tokio::test]
async fn a_cursor_under_a_newer_token_stops_the_reading_until_the_token_is_newer_still() {
    use super::super::track::keeper::CursorKeeper;
    let house = House::new(BY_ID);
    let context = context(ID);
    let options = pipeline::state::LedgerOptions::default();
    let ledger =
        Ledger::open(&house.state(), ID, options, &context.clock, &context.table, &context.meters, &context.health)
            .unwrap();
    let tracking = checked(&house.yaml).queries[0].tracking.clone().unwrap();
    let mut keeper = CursorKeeper::new("events", tracking.clone(), Some(ledger.clone()));
    let step = |id| super::super::track::Step {
        mark: Some((vec![super::super::track::mark::Mark::Int(id)], vec![super::super::track::mark::MarkType::Int])),
        ..Default::default()
    };
    keeper.begin(7).unwrap();
    keeper.save(step(1), pipeline::state::Entry::new()).await.unwrap();
    let mut overtaken = CursorKeeper::new("events", tracking, Some(ledger));
    overtaken.begin(6).unwrap();
    let error = overtaken.save(step(2), pipeline::state::Entry::new()).await.unwrap_err();
    assert_eq!(error.reason, source::Reason::Overtaken);
    assert_eq!(overtaken.begin(6).unwrap_err().reason, source::Reason::Overtaken);
    assert_eq!(*overtaken.begin(8).unwrap().parameters, [Some("1".into())]);
    overtaken.save(step(2), pipeline::state::Entry::new()).await.unwrap();
}

#[test]
fn mistakes_of_tracking_are_told_with_what_would_do() {
    let told = |keys: &str| {
        messages(&format!(
            "driver: sqlite\ndatasource: x\nstorage: file_storage\nqueries:\n  - {{name: q, sql: select 1 where 1 > ? order by id, {keys}}}"
        ))
    };
    const IDLE: &str = "'storage' keeps tracking values, and no query has a 'tracking_column'";
    let logs = "logs: [{body_column: b}], tracking_column: id";
    let good = format!("{logs}, tracking_start_value: 0");
    assert_eq!(told(&good), [""; 0]);
    assert_eq!(told(logs), ["'tracking_start_value' cannot be empty beside 'tracking_column'"]);
    assert_eq!(
        told(&format!("{logs}, tracking_start_value: [0, 1]")),
        ["'tracking_start_value' has 2 values and 'tracking_column' 1"]
    );
    let typed = |of: &str, start: &str| {
        told(&format!(
            "logs: [{{body_column: b}}], tracking_column: {{name: id, type: {of}}}, tracking_start_value: {start}"
        ))
    };
    assert_eq!(typed("int", "x"), ["\"x\" is no int, which 'id' is"]);
    assert_eq!(typed("number", "0"), ["a tracking column has no such type"]);
    assert_eq!(typed("timestamp", "2026-01-01"), [""; 0]);
    assert_eq!(
        told("logs: [{body_column: b}], overlap: 5m, key_columns: [id]"),
        [IDLE, "'overlap' needs a 'tracking_column'", "'key_columns' needs a 'tracking_column'"]
    );
    let with = |keys: &str| told(&format!("{good}, {keys}"));
    assert_eq!(with("overlap: 5m"), ["'key_columns' cannot be empty beside 'overlap'"]);
    assert_eq!(with("overlap: soon, key_columns: [id]"), ["'overlap' must be a time such as 5m, or a number of ids"]);
    assert_eq!(with("overlap: 100, key_columns: [id], max_keys: 1"), ["'max_keys' must be from 1000 to 2700000"]);
    assert_eq!(with("key_columns: [id]"), ["'key_columns' needs an 'overlap'"]);
    assert_eq!(with("late_commits: xmin"), ["'late_commits: xmin' needs the driver postgres"]);
    assert_eq!(with("late_commits: never"), ["'late_commits' cannot be 'never'"]);
    assert_eq!(with("expect_rows: true"), ["'expect_rows' would fail every read that finds nothing new"]);
    assert_eq!(
        with("metrics: [{metric_name: m, value_column: v}]"),
        ["a metric of a query with 'tracking_column' sees new rows only, and needs 'new_rows'"]
    );
    let metric = |keys: &str| with(&format!("metrics: [{{metric_name: m, {keys}}}]"));
    let of = |message: &str| vec![format!("{message} (invalid metric config with metric_name 'm')")];
    assert_eq!(metric("new_rows: count"), [""; 0]);
    assert_eq!(metric("new_rows: sum"), of("metric config has unsupported new_rows: 'sum'"));
    assert_eq!(metric("new_rows: count, value_column: v"), of("'value_column' means nothing beside 'new_rows: count'"));
    assert_eq!(metric("new_rows: add"), of("'value_column' cannot be empty"));
    assert_eq!(
        metric("new_rows: add, value_column: v, data_type: gauge"),
        of("data_type=gauge does not go with new_rows=add")
    );
    assert_eq!(
        metric("new_rows: add, value_column: v, aggregation: delta"),
        of("what 'new_rows' counts is cumulative")
    );
    assert_eq!(
        metric("new_rows: observe, value_column: v"),
        of("'buckets' must be numbers that rise, for 'new_rows: observe'")
    );
    assert_eq!(
        metric("new_rows: observe, value_column: v, buckets: [2, 1]"),
        of("'buckets' must be numbers that rise, for 'new_rows: observe'")
    );
    assert_eq!(
        metric("new_rows: count, on_duplicate: sum"),
        of("'on_duplicate' means nothing beside 'new_rows: count'")
    );
    assert_eq!(metric("new_rows: count, ts_column: at"), of("'ts_column' means nothing beside 'new_rows: count'"));
    assert_eq!(told("metrics: [{metric_name: m, new_rows: count}]"), [IDLE, "'new_rows' needs a 'tracking_column'"]);
}

#[test]
fn what_tracking_cannot_stand_beside_is_told() {
    let told = |receiver: &str, sql: &str| {
        messages(&format!(
            "driver: sqlite\ndatasource: x\n{receiver}\nqueries:\n  - {{name: q, sql: {sql:?}, tracking_column: id, tracking_start_value: 0, metrics: [{{metric_name: m, new_rows: count}}]}}"
        ))
    };
    let sql = "select id from t where id > ? order by id";
    assert_eq!(told("storage: file_storage", sql), [""; 0]);
    assert_eq!(told("", sql), ["'new_rows' needs a 'storage': a counter that forgets is none"]);
    assert_eq!(told("storage: file_storage\nconsistency: snapshot", sql), [""; 0]);
    assert_eq!(
        told("storage: file_storage\ncollection: on_scrape", sql),
        ["'tracking_column' cannot be read on a scrape"]
    );
    assert_eq!(
        told("storage: file_storage", "select id from t where id > ?"),
        ["the rows must be ordered by 'tracking_column'"]
    );
    assert_eq!(told("storage: file_storage", "select id from t order by id"), [source::NO_PARAMETER]);
    assert_eq!(told("storage: 'a b'", sql), ["'a b' is no id of an extension"]);
}

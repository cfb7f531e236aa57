//! The receiver on real databases.

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A folder with the database `x.db`, and the section that reads it.
fn database(setup: &str, section: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.db");
    Connection::open(&path).unwrap().execute_batch(setup).unwrap();
    let yaml = format!("driver: sqlite\ndatasource: {}\n{section}", path.display());
    (folder, yaml)
}

/// What one scrape shows: lines of all sources but the vitals, sorted.
async fn scraped(running: &mut Running) -> Vec<String> {
    let collected = running.scrape().await;
    let mut all = Vec::new();
    for _ in &collected {
        let batch = running.batch().await;
        assert_eq!(batch.collection.as_ref().unwrap().page, Page::Last, "{}", show(&batch));
        all.extend(lines(&batch).into_iter().filter(|line| !line.starts_with("weir_sql_")));
    }
    all.sort();
    all
}

const SERVICES: &str = "
collection: on_scrape
consistency: snapshot
queries:
  - sql: select kind, gb from storage union all select null, 0
    metrics:
      - {metric_name: gb_total, value_column: gb, value_type: number, on_duplicate: sum}
      - {metric_name: gb_by_kind, value_column: gb, value_type: number, attribute_columns: [kind],
         null_attributes: {kind: unknown}, on_duplicate: sum}
  - sql: select name, env, status from services order by id
    metrics:
      - metric_name: service_status
        data_type: stateset
        state: {column: status, states: [running, stopped]}
        attribute_columns: [name, env]
        null_attributes: {env: \"\"}
";

#[tokio::test]
async fn a_scrape_shows_the_database_as_it_is_now() {
    let setup = "pragma journal_mode = wal;
        create table storage(kind text, gb integer); create table services(id integer primary key, name text, env text, status text);
        insert into storage values ('disk', 4611686018427387904), ('disk', 4611686018427387903), (null, 1), ('', 0.25), ('unknown', 2);
        insert into services(name, env, status) values ('a', null, 'running'), ('a', '', 'stopped'), ('b', 'x', 'lost')";
    let (folder, yaml) = database(setup, SERVICES);
    let mut running = Running::on_sqlite(&yaml);
    assert_eq!(
        scraped(&mut running).await,
        [
            "gb_by_kind{kind=\"disk\"} Int(9223372036854775807)",
            "gb_by_kind{kind=\"unknown\"} Double(3.25)",
            "gb_total{} Double(9.223372036854776e18)",
            "service_status{env=\"\",name=\"a\",status=\"running\"} Int(0)",
            "service_status{env=\"\",name=\"a\",status=\"stopped\"} Int(1)",
            "service_status{env=\"x\",name=\"b\",status=\"running\"} Int(0)",
            "service_status{env=\"x\",name=\"b\",status=\"stopped\"} Int(0)",
        ]
    );
    let writer = Connection::open(folder.path().join("x.db")).unwrap();
    writer.execute_batch("delete from services where name = 'b'; delete from storage").unwrap();
    assert_eq!(
        scraped(&mut running).await,
        [
            "gb_by_kind{kind=\"disk\"} end",
            "gb_by_kind{kind=\"unknown\"} Int(0)",
            "gb_total{} Int(0)",
            "service_status{env=\"\",name=\"a\",status=\"running\"} Int(0)",
            "service_status{env=\"\",name=\"a\",status=\"stopped\"} Int(1)",
            "service_status{env=\"x\",name=\"b\",status=\"running\"} end",
            "service_status{env=\"x\",name=\"b\",status=\"stopped\"} end",
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_large_result_comes_in_pages_of_one_sequence() {
    let section = "
queries:
  - sql: with recursive c(n) as (select 1 union all select n + 1 from c limit 10000) select n from c
    metrics: [{metric_name: m, value_column: n, attribute_columns: [n]}]
";
    let (_folder, yaml) = database("create table t(v)", section);
    let mut running = Running::on_sqlite(&yaml);
    let mut pages = Vec::new();
    for _ in 0..3 {
        let batch = running.batch().await;
        let collection = batch.collection.clone().unwrap();
        pages.push((batch.items(), collection.page, collection.sequence));
    }
    let sequence = pages[0].2;
    assert_eq!(pages, [(4096, Page::More, sequence), (4096, Page::More, sequence), (1808, Page::Last, sequence)]);
    running.stop().await;
}

#[tokio::test]
async fn rows_become_log_records() {
    let section = "
resource_attributes: {service.name: shop}
queries:
  - sql: select body, kind from t
    resource_attribute_columns: [kind]
    logs: [{body_column: body, attribute_columns: [kind]}]
";
    let setup = "create table t(body, kind); insert into t values ('one', 'a'), (2, null)";
    let (_folder, yaml) = database(setup, section);
    let mut running = Running::on_sqlite(&yaml);
    let batch = running.batch().await;
    assert!(batch.collection.is_none());
    let shown: Vec<_> = batch
        .logs()
        .unwrap()
        .records
        .iter()
        .map(|record| format!("{} {:?} {:?}", record.body, record.attributes, record.origin.resource))
        .collect();
    assert_eq!(
        shown,
        [
            r#"one {"kind": Str("a")} {"kind": Str("a"), "service.name": Str("shop")}"#,
            r#"2 {} {"service.name": Str("shop")}"#
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn histograms_come_from_cumulative_columns() {
    let section = "
queries:
  - sql: select count(*) filter (where s <= 0.5) as le_05, count(*) filter (where s <= 1) as le_1, count(*) as n, sum(s) as total from t
    metrics:
      - metric_name: duration_seconds
        data_type: histogram
        bucket_columns: {\"0.5\": le_05, 1: le_1, \"+Inf\": n}
        sum_column: total
";
    let (_folder, yaml) = database("create table t(s); insert into t values (0.25), (0.5), (0.75), (4)", section);
    let mut running = Running::on_sqlite(&yaml);
    assert_eq!(
        running.shown().await,
        "#0 last: duration_seconds{} Histogram(Histogram { count: 4, sum: Some(5.5), min: None, max: None, bounds: [0.5, 1.0], \
         counts: [2, 1, 1] })"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_missing_column_fails_its_query_and_not_the_others() {
    let section = "
queries:
  - name: wrong
    sql: select 1 as v
    metrics: [{metric_name: m, value_column: w}]
  - sql: select 2 as v
    metrics: [{metric_name: n, value_column: v}]
";
    let (_folder, yaml) = database("create table t(v)", &format!("{section}collection: on_scrape\n"));
    let mut running = Running::on_sqlite(&yaml);
    running.scrape().await;
    let mut shown = vec![running.shown().await, running.shown().await, running.shown().await];
    shown.sort();
    assert_eq!(
        shown,
        [
            "#0 failed Omit: ",
            "#1 last: n{} Int(2)",
            "#up last: weir_sql_up{query=\"wrong\"} Int(0) | weir_sql_rows{query=\"wrong\"} Int(0) | \
             weir_sql_up{query=\"1\"} Int(1) | weir_sql_rows{query=\"1\"} Int(1)",
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn stopping_interrupts_a_query_that_never_ends() {
    let section = "
queries:
  - sql: with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) as n from c
    timeout: 10m
    metrics: [{metric_name: m, value_column: n}]
";
    let (_folder, yaml) = database("create table t(v)", section);
    let running = Running::on_sqlite(&yaml);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = tokio::time::Instant::now();
    running.stop().await;
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
}

/// What one scrape of a receiver with one query shows: its points, and its part in the contest.
async fn contested(running: &mut Running) -> Vec<String> {
    let collected = running.scrape().await;
    let mut all = Vec::new();
    for _ in &collected {
        let batch = running.batch().await;
        let told = |line: &String| {
            !line.starts_with("weir_sql_")
                || ["weir_sql_up", "weir_sql_leader"].iter().any(|name| line.starts_with(name))
        };
        all.extend(
            lines(&batch)
                .into_iter()
                .filter(told)
                .map(|line| line.replace("{query=\"0\",receiver=\"sql_query/x\"}", "")),
        );
    }
    all.sort();
    all
}

#[tokio::test]
async fn one_of_two_receivers_reads_and_the_other_shows_nothing() {
    let setup = "create table t(v int); insert into t values (7)";
    let section = "collection: on_scrape\nsingleton: file_lock\nqueries: [{sql: select v from t, metrics: [{metric_name: m, value_column: v}]}]";
    let (folder, yaml) = database(setup, section);
    let mut one = Running::on_sqlite(&yaml);
    assert_eq!(contested(&mut one).await, ["m{} Int(7)", "weir_sql_leader Int(1)", "weir_sql_up Int(1)"]);
    let mut two = Running::on_sqlite(&yaml);
    assert_eq!(contested(&mut two).await, ["weir_sql_leader Int(0)"]);
    assert_eq!(contested(&mut one).await.len(), 3);
    let lock = folder.path().join("x.db.sql_query-x.lock");
    assert_eq!(std::fs::read_to_string(&lock).unwrap().trim().parse(), Ok(1));
    one.stop().await;
    assert_eq!(contested(&mut two).await, ["m{} Int(7)", "weir_sql_leader Int(1)", "weir_sql_up Int(1)"]);
    assert_eq!(std::fs::read_to_string(&lock).unwrap().trim().parse(), Ok(2));
    // A lock that has become another file is lost; whoever holds the new one reads, and nothing stale is shown.
    std::fs::remove_file(&lock).unwrap();
    let mut three = Running::on_sqlite(&yaml);
    assert_eq!(contested(&mut three).await.len(), 3);
    let gone = contested(&mut two).await;
    assert_eq!(gone[0], "m{} end", "{gone:?}");
    assert!(gone.contains(&"weir_sql_leader Int(0)".to_owned()), "{gone:?}");
    two.stop().await;
    three.stop().await;
}

#[tokio::test]
async fn a_lock_that_cannot_be_asked_is_a_failed_read() {
    let section = "collection: on_scrape\nsingleton: file_lock\nlock_file: /nowhere/x.lock
queries: [{sql: select 1 as v, metrics: [{metric_name: m, value_column: v}]}]";
    let (_folder, yaml) = database("create table t(v int)", section);
    let mut one = Running::on_sqlite(&yaml);
    assert_eq!(contested(&mut one).await, ["weir_sql_leader Int(0)", "weir_sql_up Int(0)"]);
    one.stop().await;
}

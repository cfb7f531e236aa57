//! New rows that are read once for each tenant, and together in one snapshot: late commits and kills. The built binary, real servers.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]
#![allow(clippy::print_stdout, reason = "figures, for who runs it by hand")]

use std::path::Path;
use std::time::Duration;

use tests::exposition::Exposition;
use tests::rows::{missed_and_doubled, passed, random, settle, write_late};
use tests::{MariaDb, PATIENCE, Postgres, Weir, within};

/// Tenants 1 to so many.
const TENANTS: u64 = 3;

/// Rounds of the race; each is one transaction of each session.
const ROUNDS: usize = 400;

/// Sessions that write at the same time.
const SESSIONS: usize = 4;

/// These receivers, with logs to the file `told` and metrics to an endpoint.
fn agent(receivers: &str, ids: &str, folder: &Path) -> String {
    let logs = if receivers.contains("logs:") {
        format!("\n    logs: {{receivers: [{ids}], exporters: [debug]}}")
    } else {
        String::new()
    };
    format!(
        "
receivers:
{receivers}
exporters:
  debug: {{verbosity: normal, sampling_initial: 1000000, use_internal_logger: false, output_paths: ['{}']}}
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
extensions:
  file_storage: {{directory: '{}', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:{logs}
    metrics: {{receivers: [{ids}], exporters: [prometheus]}}
",
        folder.join("told").display(),
        folder.join("state").display()
    )
}

#[test]
fn rows_that_are_committed_late_are_met_in_a_loop_and_in_a_snapshot() {
    let server = Postgres::shared();
    let table = format!(
        "create table t(id bigint generated always as identity primary key, at timestamptz default now(), tenant int);
         create index on t(at, id); create table tenants(id int, name text);
         insert into tenants select i, 'tenant ' || i from generate_series(1, {TENANTS}) i"
    );
    server.database("apart", &table);
    let query = |way: &str, keys: &str, and: &str| {
        format!(
            "
      - name: {way}
        sql: select id, at, '{way}:' || id as body from t where id > $$1 {and} order by id
        tracking_column: {{name: id, type: int}}
        tracking_start_value: 0
        logs: [{{body_column: body}}]
        {keys}"
        )
    };
    let receiver = |id: &str, keys: &str, queries: &[String]| {
        format!(
            "  sql_query/{id}:
    driver: postgres
    datasource: ${{env:DATABASE}}
    storage: file_storage
    collection_interval: 20ms
    timeout: 20s
    {keys}
    queries:{}
",
            queries.concat()
        )
    };
    let own = "and tenant = $$2::int";
    let overlap = "overlap: 200\n        key_columns: [id]";
    let each = "for_each: {sql: select id::text as id from tenants, attribute_columns: [id]}";
    let receivers = [
        receiver("each", each, &[query("each", "late_commits: xmin", own), query("each_again", overlap, own)]),
        receiver(
            "together",
            "consistency: snapshot",
            &[
                query("first", "late_commits: xmin", ""),
                query("second", "late_commits: xmin", ""),
                query("third", overlap, ""),
            ],
        ),
        receiver("naive", "", &[query("naive", "", "")]),
    ];
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let yaml = agent(&receivers.concat(), "sql_query/each, sql_query/together, sql_query/naive", folder.path());
    let weir = Weir::run_text(&yaml).env("DATABASE", server.url("postgres", "apart")).start();
    let insert = format!("insert into t(tenant) values (1 + $round % {TENANTS})");
    write_late(&server, "apart", SESSIONS, ROUNDS, &insert);
    let ids = server.execute("apart", "select id from t order by id");
    let rows: Vec<u64> = ids.lines().map(|id| id.parse().expect("an id")).collect();
    assert!(rows.len() > ROUNDS * SESSIONS / 2, "{} rows", rows.len());
    let ways = ["each", "each_again", "first", "second", "third"];
    let told = folder.path().join("told");
    settle(&told, &ways, rows.len());
    let passed = passed(&told);
    let of = |way: &str| passed.get(way).map(|passed| missed_and_doubled(passed, &rows));
    println!("{} rows, {:?} of them missed and doubled by the naive way", rows.len(), of("naive"));
    assert!(of("naive").is_some_and(|(missed, _)| missed > 0), "no row was committed late: this test shows nothing");
    for way in ways {
        assert_eq!(of(way), Some((0, 0)), "{way}: missed and doubled of {} rows; {}", rows.len(), weir.stderr());
    }
}

/// Kills of the running agent.
const KILLS: usize = 8;

/// Rows that are written before each of them: a read takes 20 of one tenant at most, so it takes 25 reads to catch up, however fast.
const BATCH: u64 = 1_500;

#[test]
fn each_row_of_each_tenant_counts_once_however_often_the_agent_is_killed() {
    let server = Postgres::shared();
    let table = format!(
        "create table t(id bigint generated always as identity primary key, tenant int, ms int);
         create index on t(tenant, id); create table tenants(id int, name text);
         insert into tenants select i, 'tenant ' || i from generate_series(1, {TENANTS}) i"
    );
    server.database("counted", &table);
    let receiver = "  sql_query/counted:
    driver: postgres
    datasource: ${env:DATABASE}
    storage: file_storage
    collection_interval: 20ms
    timeout: 20s
    for_each: {sql: 'select id, name as tenant from tenants', attribute_columns: [tenant], key_columns: [id]}
    queries:
      - name: jobs
        sql: select id, ms from t where id > $$1 and tenant = $$2::int order by id
        tracking_column: {name: id, type: int}
        tracking_start_value: 0
        max_rows: 20
        metrics:
          - {metric_name: jobs_total, new_rows: count}
          - {metric_name: job_ms_total, new_rows: add, value_column: ms}
";
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let yaml = agent(receiver, "sql_query/counted", folder.path());
    let start = || Weir::run_text(&yaml).env("DATABASE", server.url("postgres", "counted")).start();
    let state = folder.path().join("state/receivers/sql_query~counted");
    // Rows that the cursors have passed, by the database.
    let passed = || {
        let listed = Weir::command(&["ledger", "ls", state.to_str().expect("UTF-8")], &[]).stdout;
        let of = |tenant: u64| {
            let cursor =
                listed.lines().find_map(|line| line.strip_prefix(&format!("cursor \"jobs[\\\"{tenant}\\\"]\" ")));
            let at = cursor.map_or(0, |cursor| {
                serde_json::from_str::<serde_json::Value>(cursor).expect("JSON")["at"][0].as_u64().expect("an id")
            });
            let sql = format!("select count(*) from t where tenant = {tenant} and id <= {at}");
            server.execute("counted", &sql).parse::<u64>().expect("a count")
        };
        (1..=TENANTS).map(of).sum::<u64>()
    };
    let (mut seed, mut rows, mut caught) = (5, 0, 0);
    for kill in 0..KILLS {
        let weir = start();
        let insert =
            format!("insert into t(tenant, ms) select 1 + i % {TENANTS}, i from generate_series(1, {BATCH}) i");
        server.execute("counted", &insert);
        rows += BATCH;
        if kill == KILLS / 2 {
            // A tenant with another name is the same one, and counts on under that.
            server.execute("counted", "update tenants set name = 'renamed' where id = 1");
        }
        std::thread::sleep(Duration::from_millis(20 + random(&mut seed) % 300));
        drop(weir);
        let read = passed();
        caught += usize::from(read > 0 && read < rows);
    }
    assert!(caught > 0, "no kill came while rows were read: this test shows nothing");
    println!("{caught} of {KILLS} kills came while rows were read; {rows} rows");
    let weir = start();
    within(4 * PATIENCE, "all rows to be counted", || (total(&weir, "jobs_total", None) >= rows as f64).then_some(()));
    assert_eq!(total(&weir, "jobs_total", None), rows as f64);
    assert_eq!(total(&weir, "job_ms_total", None), (rows / BATCH * (BATCH * (BATCH + 1) / 2)) as f64);
    let own = (rows / TENANTS) as f64;
    assert_eq!(total(&weir, "jobs_total", Some("tenant 2")), own);
    assert_eq!(total(&weir, "jobs_total", Some("tenant 1")) + total(&weir, "jobs_total", Some("renamed")), own);
    assert!(total(&weir, "jobs_total", Some("renamed")) > 0.0);
    // One that has no rows for a while goes on where it was.
    server.execute("counted", "delete from tenants where id = 3");
    server.execute("counted", "insert into t(tenant, ms) values (3, 1), (2, 1)");
    within(PATIENCE, "the others", || (total(&weir, "jobs_total", Some("tenant 2")) == own + 1.0).then_some(()));
    server.execute("counted", "insert into tenants values (3, 'tenant 3')");
    within(PATIENCE, "the one that is back", || {
        (total(&weir, "jobs_total", Some("tenant 3")) >= own + 1.0).then_some(())
    });
    assert_eq!(total(&weir, "jobs_total", Some("tenant 3")), own + 1.0, "{}", weir.stderr());
    server.execute("counted", "insert into tenants values (2, 'again')");
    within(PATIENCE, "the mistake to be told", || {
        weir.stderr().contains("for_each: two rows have the key [\"2\"] (key_columns)").then_some(())
    });
}

#[test]
fn a_loop_of_mariadb_has_a_cursor_for_each_of_its_rows() {
    let server = MariaDb::shared();
    // Tenants whose names look like numbers and are none to the database; ids past what a double holds.
    server.database(
        "apart",
        "create table t(id bigint primary key, tenant varchar(9)); create table tenants(name varchar(9));
         insert into tenants values ('7'), ('07'), ('x');
         insert into t select 9007199254740992 + seq, elt(1 + seq % 3, '7', '07', 'x') from seq_1_to_300",
    );
    let receiver = "  sql_query/counted:
    driver: mysql
    datasource: ${env:DATABASE}
    storage: file_storage
    collection_interval: 20ms
    timeout: 20s
    consistency: snapshot
    for_each: {sql: select name as tenant from tenants, attribute_columns: [tenant]}
    queries:
      - name: jobs
        sql: select id from t where id > ? and tenant = ? order by id
        tracking_column: {name: id, type: int}
        tracking_start_value: 0
        max_rows: 30
        metrics: [{metric_name: jobs_total, new_rows: count}]
";
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let yaml = agent(receiver, "sql_query/counted", folder.path());
    let start = || Weir::run_text(&yaml).env("DATABASE", server.url("apart", "apart")).start();
    let counted = |weir: &Weir| ["7", "07", "x"].map(|tenant| total(weir, "jobs_total", Some(tenant)));
    let weir = start();
    within(PATIENCE, "all rows", || (counted(&weir) == [100.0; 3]).then_some(()));
    drop(weir);
    let more = "insert into t select 9007199254740992 + seq, elt(1 + seq % 3, '7', '07', 'x') from seq_301_to_600";
    server.execute("apart", more);
    let weir = start();
    within(PATIENCE, "the others", || (counted(&weir).iter().sum::<f64>() >= 600.0).then_some(()));
    assert_eq!(counted(&weir), [200.0; 3], "{}", weir.stderr());
}

/// What a counter shows of one tenant, or of all.
fn total(weir: &Weir, name: &str, tenant: Option<&str>) -> f64 {
    let served = Exposition::read(weir.scrape().text());
    let of = served.named(name).filter(|sample| tenant.is_none_or(|tenant| sample.labels["tenant"] == tenant));
    of.map(|sample| sample.number()).sum()
}

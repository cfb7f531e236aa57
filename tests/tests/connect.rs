//! `weir validate --connect`: what real databases say of a configuration, before anything is read.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tests::postgres::PASSWORD;
use tests::{MariaDb, Outcome, Postgres, Weir};

/// Far less than what the statements would take that are not run.
const SOON: Duration = Duration::from_secs(25);

/// A receiver of one database with these queries, and further keys.
fn receiver(driver: &str, keys: &str, queries: &str) -> String {
    format!(
        "receivers:
  sql_query/judged:
    driver: {driver}
{keys}
    queries:
{queries}
exporters:
  debug: {{}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [debug]}}}}
"
    )
}

fn query(sql: &str, metric: &str) -> String {
    format!("      - sql: {sql:?}\n        metrics: [{{metric_name: m, {metric}}}]\n")
}

struct Case {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Case {
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("the system has a temporary folder");
        let config = folder.path().join("weir.yaml");
        std::fs::write(&config, yaml).expect("a fresh folder is writable");
        Self { folder, config }
    }

    fn validate(&self, more: &[&str]) -> Outcome {
        let config = self.config.to_str().expect("folders have names in UTF-8");
        Weir::command(&[&["validate", "--connect", "--config", config], more].concat(), &[])
    }

    /// `line: severity: message` of each problem, from its JSON.
    fn told(&self, more: &[&str]) -> Vec<String> {
        let outcome = self.validate(&[&["--format", "json"], more].concat());
        let told: serde_json::Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stderr);
        let problems = told.as_array().expect("problems are a list");
        let errors = problems.iter().any(|problem| problem["severity"] == "error");
        assert_eq!(outcome.code(), i32::from(errors), "{told:#}");
        let line = |problem: &serde_json::Value| {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}: {}", problem["line"], text("severity"), text("message"))
        };
        problems.iter().map(line).collect()
    }
}

/// A database `name` on a server, and a role of that name that may read the table `units` and not `secrets`.
fn database(server: &Postgres, name: &str) -> String {
    let password = PASSWORD.replace('\'', "''");
    server.database(
        name,
        &format!(
            "create table units(name text, cores int, id uuid, tags text[], load numeric);
             create table secrets(n int);
             create table tenants(id int, label text);
             create role {name} login password '{password}';
             grant select on units, tenants to {name}"
        ),
    );
    server.url(name, name)
}

#[test]
fn a_server_tells_of_all_statements_and_columns_at_once() {
    let server = Postgres::shared();
    let url = database(&server, "asked");
    let queries = [
        query("select name, cores, load from units", "value_column: cores, attribute_columns: [name]"),
        query("select name, cores from units", "value_column: cpu, attribute_columns: [label]"),
        query("select id, tags, name from units", "value_column: id, attribute_columns: [name]"),
        query("select tags as v from units", "value_column: v"),
        query("select name as v from units", "value_column: v"),
        query("select v\n  from units u where u.nonsense = 1", "value_column: v"),
        query("select n from secrets", "value_column: n"),
        query("select cores from units where cores = $$1", "value_column: cores"),
        query("insert into units(cores) values (1) returning cores", "value_column: cores"),
        query("set work_mem = '1MB'", "value_column: cores"),
        query(
            "with gone as (delete from units where name = $$1 returning cores) select cores from gone",
            "value_column: cores",
        ),
        query("with kept as (select cores, 'update' as word from units) select cores from kept", "value_column: cores"),
    ];
    let gone = "with gone as (delete from units returning cores) select cores from gone";
    let case = Case::new(&receiver(
        "postgres",
        &format!("    datasource: '{}'", server.url("postgres", "asked")),
        &query(gone, "value_column: cores"),
    ));
    let reads = "6: error: the statement does more than read this database, which is all it may do: DELETE";
    assert_eq!(case.told(&[]), [reads]);
    let keys =
        format!("    datasource: '{url}'\n    session: ['SET work_mem = 1MB', 'SET no.such = 1', 'SET nosuch = 1']");
    let case = Case::new(&receiver("postgres", &keys, &queries.concat()));
    assert_eq!(
        case.told(&[]),
        [
            "5: error: trailing junk after numeric literal at or near \"1MB\"",
            "5: error: unrecognized configuration parameter \"nosuch\"",
            "10: error: column 'cpu' (of m) not found in result set; it has name, cores",
            "10: error: column 'label' (of m) not found in result set; it has name, cores",
            "12: error: column 'id' has the type uuid, which is no number",
            "14: error: column 'v' has the type text[], which is no number",
            "16: warning: column 'v' has the type text: where a text is no number, there is no point",
            "17: error: line 1, column 8 of the statement: column \"v\" does not exist, at `v`",
            "19: error: the role of this connection may not do that: permission denied for table secrets",
            "21: error: the statement has 1 parameters ($1, …) and gets 0",
            "23: error: the statement does more than read this database, which is all it may do: INSERT",
            "25: error: the statement gives no rows; write a select",
            "27: error: the role of this connection may not do that: permission denied for table units",
        ]
    );
    let shown = case.validate(&[]);
    assert!(shown.stderr.contains("weir.yaml:10:"), "{}", shown.stderr);
    assert!(!shown.stderr.contains("password;") && !shown.stderr.contains("%70%61"), "{}", shown.stderr);
}

#[test]
fn a_sound_configuration_is_passed_over_in_silence_and_nothing_runs() {
    let server = Postgres::shared();
    let url = database(&server, "slept");
    server.execute("slept", "create sequence moved; grant usage on moved to slept");
    let queries = [
        query("select pg_sleep(60)::text as name, 1 as v", "value_column: v, attribute_columns: [name]"),
        query("select count(*) as v from generate_series(1, 1000000000000)", "value_column: v"),
        query("select nextval('moved') as v", "value_column: v"),
    ];
    let keys = format!("    datasource: '{url}'");
    let case = Case::new(&receiver("postgres", &keys, &queries.concat()));
    let began = Instant::now();
    let outcome = case.validate(&[]);
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(server.execute("slept", "select is_called from moved"), "f");
    assert_eq!(server.execute("slept", "select count(*) from pg_stat_activity where usename = 'slept'"), "0");
}

#[test]
fn a_loop_gives_its_columns_as_parameters() {
    let server = Postgres::shared();
    let url = database(&server, "looped");
    let keys = format!(
        "    datasource: '{url}'
    session: ['SET app.tenant = $$1', 'SET app.other = $$3']
    for_each: {{sql: 'select id, label from tenants', attribute_columns: [label, name]}}"
    );
    let queries = [
        query("select cores from units where cores = $$1::int and name = $$2", "value_column: cores"),
        query("select cores from units where cores = $$1::int and name = $$3 and $$2 = 'a'", "value_column: cores"),
    ];
    let case = Case::new(&receiver("postgres", &keys, &queries.concat()));
    assert_eq!(
        case.told(&[]),
        [
            "5: error: 'session' names $3, and the rows of 'for_each' have 2 columns",
            "6: error: column 'name' (of for_each) not found in result set; it has id, label",
            "10: error: the statement has 3 parameters ($1, …) and gets 2",
        ]
    );
}

#[test]
fn each_database_answers_for_itself_within_its_time() {
    let server = Postgres::shared();
    let url = database(&server, "locked");
    let wrong = url.replace("locked:", "nobody:");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let keys = format!(
        "    targets:
      - {{name: good, datasource: '{url}'}}
      - {{name: stranger, datasource: '{wrong}'}}
      - {{name: silent, datasource: 'postgres://x@{silent}/x?sslmode=disable'}}"
    );
    let queries =
        query("select cores from units", "value_column: cores") + &query("select id from tenants", "value_column: id");
    let case = Case::new(&receiver("postgres", &keys, &queries));
    let began = Instant::now();
    let told = case.told(&["--connect-timeout", "4s"]);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("6: error: target stranger: ") && told[0].contains("refuses the log-in"), "{told:#?}");
    assert!(
        told[1].starts_with("7: error: target silent: ") && told[1].contains("before the time was up"),
        "{told:#?}"
    );
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    let _lock = server.session("locked", "begin; lock table units in access exclusive mode; select pg_sleep(60)");
    let locks =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'units'::regclass";
    tests::within(tests::PATIENCE, "the lock", || (server.execute("locked", locks) == "1").then_some(()));
    let told = case.told(&["--connect-timeout", "4s"]);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[2].starts_with("9: error: target good: a table stayed locked"), "{told:#?}");
}

#[test]
fn a_file_is_asked_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("units.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("create table units(name text, cores int)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let keys = format!("    datasource: '{}'", path.display());
    let queries = [
        query("select name, cores from units", "value_column: cores, attribute_columns: [name]"),
        query("select name, cores from units", "value_column: core"),
        query("select sum(cores as n from units", "value_column: n"),
    ];
    let case = Case::new(&receiver("sqlite", &keys, &queries.concat()));
    assert_eq!(
        case.told(&[]),
        [
            "9: error: column 'core' (of m) not found in result set; it has name, cores",
            "10: error: column 18 of the statement: near \"as\": syntax error",
        ]
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let others: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(others.len(), 1, "{others:?}");
    std::fs::remove_file(&path).unwrap();
    let told = case.told(&[]);
    assert!(
        told.len() == 1 && told[0].starts_with("4: error: the database ") && told[0].ends_with("does not exist"),
        "{told:?}"
    );
    assert!(case.folder.path().exists());
}

#[test]
fn columns_that_tell_new_rows_apart_are_asked_for_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("units.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("create table units(n int, name text, part text)")
        .unwrap();
    let keys = format!("    datasource: '{}'\n    storage: file_storage", path.display());
    let told = |columns: &str| {
        let query = format!(
            "      - sql: select {columns} from units where n >= ? order by n
        name: units
        tracking_column: {{name: n, type: int}}
        tracking_start_value: 0
        overlap: 10
        key_columns: [name, part]
        metrics: [{{metric_name: m, new_rows: count}}]
"
        );
        let extension = format!(
            "extensions:\n  file_storage: {{directory: '{}', create_directory: true}}\n",
            folder.path().display()
        );
        let service = "service:\n  extensions: [file_storage]\n";
        let yaml = receiver("sqlite", &keys, &query).replace("service:\n", &(extension + service));
        Case::new(&yaml).told(&[])
    };
    assert_eq!(told("n, name, part"), [] as [&str; 0]);
    assert_eq!(
        told("n as number, name"),
        [
            "9: error: column 'n' (of tracking_column) not found in result set; it has number, name",
            "12: error: column 'part' (of key_columns) not found in result set; it has number, name",
        ]
    );
}

#[test]
fn mistakes_in_the_file_come_first() {
    let case = Case::new(&receiver("sqlite", "    datasource: /nowhere/x.db", &query("select 1 as n", "value: n")));
    let told = case.told(&[]);
    assert!(told.iter().all(|line| !line.contains("/nowhere")), "{told:?}");
    assert_eq!(case.validate(&[]).code(), 1);
}

#[test]
fn mariadb_tells_of_all_statements_and_columns_at_once() {
    let server = MariaDb::shared();
    server.database(
        "asked",
        "create table units(name text, cores int, id uuid, tags set('a', 'b'), place point, load_1 decimal(9, 2));
         create table secrets(n int)",
    );
    server.execute("mysql", "revoke select on asked.* from asked; grant select on asked.units to asked");
    let queries = [
        query(
            "select name, cores, load_1 from units where cores > 0",
            "value_column: cores, attribute_columns: [name]",
        ),
        query("select name, cores from units", "value_column: cpu, attribute_columns: [label]"),
        query("select id, name from units", "value_column: id, attribute_columns: [name]"),
        query("select tags as v from units", "value_column: v"),
        query("select place as v from units", "value_column: v"),
        query("select name as v from units", "value_column: v"),
        query("select v from units u where u.nonsense = 1", "value_column: v"),
        query("select n from secrets", "value_column: n"),
        query("select cores from units where cores = $$2 or cores = $$1", "value_column: cores"),
        query("insert into units(cores) values (1) returning cores", "value_column: cores"),
        query("analyze table units", "value_column: cores"),
        query("select sleep(60) as v", "value_column: v"),
    ];
    let keys = format!(
        "    datasource: '{}'\n    session: ['SET @a = 1', 'SET nosuch = 1', 'SET sql_mode = 7 +']",
        server.url("asked", "asked")
    );
    let case = Case::new(&receiver("mysql", &keys, &queries.concat()));
    let began = Instant::now();
    let told = case.told(&[]);
    let reads = "the statement does more than read this database, which is all it may do";
    let expected = [
        "5: error: Unknown system variable 'nosuch'",
        "5: error: You have an error in your SQL syntax",
        "10: error: column 'cpu' (of m) not found in result set; it has name, cores",
        "10: error: column 'label' (of m) not found in result set; it has name, cores",
        "12: error: column 'id' has the type uuid, which is no number",
        "14: error: column 'v' has the type set, which is no number",
        "16: error: column 'v' has the type point, which is no number",
        "18: warning: column 'v' has the type text: where a text is no number, there is no point",
        "19: error: Unknown column 'v' in 'SELECT'",
        "21: error: the role of this connection may not do that: SELECT command denied to user 'asked'@",
        "23: error: the statement has 2 parameters ($1, …) and gets 0",
        &format!("25: error: {reads}: INSERT"),
        &format!("27: error: {reads}: ANALYZE"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\nis not {expected}");
    }
    assert!(began.elapsed() < SOON, "nothing is run, and it took {:?}", began.elapsed());
    assert_eq!(
        server.execute("mysql", "select count(*) from information_schema.processlist where user = 'asked'"),
        "0"
    );
}

//! PostgreSQL as weir reads it, on a real server: types, deadlines, tenants, and what a user is told when it goes wrong.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]

use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::sql::{SOON, assert_down, assert_punctual, scrape, up, values};
use tests::{Inventory, Launch, PATIENCE, Postgres, Weir, at_best, http, within};

/// One query, read on every scrape, with further keys of the receiver and of the query.
fn reading(url: &str, sql: &str, receiver: &str, query: &str) -> Launch {
    tests::sql::reading("postgres", url, sql, receiver, query)
}

const TYPES: &str = "
create type mood as enum ('glad', 'sad');
create domain percent as int check (value between 0 and 100);
create table t(at int primary key generated always as identity, name text, value numeric);
insert into t(name, value) values
  ('a', 9223372036854775807), ('b', -9223372036854775808), ('c', 0.1), ('d', 12345678.90), ('e', 1e30), ('f', 0),
  ('g', 9223372036854775808), ('h', null), ('i', 'NaN');
";

#[test]
fn every_type_is_decoded_by_its_type() {
    let server = Postgres::shared();
    server.database("types", TYPES);
    let numbers = [
        ("true", "1"),
        ("7::smallint", "7"),
        ("(-7)::int", "-7"),
        ("9007199254740993::bigint", "9007199254740993"),
        ("0.5::real", "0.5"),
        ("0.1::double precision", "0.1"),
        ("42::percent", "42"),
        ("4294967295::oid", "4294967295"),
        ("timestamptz '2026-11-21 03:24:16.5+00'", "1795231456.5"),
        ("timestamp '2026-11-21 03:24:16'", "1795231456"),
        ("date '2026-11-21'", "1795219200"),
        ("date '1969-12-31'", "-86400"),
        ("time '00:01:00.5'", "60.5"),
        ("interval '1 day 2 hours 0.25 seconds'", "93600.25"),
        ("interval '1 year 1 month'", "34149600"),
        ("'12.5'::text", "12.5"),
        ("'7'::json", "7"),
        ("'{\"n\": 7}'::jsonb -> 'n'", "7"),
        ("extract(epoch from interval '2 minutes')", "120"),
        ("(select sum(x) from generate_series(1, 3) x)", "6"),
        ("(select avg(x) from generate_series(1, 2) x)", "1.5"),
        ("'infinity'::timestamptz", "+Inf"),
    ];
    let query = |at: usize, sql: &str| {
        let sql = format!("select 'n{at:02}' as name, {sql} as value");
        format!(
            "      - sql: {sql:?}\n        metrics: [{{metric_name: judged, value_column: value, attribute_columns: [name], value_type: number}}]\n"
        )
    };
    let queries: String = numbers.iter().enumerate().map(|(at, (sql, _))| query(at, sql)).collect();
    let weir = reading(&server.url("postgres", "types"), "select name, value from t", "", "").start();
    assert_eq!(
        values(&scrape(&weir)).iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
        [
            "9223372036854775807",
            "-9223372036854775808",
            "0.1",
            "12345678.9",
            "1e+30",
            "0",
            "9.223372036854776e+18",
            "NaN"
        ]
    );
    let yaml = format!(
        "receivers:
  sql_query/judged:
    driver: postgres
    datasource: ${{env:DATABASE}}
    collection: on_scrape
    consistency: snapshot
    queries:
{queries}exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [prometheus]}}}}
"
    );
    let weir = Weir::run_text(&yaml).env("DATABASE", server.url("postgres", "types")).start();
    let served = scrape(&weir);
    let found = values(&served);
    let shown: Vec<_> = numbers.iter().zip(&found).map(|((sql, _), (_, value))| (*sql, value.as_str())).collect();
    assert_eq!(shown, numbers, "{}", weir.stderr());
}

#[test]
fn attributes_look_as_the_server_writes_them() {
    let server = Postgres::shared();
    server.database("texts", "create type mood as enum ('glad', 'sad'); create extension citext");
    let texts = [
        ("'plain'::varchar(9)", "plain"),
        ("'glad'::mood", "glad"),
        ("'Any'::citext", "Any"),
        ("'0f8fad5b-d9cb-469f-a165-70867728950e'::uuid", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("'10.0.0.1/8'::inet", "10.0.0.1/8"),
        ("array['a', 'b c', null]", "{a,\"b c\",NULL}"),
        ("'{\"k\": [1, 2]}'::jsonb", "{\"k\": [1, 2]}"),
        ("date '2026-11-21'", "2026-11-21"),
        ("timestamptz '2026-11-21 03:24:16+01'", "2026-11-21T02:24:16Z"),
        ("int4range(1, 5)", "[1,5)"),
        ("'\\x00ff'::bytea", "\\x00ff"),
        ("true", "true"),
        ("1.50::numeric", "1.5"),
        ("'日本 🏳'::text", "日本 🏳"),
        ("row(1, 'x')", "(1,x)"),
    ];
    for (sql, expected) in texts {
        let weir =
            reading(&server.url("postgres", "texts"), &format!("select {sql} as name, 1 as value"), "", "").start();
        assert_eq!(values(&scrape(&weir)), [(expected.to_owned(), "1".to_owned())], "{sql}: {}", weir.stderr());
    }
}

#[test]
fn a_type_that_is_no_number_is_one_clear_error() {
    let server = Postgres::shared();
    server.database("numbers", "create table t(name text, value uuid)");
    let mut weir =
        reading(&server.url("postgres", "numbers"), "select name, value from t", "", "        name: ids").start();
    assert_down(&mut weir, "column 'value' has the type uuid, which is no number; convert it in the SQL");
    assert!(weir.stderr().contains("ids"), "the query is named: {}", weir.stderr());
}

#[test]
fn a_column_that_is_dropped_or_retyped_is_told_and_read_again_when_it_is_well() {
    let server = Postgres::shared();
    server.database("columns", "create table t(name text, value int); insert into t values ('a', 1)");
    let change = |sql: &str| server.execute("columns", sql);
    let mut weir = reading(&server.url("postgres", "columns"), "select * from t", "", "").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    change("alter table t alter value type text using value::text || ' apples'");
    let served = scrape(&weir);
    assert_eq!((up(&served), served.named("judged").count()), (1.0, 0), "the row is left out and counted");
    within(PATIENCE, "the reason", || weir.stderr().contains("text that is no number").then_some(()));
    change("alter table t alter value type numeric using 2.5");
    assert_eq!(values(&scrape(&weir)), [("a".to_owned(), "2.5".to_owned())]);
    change("alter table t drop value");
    assert_down(&mut weir, "column 'value' (of judged) not found in result set; it has name");
    change("alter table t add value bigint default 3");
    assert_eq!(values(&scrape(&weir)), [("a".to_owned(), "3".to_owned())]);
    drop(weir);
    let mut weir = reading(&server.url("postgres", "columns"), "select name, valeu as value from t", "", "").start();
    assert_down(
        &mut weir,
        "column \"valeu\" does not exist, at `valeu as value from t` (hint: Perhaps you meant to reference the column",
    );
}

#[test]
fn a_read_never_writes() {
    let server = Postgres::shared();
    server.database("writes", "create table t(name text, value int); insert into t values ('a', 1)");
    for (sql, why) in [
        ("insert into t values ('b', 2) returning name, value", "the statement does more than read this database"),
        ("select name, value from t for update", "the statement does more than read this database"),
        ("with gone as (delete from t returning *) select name, value from gone", "the statement does more than read"),
        ("select name, value from t; drop table t", "cannot insert multiple commands"),
        ("commit", "the statement gives no rows; write a select"),
        ("vacuum", "the statement gives no rows; write a select"),
        ("select name, value from t where value = $$1", "the statement has 1 parameters ($1, …) and gets 0"),
    ] {
        let mut weir = reading(&server.url("postgres", "writes"), sql, "", "").start();
        assert_down(&mut weir, why);
        assert_eq!(server.execute("writes", "select count(*) from t"), "1", "{sql}");
    }
}

#[test]
fn a_sleep_of_30_s_ends_at_a_deadline_of_300_ms_and_on_the_server_too() {
    let server = Postgres::shared();
    server.database("slow", "");
    let sleeps = "select 'x' as name, 1 as value from (select pg_sleep(30)) s";
    let mut weir = reading(&server.url("postgres", "slow"), sleeps, "", "        timeout: 300ms").start();
    assert_punctual(&weir);
    assert_down(&mut weir, "the time was up before the query was (timeout)");
    let asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(30)%' and pid <> pg_backend_pid() and state = 'active'";
    within(SOON, "the end on the server", || (server.execute("slow", asleep) == "0").then_some(()));
    let connections = "select pid from pg_stat_activity where application_name = 'weir' and datname = 'slow'";
    // But where the server's word comes so late that weir gave up first.
    within(PATIENCE, "a connection that outlives a time-out", || {
        let before = server.execute("slow", connections);
        scrape(&weir);
        (before.parse::<u32>().is_ok() && server.execute("slow", connections) == before).then_some(())
    });
}

#[test]
fn a_lock_is_waited_for_until_the_deadline_and_named() {
    let server = Postgres::shared();
    server.database("locks", "create table t(name text, value int); insert into t values ('a', 1)");
    let mut weir =
        reading(&server.url("postgres", "locks"), "select name, value from t", "", "        timeout: 300ms").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    let holder = server.session("locks", "begin; lock table t in access exclusive mode; select pg_sleep(60)");
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 't'::regclass";
    within(PATIENCE, "the lock", || (server.execute("locks", held) == "1").then_some(()));
    assert_punctual(&weir);
    assert_down(&mut weir, "a table stayed locked by another session until the deadline");
    server.execute("locks", "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' and datname = 'locks' and pid <> pg_backend_pid()");
    drop(holder);
    within(PATIENCE, "reading again", || (up(&scrape(&weir)) == 1.0).then_some(()));
}

#[test]
fn a_lock_that_is_let_go_in_time_costs_nothing_but_time() {
    let server = Postgres::shared();
    server.database("patient", "create table t(name text, value int); insert into t values ('a', 1)");
    let url = server.url("postgres", "patient");
    let weir = reading(&url, "select name, value from t", "", "        timeout: 8s").start();
    let holder = server.session("patient", "begin; lock table t in access exclusive mode; select pg_sleep(60)");
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 't'::regclass";
    within(PATIENCE, "the lock", || (server.execute("patient", held) == "1").then_some(()));
    let address = weir.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    let waits = "select count(*) from pg_locks where not granted and relation = 't'::regclass";
    within(PATIENCE, "the read to wait", || (server.execute("patient", waits) == "1").then_some(()));
    server.execute("patient", "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' and datname = 'patient' and pid <> pg_backend_pid()");
    let response = scraping.join().expect("a scrape does not panic");
    let served = Exposition::read(response.text());
    assert_eq!((up(&served), values(&served).len()), (1.0, 1), "{}", weir.stderr());
    drop(holder);
}

#[test]
fn a_scrape_that_gives_up_early_stops_the_query_on_the_server() {
    let server = Postgres::shared();
    server.database("early", "");
    let sleeps = "select 'x' as name, 1 as value from (select pg_sleep(31)) s";
    let weir = reading(&server.url("postgres", "early"), sleeps, "", "").start();
    at_best(Duration::from_millis(1_100), "a scrape that waits for 1 s", || {
        weir.get(&[http::TEXT, ("X-Prometheus-Scrape-Timeout-Seconds", "1")]).took
    });
    let asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(31)%' and pid <> pg_backend_pid() and state = 'active'";
    within(SOON, "the end on the server", || (server.execute("early", asleep) == "0").then_some(()));
}

#[test]
fn stopping_ends_a_query_on_the_server_and_does_not_wait_for_it() {
    let server = Postgres::shared();
    server.database("stopping", "");
    let yaml = "
receivers:
  sql_query/judged:
    driver: postgres
    datasource: ${env:DATABASE}
    queries:
      - sql: select 'x' as name, 1 as value from (select pg_sleep(32)) s
        timeout: 60s
        metrics: [{metric_name: judged, value_column: value}]
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query/judged], exporters: [prometheus]}}
";
    let weir = Weir::run_text(yaml).env("DATABASE", server.url("postgres", "stopping")).start();
    let asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(32)%' and pid <> pg_backend_pid() and state = 'active'";
    within(PATIENCE, "the query", || (server.execute("stopping", asleep) == "1").then_some(()));
    let begun = Instant::now();
    assert_eq!(weir.stop().code(), 0);
    within(SOON, "the end on the server", || (server.execute("stopping", asleep) == "0").then_some(()));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_is_down_at_the_start_and_later_is_told_and_read_again() {
    let mut server = Postgres::start();
    server.database("here", "create table t(name text, value int); insert into t values ('a', 1)");
    server.stop();
    let sleeps = "select name, value from t";
    let mut weir = reading(&server.url("postgres", "here"), sleeps, "", "").start();
    assert_down(
        &mut weir,
        "cannot be reached: Connection refused (os error 111); is the server up, and is the address right?",
    );
    server.resume();
    within(PATIENCE, "reading", || (up(&scrape(&weir)) == 1.0).then_some(()));
    server.stop();
    assert_down(&mut weir, "cannot be reached");
    server.resume();
    within(PATIENCE, "reading again", || (up(&scrape(&weir)) == 1.0).then_some(()));
    // A connection that was lost while nobody used it costs no read.
    server
        .execute("postgres", "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'weir'");
    assert_eq!(up(&scrape(&weir)), 1.0);
}

#[test]
fn a_backend_that_is_killed_in_the_middle_of_a_query_fails_that_read_only() {
    let server = Postgres::shared();
    server.database("killed", "create table t(seconds float); insert into t values (33)");
    let sleeps = "select 'x' as name, 1 as value from t, lateral (select pg_sleep(t.seconds)) s";
    let mut weir = reading(&server.url("postgres", "killed"), sleeps, "", "").start();
    let asleep = "from pg_stat_activity where query like '%pg_sleep(t.seconds)%' and pid <> pg_backend_pid() and state = 'active'";
    let address = weir.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    within(PATIENCE, "the query", || {
        (server.execute("killed", &format!("select count(*) {asleep}")) == "1").then_some(())
    });
    server.execute("killed", &format!("select pg_terminate_backend(pid) {asleep}"));
    assert!(scraping.join().expect("a scrape does not panic").took < Duration::from_secs(5));
    within(PATIENCE, "the reason", || {
        weir.stderr().contains("terminating connection due to administrator command").then_some(())
    });
    assert!(weir.runs());
    server.execute("killed", "update t set seconds = 0");
    assert_eq!(up(&scrape(&weir)), 1.0);
}

#[test]
fn too_many_rows_and_too_large_ones_fail_the_read_and_cost_no_memory() {
    let server = Postgres::shared();
    server.database("large", "");
    let url = server.url("postgres", "large");
    let many = "select 'row ' || i as name, i as value from generate_series(1, 10000000) i";
    let mut weir = reading(&url, many, "", "        max_rows: 1000").start();
    assert_down(&mut weir, "max_rows");
    assert!(weir.resident_mib() < 64.0, "{} MiB", weir.resident_mib());
    let cell = "select repeat('x', 100000000) as name, 1 as value";
    let mut weir = reading(&url, cell, "", "").start();
    assert_down(&mut weir, "a row has 100000014 bytes and may have 1048576 (max_cell_bytes)");
    assert!(weir.resident_mib() < 64.0, "{} MiB", weir.resident_mib());
}

#[test]
fn row_level_security_that_hides_all_rows_can_be_made_an_error() {
    let server = Postgres::shared();
    server.database(
        "tenants",
        "create table t(name text, value int, tenant_id int); insert into t values ('a', 1, 1), ('b', 2, 2);
         alter table t enable row level security;
         create policy own on t using (tenant_id = current_setting('app.current_tenant', true)::int)",
    );
    let password = tests::postgres::PASSWORD.replace('\'', "''");
    server
        .execute("tenants", &format!("create role watcher login password '{password}'; grant select on t to watcher"));
    let url = server.url("watcher", "tenants");
    let sql = "select name, value from t";
    let silent = reading(&url, sql, "", "").start();
    let served = scrape(&silent);
    assert_eq!((up(&served), served.named("judged").count()), (1.0, 0), "PostgreSQL itself says nothing");
    let mut expecting = reading(&url, sql, "", "        expect_rows: true").start();
    assert_down(
        &mut expecting,
        "no rows came (expect_rows); is the table empty, or does row-level security hide its rows from this role?",
    );
    let mut off = reading(&url, sql, "    session: ['SET row_security = off']", "").start();
    assert_down(&mut off, "row-level security would hide rows from this role");
    let one = reading(&url, sql, "    session: [\"SET app.current_tenant = '2'\"]", "").start();
    for _ in 0..3 {
        assert_eq!(values(&scrape(&one)), [("b".to_owned(), "2".to_owned())]);
    }
    let mut wrong = reading(&url, sql, "    session: ['SET no_such_setting = 1']", "").start();
    assert_down(&mut wrong, "the transaction could not be begun (session): unrecognized configuration parameter");
}

#[test]
fn log_ins_go_by_password_file_and_socket_and_tell_what_is_wrong() {
    let server = Postgres::shared();
    server.database("doors", "");
    let sql = "select 'x' as name, 1 as value";
    let socket = format!("host={} port={} user=postgres dbname=doors", server.folder().display(), server.port);
    assert_eq!(up(&scrape(&reading(&socket, sql, "", "").start())), 1.0);
    let without = format!("postgres://postgres@127.0.0.1:{}/doors?sslmode=disable", server.port);
    let file = server.file("secret", &format!("{}\n", tests::postgres::PASSWORD));
    let key = format!("    password_file: {}", file.display());
    assert_eq!(up(&scrape(&reading(&without, sql, &key, "").start())), 1.0);
    assert_down(
        &mut reading(&without, sql, "", "").start(),
        "asks for a password and none is set (password, password_file)",
    );
    let wrong = without.replace("postgres@", "postgres:wrong@");
    assert_down(
        &mut reading(&wrong, sql, "", "").start(),
        "refuses the log-in: password authentication failed for user \"postgres\"",
    );
    let plain = without.replace("?sslmode=disable", "");
    assert_down(&mut reading(&plain, sql, "", "").start(), "speaks no TLS: set up TLS there, or write sslmode=disable");
    let nowhere = server.url("postgres", "nowhere");
    assert_down(&mut reading(&nowhere, sql, "", "").start(), "database \"nowhere\" does not exist");
}

#[test]
fn queries_of_a_snapshot_see_one_state_and_fail_alone() {
    let server = Postgres::shared();
    server.database("snapshot", "create table t(value int); insert into t values (1)");
    let yaml = "
receivers:
  sql_query/judged:
    driver: postgres
    datasource: ${env:DATABASE}
    collection: on_scrape
    consistency: snapshot
    queries:
      - {sql: 'select count(*) as value from t', metrics: [{metric_name: first, value_column: value}]}
      - {sql: 'select 1 / 0 as value', metrics: [{metric_name: wrong, value_column: value}]}
      - {sql: \"select 1 as value, dblink_exec('dbname=snapshot port=' || current_setting('port') || ' host=' || current_setting('unix_socket_directories') || ' user=postgres', 'insert into t values (2)') as done\", metrics: [{metric_name: writing, value_column: value, attribute_columns: [done]}]}
      - {sql: 'select count(*) as value from t', metrics: [{metric_name: last, value_column: value}]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query/judged], exporters: [prometheus]}}
";
    server.execute("snapshot", "create extension dblink");
    let weir = Weir::run_text(yaml).env("DATABASE", server.url("postgres", "snapshot")).start();
    let served = scrape(&weir);
    let rows: f64 = server.execute("snapshot", "select count(*) from t").parse().expect("a number");
    assert!(rows >= 2.0, "another session did write: {}", weir.stderr());
    let value = |name: &str| served.value(name, &[]).expect("it is served");
    assert_eq!(value("first"), value("last"), "{}", weir.stderr());
    assert_eq!(value("last"), rows - 1.0);
    let up: Vec<f64> = served.named("weir_sql_up").map(|sample| sample.number()).collect();
    assert_eq!(up, [1.0, 0.0, 1.0, 1.0], "{}", weir.stderr());
}

fn circuit_breaker(url: &str) -> Launch {
    Weir::run("examples/circuit-breaker/weir-postgres.yaml")
        .listen("CB_LISTEN", "/api/v1/metrics")
        .env("CB_DB_URL", url)
}

/// The samples of the page.
fn inventory(weir: &Weir) -> Vec<(String, String)> {
    let served = scrape(weir);
    let ours = served.samples.iter().filter(|sample| sample.name.starts_with("circuitbreaker_"));
    let mut found: Vec<_> =
        ours.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value.clone())).collect();
    found.sort();
    found
}

#[test]
fn circuit_breaker_reads_from_postgresql_as_from_sqlite() {
    let server = Postgres::shared();
    server.circuit_breaker("breaker");
    let sqlite = Inventory::household();
    let before = Weir::run("examples/circuit-breaker/weir.yaml").listen("CB_LISTEN", "/api/v1/metrics");
    let before = before.env("CB_DATABASE", sqlite.path()).start();
    let after = circuit_breaker(&server.url("breaker", "breaker")).start();
    let expected = inventory(&before);
    assert_eq!(inventory(&after), expected, "{}", after.stderr());
    assert!(expected.len() > 40, "{expected:?}");
    tests::judges::accept(&after, None, tests::judges::Names::Given);
}

#[test]
fn circuit_breaker_never_takes_hidden_rows_for_none() {
    let server = Postgres::shared();
    server.circuit_breaker("hidden");
    let bound = server.url("hidden_bound", "hidden");
    let tripped = circuit_breaker(&bound).start();
    let served = scrape(&tripped);
    assert_eq!(served.value("circuitbreaker_services_total", &[]), None, "0 would be a lie");
    assert_eq!(served.value("circuitbreaker_tags_total", &[]), None, "it stands in a query with the others");
    assert_eq!(served.named("circuitbreaker_storage_capacity_gb").count(), 2, "a table without a policy is read");
    within(PATIENCE, "the reason", || tripped.stderr().contains("row-level security would hide rows").then_some(()));
    server.execute("hidden", "insert into services (name, slug, tenant_id) values ('Other', 'other', 2)");
    let tenant =
        |id: &str| circuit_breaker(&bound).env("CB_SESSION", format!("SET app.current_tenant = '{id}'")).start();
    for (id, services) in [("1", 5.0), ("2", 1.0), ("3", 0.0)] {
        let weir = tenant(id);
        for _ in 0..2 {
            assert_eq!(scrape(&weir).value("circuitbreaker_services_total", &[]), Some(services), "tenant {id}");
        }
    }
}

#[test]
fn bigbrotr_tells_progress_and_freshness() {
    let server = Postgres::shared();
    server.database(
        "bigbrotr",
        "create table relay (url text primary key, network text not null, discovered_at bigint not null);
         create table service_state (service_name text, state_type text, state_key text, state_value jsonb not null default '{}',
           primary key (service_name, state_type, state_key));
         insert into relay values ('wss://a', 'clearnet', 1795231456), ('wss://b', 'clearnet', 1795231400), ('ws://c.onion', 'tor', 7);
         insert into service_state values
           ('monitor', 'checkpoint', 'wss://a', jsonb_build_object('timestamp', extract(epoch from now())::bigint - 60)),
           ('monitor', 'checkpoint', 'wss://b', jsonb_build_object('timestamp', extract(epoch from now())::bigint - 90000)),
           ('monitor', 'checkpoint', 'profile', '{\"timestamp\": 5}'),
           ('finder', 'cursor', 'wss://a', '{\"timestamp\": 1795231000, \"id\": \"x\"}'),
           ('validator', 'checkpoint', 'wss://d', '{\"network\": \"tor\", \"failures\": 2, \"timestamp\": 9}'),
           ('validator', 'checkpoint', 'wss://e', '{}')",
    );
    let launch = Weir::run("examples/bigbrotr/weir-sql.yaml").listen("BB_LISTEN", "/metrics");
    let weir = launch.env("BB_DB_URL", server.url("postgres", "bigbrotr")).start();
    let served = within(PATIENCE, "the first round", || {
        let served = scrape(&weir);
        (served.named("weir_sql_up").filter(|up| up.number() == 1.0).count() == 6).then_some(served)
    });
    let value = |name: &str, labels: &[(&str, &str)]| served.value(name, labels);
    assert_eq!(value("bigbrotr_relays", &[("network", "clearnet")]), Some(2.0), "{}", weir.stderr());
    assert_eq!(
        value("bigbrotr_service_state_entries", &[("service", "monitor"), ("state_type", "checkpoint")]),
        Some(3.0)
    );
    assert_eq!(value("bigbrotr_service_oldest_checkpoint_timestamp_seconds", &[("service", "monitor")]), Some(5.0));
    assert_eq!(
        value("bigbrotr_cursor_newest_event_timestamp_seconds", &[("service", "finder")]),
        Some(1_795_231_000.0)
    );
    assert_eq!(
        value("bigbrotr_monitor_checkpoint_age_seconds_bucket", &[("le", "3600.0")])
            .or(value("bigbrotr_monitor_checkpoint_age_seconds_bucket", &[("le", "3600")])),
        Some(1.0)
    );
    assert_eq!(value("bigbrotr_monitor_checkpoint_age_seconds_count", &[]), Some(2.0));
    assert_eq!(value("bigbrotr_candidates_failed", &[("network", "tor")]), Some(1.0));
    assert_eq!(value("bigbrotr_candidates", &[("network", "unknown")]), Some(1.0));
    assert_eq!(value("bigbrotr_relay_newest_discovery_timestamp_seconds", &[("network", "tor")]), Some(7.0));
    tests::judges::accept(&weir, None, tests::judges::Names::Ours);
}

#[test]
fn ten_million_rows_that_fold_into_ten_thousand_series_cost_no_more_memory_than_these() {
    let server = Postgres::shared();
    server.database("fold", "");
    let url = server.url("postgres", "fold");
    let rows =
        |rows: u64| format!("select 'series ' || i % 10000 as name, i as value from generate_series(1, {rows}) i");
    let run = |count: u64| {
        let yaml = format!(
            "receivers: {{sql_query/x: {{driver: postgres, datasource: '${{env:DATABASE}}', collection_interval: 1h, timeout: 300s, queries: [
               {{sql: {:?}, max_rows: 100000000, metrics: [{{metric_name: judged, value_column: value, attribute_columns: [name], on_duplicate: sum}}]}}]}}}}
exporters: {{prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/x], exporters: [prometheus]}}}}
", rows(count));
        let weir = Weir::run_text(&yaml).env("DATABASE", &url).start();
        within(Duration::from_secs(280), "all rows", || {
            let served = scrape(&weir);
            served.named("weir_sql_rows").next().is_some_and(|rows| rows.number() == count as f64).then_some(())
        });
        assert_eq!(scrape(&weir).named("judged").count(), 10_000);
        weir.resident_mib()
    };
    let (few, many) = (run(100_000), run(10_000_000));
    assert!(many < few + 16.0, "{many:.1} MiB with ten million rows, {few:.1} MiB with a hundred thousand");
}

#[test]
fn tls_is_as_strict_as_it_says() {
    let server = Postgres::start();
    let authority = server.speak_tls();
    server.execute("postgres", "create table t(name text, value int)");
    // The connection itself tells whether it is one with TLS.
    let sql = "select version as name, bits as value from pg_stat_ssl where pid = pg_backend_pid() and ssl";
    let url = |host: &str, parameters: &str| {
        let plain = server.url("postgres", "postgres").replace("127.0.0.1", host);
        plain.replace("?sslmode=disable", &format!("?{parameters}"))
    };
    let root = format!("sslrootcert={}", authority.display());
    for (host, parameters, rows) in [
        ("localhost", root.clone(), 1),
        ("127.0.0.1", format!("{root}&sslmode=verify-ca"), 1),
        ("127.0.0.1", "sslmode=require".to_owned(), 1),
        ("127.0.0.1", "sslmode=prefer".to_owned(), 1),
        ("127.0.0.1", "sslmode=disable".to_owned(), 0),
    ] {
        let weir = reading(&url(host, &parameters), sql, "", "").start();
        let served = scrape(&weir);
        assert_eq!(
            (up(&served), served.named("judged").count()),
            (1.0, rows),
            "{host} {parameters}: {}",
            weir.stderr()
        );
    }
    for (host, parameters, why) in [
        ("127.0.0.1", root.clone(), "certificate not valid for name"),
        (
            "localhost",
            String::new(),
            "(sslmode verify-full): invalid peer certificate: UnknownIssuer; name the authority's certificate with sslrootcert",
        ),
        ("localhost", "sslrootcert=/nowhere".to_owned(), "TLS cannot be set up: sslrootcert: cannot read /nowhere"),
    ] {
        assert_down(&mut reading(&url(host, &parameters), sql, "", "").start(), why);
    }
}

#[test]
fn tenants_stay_apart_behind_transaction_pooling() {
    let server = Postgres::shared();
    server.database(
        "pooled",
        "create type mood as enum ('glad', 'sad');
         create table t(name text, value int, mood mood, tenant_id int);
         insert into t select 'tenant ' || i, i, 'glad', i from generate_series(1, 4) i",
    );
    // One connection to the server for all of them: what one leaves behind, the next one finds.
    let pooler = server.pooled("pooled", 1);
    let sql =
        "select name || ' ' || mood as name, value from t where tenant_id = current_setting('app.current_tenant')::int";
    let weirs: Vec<_> = (1..=4)
        .map(|tenant| {
            reading(&pooler.url, sql, &format!("    session: [\"SET app.current_tenant = '{tenant}'\"]"), "").start()
        })
        .collect();
    for round in 0..25 {
        std::thread::scope(|scope| {
            for (weir, tenant) in weirs.iter().zip(1..) {
                scope.spawn(move || {
                    let expected = [(format!("tenant {tenant} glad"), tenant.to_string())];
                    assert_eq!(values(&scrape(weir)), expected, "round {round}: {}", weir.stderr());
                });
            }
        });
    }
    let slow = "select 'x' as name, 1 as value from (select pg_sleep(34)) s";
    let mut weir = reading(&pooler.url, slow, "", "        timeout: 300ms").start();
    // Whether the pooler gave us its connection in time, or not even that.
    assert_down(&mut weir, "the time was up");
    assert_eq!(values(&scrape(&weirs[0])).len(), 1, "the one connection is free again");
}

#[test]
fn a_loop_over_tenants_shows_each_under_its_name_and_forgets_those_that_go() {
    let server = Postgres::shared();
    server.circuit_breaker("loops");
    server.execute(
        "loops",
        "create table tenants(id int primary key, name text unique not null); insert into tenants values (1, 'o''brien \\ sons'), (2, 'two');
         grant select on tenants to loops_bound; insert into services (name, slug, tenant_id) values ('Other', 'other', 2)",
    );
    let receiver =
        "    for_each: {sql: 'select id, name as tenant from tenants where id < 100', attribute_columns: [tenant]}
    session: ['SET app.current_tenant = $$1']";
    let sql =
        "select 'services' as name, count(*) as value from services having $$1::int > 0 and $$2::text is not null";
    let url = server.url("loops_bound", "loops");
    let mut weir = reading(&url, sql, receiver, "").start();
    let tenants = |weir: &Weir| {
        let served = scrape(weir);
        let mut found: Vec<_> =
            served.named("judged").map(|sample| (sample.labels["tenant"].clone(), sample.value.clone())).collect();
        found.sort();
        (up(&served), found)
    };
    let pair = |tenant: &str, value: &str| (tenant.to_owned(), value.to_owned());
    let (first, second) = ("o'brien \\ sons", "two");
    assert_eq!(tenants(&weir), (1.0, vec![pair(first, "5"), pair(second, "1")]), "{}", weir.stderr());
    server.execute("loops", "delete from tenants where id = 1; insert into tenants values (3, 'three')");
    assert_eq!(tenants(&weir), (1.0, vec![pair("three", "0"), pair(second, "1")]), "{}", weir.stderr());
    server.execute("loops", "alter table tenants rename to gone");
    assert_down(&mut weir, "for_each: relation \"tenants\" does not exist, at `tenants where id < 100`");
    server.execute("loops", "alter table gone rename to tenants; truncate tenants");
    assert_eq!(tenants(&weir), (1.0, vec![]));
    server.execute("loops", "insert into tenants select i, 'tenant ' || i from generate_series(1, 90) i");
    assert_eq!(tenants(&weir).1.len(), 90, "{}", weir.stderr());
    let few = receiver.replace("attribute_columns", "max_rows: 10, attribute_columns");
    assert_down(&mut reading(&url, sql, &few, "").start(), "for_each: more than 10 rows (max_rows)");
    let wrong = receiver.replace("[tenant]", "[name]");
    assert_down(&mut reading(&url, sql, &wrong, "").start(), "for_each: column 'name' not found; it has id, tenant");
}

#[test]
fn many_queries_at_once_share_the_connections() {
    let server = Postgres::shared();
    server.database("crowd", "");
    let query = |at: usize| {
        format!(
            "      - {{sql: 'select {at} as value', metrics: [{{metric_name: judged, value_column: value, static_attributes: {{name: n{at}}}}}]}}\n"
        )
    };
    let queries: String = (0..200).map(query).collect();
    let yaml = format!(
        "receivers:
  sql_query/judged:
    driver: postgres
    datasource: ${{env:DATABASE}}
    collection: on_scrape
    queries:
{queries}exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [prometheus]}}}}
"
    );
    let weir = Weir::run_text(&yaml).env("DATABASE", server.url("postgres", "crowd")).start();
    for _ in 0..3 {
        assert_eq!(scrape(&weir).named("judged").count(), 200, "{}", weir.stderr());
    }
    let connections = "select count(*) from pg_stat_activity where application_name = 'weir' and datname = 'crowd'";
    assert_eq!(server.execute("crowd", connections), "4");
}

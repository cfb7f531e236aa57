//! MariaDB as weir reads it, on a real server: types, deadlines, tenants, and what a user is told when it goes wrong.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]

use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::mariadb::PASSWORD;
use tests::sql::{SOON, assert_down, assert_punctual, scrape, up, values};
use tests::{Launch, MariaDb, PATIENCE, Weir, at_best, http, within};

/// One query, read on every scrape, with further keys of the receiver and of the query.
fn reading(datasource: &str, sql: &str, receiver: &str, query: &str) -> Launch {
    tests::sql::reading("mysql", datasource, sql, receiver, query)
}

/// These queries, each with its value and name columns, in one collection.
fn reading_all(datasource: &str, receiver: &str, queries: &[String]) -> Weir {
    let query = |sql: &String| {
        format!(
            "      - sql: {sql:?}\n        metrics: [{{metric_name: judged, value_column: value, attribute_columns: [name], value_type: number}}]\n"
        )
    };
    let queries: String = queries.iter().map(query).collect();
    let yaml = format!(
        "receivers:
  sql_query/judged:
    driver: mysql
    datasource: ${{env:DATABASE}}
    collection: on_scrape
{receiver}
    queries:
{queries}exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [prometheus]}}}}
"
    );
    Weir::run_text(&yaml).env("DATABASE", datasource).start()
}

#[test]
fn every_type_is_decoded_by_its_type() {
    let server = MariaDb::shared();
    let columns = [
        ("tinyint", "-7", "-7"),
        ("tinyint unsigned", "255", "255"),
        ("boolean", "true", "1"),
        ("smallint", "-32768", "-32768"),
        ("mediumint", "-8388608", "-8388608"),
        ("mediumint unsigned", "16777215", "16777215"),
        ("int unsigned", "4294967295", "4294967295"),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        ("bigint", "9007199254740993", "9007199254740993"),
        ("bigint unsigned", "18446744073709551615", "1.8446744073709552e+19"),
        ("bigint unsigned", "9223372036854775807", "9223372036854775807"),
        ("decimal(30, 10)", "12345678.9", "12345678.9"),
        ("decimal(30, 2)", "9223372036854775807.00", "9223372036854775807"),
        ("decimal(30, 0)", "9223372036854775808", "9.223372036854776e+18"),
        ("decimal(5, 3)", "-0.1", "-0.1"),
        ("float", "16777215", "16777215"),
        ("float", "0.5", "0.5"),
        ("double", "0.1", "0.1"),
        ("double", "-1e300", "-1e+300"),
        ("bit(1)", "b'1'", "1"),
        ("bit(64)", "b'1000000000000000000000000000000000000001'", "549755813889"),
        ("date", "'2026-11-21'", "1795219200"),
        ("date", "'1969-12-31'", "-86400"),
        ("datetime", "'2026-11-21 03:24:16'", "1795231456"),
        ("datetime(6)", "'2026-11-21 03:24:16.5'", "1795231456.5"),
        ("timestamp null", "from_unixtime(1795231456)", "1795231456"),
        ("time", "'-01:00:01'", "-3601"),
        ("time(3)", "'838:00:00.25'", "3016800.25"),
        ("year", "2026", "2026"),
        ("varchar(9)", "' 12.5 '", "12.5"),
        ("text", "'7'", "7"),
        ("enum('1', '20')", "'20'", "20"),
        ("json", "'7'", "7"),
        ("varbinary(9)", "'12'", "12"),
    ];
    let defined: Vec<String> = columns.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    let inserted: Vec<&str> = columns.iter().map(|(_, value, _)| *value).collect();
    server.database(
        "types",
        &format!("create table t({}); insert into t values ({})", defined.join(", "), inserted.join(", ")),
    );
    let queries: Vec<String> =
        (0..columns.len()).map(|at| format!("select 'n{at:02}' as name, c{at} as value from t")).collect();
    let expressions = [
        ("select 'x0' as name, count(*) as value from t", "1"),
        ("select 'x1' as name, sum(c3) as value from t", "-32768"),
        ("select 'x2' as name, avg(v) as value from (select 1 as v union all select 2) s", "1.5"),
        ("select 'x3' as name, unix_timestamp('2026-11-21 03:24:16') as value", "1795231456"),
        ("select 'x4' as name, json_value('{\"n\": 7}', '$.n') as value", "7"),
        ("select 'x5' as name, true as value", "1"),
        ("select 'x6' as name, 1e0 / 4 as value", "0.25"),
    ];
    let queries: Vec<String> =
        queries.into_iter().chain(expressions.iter().map(|(sql, _)| (*sql).replace('$', "$$"))).collect();
    let weir = reading_all(&server.url("types", "types"), "    consistency: snapshot", &queries);
    let expected: Vec<&str> =
        columns.iter().map(|(.., value)| *value).chain(expressions.iter().map(|(_, value)| *value)).collect();
    let found = values(&scrape(&weir));
    let found: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(found, expected, "{}", weir.stderr());
    drop(weir);
    let weir =
        reading(&server.url("types", "types"), "select 'n' as name, null as value union select 'm', c1 from t", "", "")
            .start();
    assert_eq!(values(&scrape(&weir)), [("m".to_owned(), "255".to_owned())], "NULL leaves its point out");
}

#[test]
fn attributes_look_as_the_server_writes_them() {
    let server = MariaDb::shared();
    server.database(
        "texts",
        "set sql_mode = '';
         create table t(plain varchar(9), latin varchar(9) character set latin1, mood enum('glad', 'sad'), some set('a', 'b'),
           id uuid, address inet6, day date, zero date, clock time, moment datetime(3), yes boolean, amount decimal(9, 2), single float,
           document json, letters binary(3));
         insert into t values ('日本 🏳', 'Zoë', 'glad', 'a,b', '0f8fad5b-d9cb-469f-a165-70867728950e', '2001:db8::1', '2026-11-21', '0000-00-00',
           '-12:30:00', '2026-11-21 03:24:16.250', true, 1.50, 0.1, '{\"k\": [1, 2]}', 'abc')",
    );
    let texts = [
        ("plain", "日本 🏳"),
        ("latin", "Zoë"),
        ("mood", "glad"),
        ("some", "a,b"),
        ("id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("address", "2001:db8::1"),
        ("day", "2026-11-21"),
        ("zero", "0000-00-00"),
        ("clock", "-12:30:00"),
        ("moment", "2026-11-21T03:24:16.25Z"),
        ("yes", "1"),
        ("amount", "1.5"),
        ("document", "{\"k\": [1, 2]}"),
        ("letters", "abc"),
        ("ST_AsText(ST_GeomFromText('POINT(1 2)'))", "POINT(1 2)"),
        ("concat(plain, 1)", "日本 🏳1"),
    ];
    let queries: Vec<String> =
        texts.iter().map(|(sql, _)| format!("select {sql} as name, 1 as value from t")).collect();
    let weir = reading_all(&server.url("texts", "texts"), "", &queries);
    let mut found: Vec<String> = values(&scrape(&weir)).into_iter().map(|(name, _)| name).collect();
    found.sort();
    let mut expected: Vec<&str> = texts.iter().map(|(_, text)| *text).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(found, expected, "{}", weir.stderr());
}

#[test]
fn a_type_that_is_no_number_is_one_clear_error() {
    let server = MariaDb::shared();
    server.database(
        "numbers",
        "create table t(name text, id uuid, place point, tags set('a', 'b'), address inet6); insert into t values ('a', uuid(), null, 'a', '::1')",
    );
    for (column, kind, help) in [
        ("id", "uuid", "convert it in the SQL"),
        ("place", "geometry", "write ST_AsText(…)"),
        ("tags", "set", "convert it in the SQL"),
        ("address", "inet6", "convert it in the SQL"),
    ] {
        let sql = format!("select name, {column} as value from t");
        let mut weir = reading(&server.url("numbers", "numbers"), &sql, "", "        name: ids").start();
        let kind = if kind == "geometry" { "point" } else { kind };
        assert_down(&mut weir, &format!("column 'value' has the type {kind}, which is no number; {help}"));
        assert!(weir.stderr().contains("ids"), "the query is named: {}", weir.stderr());
    }
}

#[test]
fn a_column_that_is_dropped_or_retyped_is_told_and_read_again_when_it_is_well() {
    let server = MariaDb::shared();
    server.database("columns", "create table t(name text, value int); insert into t values ('a', 1)");
    let change = |sql: &str| server.execute("columns", sql);
    let mut weir = reading(&server.url("columns", "columns"), "select * from t", "", "").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    change("alter table t modify value text; update t set value = 'two apples'");
    let served = scrape(&weir);
    assert_eq!((up(&served), served.named("judged").count()), (1.0, 0), "the row is left out and counted");
    within(PATIENCE, "the reason", || weir.stderr().contains("text that is no number").then_some(()));
    change("update t set value = '2.5'; alter table t modify value decimal(9, 3)");
    assert_eq!(values(&scrape(&weir)), [("a".to_owned(), "2.5".to_owned())]);
    change("alter table t drop value");
    assert_down(&mut weir, "column 'value' (of judged) not found in result set; it has name");
    change("alter table t add value bigint default 3");
    assert_eq!(values(&scrape(&weir)), [("a".to_owned(), "3".to_owned())]);
    drop(weir);
    let mut weir = reading(&server.url("columns", "columns"), "select name, valeu as value from t", "", "").start();
    assert_down(&mut weir, "Unknown column 'valeu' in 'SELECT'");
    let mut weir = reading(&server.url("columns", "columns"), "select name, value frm t", "", "").start();
    assert_down(&mut weir, "You have an error in your SQL syntax");
    let mut weir = reading(&server.url("columns", "columns"), "select name, value from nowhere", "", "").start();
    assert_down(&mut weir, "Table 'columns.nowhere' doesn't exist");
}

#[test]
fn a_read_never_writes() {
    let server = MariaDb::shared();
    server.database("writes", "create table t(name text, value int); insert into t values ('a', 1)");
    // One that may do all of it: only the transaction is in its way.
    server.execute("mysql", "grant all on *.* to writes");
    server.execute("writes", "create function bump() returns int begin update t set value = value + 1; return 1; end");
    let file = server.folder().join("out");
    let into = format!("select name, value from t into outfile '{}'", file.display());
    let read_only = "the statement does more than read this database, which is all it may do";
    for (sql, why) in [
        ("insert into t values ('b', 2) returning name, value", read_only),
        ("delete from t returning name, value", read_only),
        ("select 'x' as name, bump() as value", read_only),
        ("select name, value from t for update", read_only),
        ("select name, value from t; drop table t", "You have an error in your SQL syntax"),
        // A read-only transaction lets it pass.
        ("analyze table t", read_only),
        ("drop table t", read_only),
        ("call sys.ps_setup_save(1)", read_only),
        ("commit", read_only),
        ("set autocommit = 1", read_only),
        ("load data local infile '/etc/passwd' into table t", read_only),
        (into.as_str(), "the statement gives no rows; write a select"),
        ("select name, value from t where value = $$1", "the statement has 1 parameters ($1, …) and gets 0"),
        ("select name, value from t where value = ?", "the statement has 1 parameters ($1, …) and gets 0"),
        ("select name, value from t where value = ? or $$1", "the statement has parameters of both kinds"),
    ] {
        let mut weir = reading(&server.url("writes", "writes"), sql, "", "").start();
        assert_down(&mut weir, why);
        assert_eq!(server.execute("writes", "select count(*), sum(value) from t"), "1\t1", "{sql}");
    }
    assert!(!file.exists());
}

#[test]
fn a_sleep_of_30_s_ends_at_a_deadline_of_300_ms_and_on_the_server_too() {
    let server = MariaDb::shared();
    server.database("slow", "");
    let sleeps = "select 'x' as name, sleep(30) as value";
    let mut weir = reading(&server.url("slow", "slow"), sleeps, "", "        timeout: 300ms").start();
    assert_punctual(&weir);
    assert_down(&mut weir, "the time was up before the query was (timeout)");
    within(SOON, "the end on the server", || {
        (server.running("slow", "select 'x' as name, sleep(30)") == 0).then_some(())
    });
    let connections = "select id from information_schema.processlist where user = 'slow'";
    // But where the server's word comes so late that weir gave up first.
    within(PATIENCE, "a connection that outlives a time-out", || {
        let before = server.execute("slow", connections);
        scrape(&weir);
        (before.parse::<u64>().is_ok() && server.execute("slow", connections) == before).then_some(())
    });
}

#[test]
fn a_lock_is_waited_for_until_the_deadline_and_named() {
    let server = MariaDb::shared();
    server.database("locks", "create table t(name text, value int); insert into t values ('a', 1)");
    let url = server.url("locks", "locks");
    let mut quick = reading(&url, "select name, value from t", "", "        timeout: 300ms").start();
    let mut patient = reading(&url, "select name, value from t", "", "        timeout: 2900ms").start();
    assert_eq!((up(&scrape(&quick)), up(&scrape(&patient))), (1.0, 1.0));
    let holder = server.session("locks", "lock table t write; select sleep(60)");
    within(PATIENCE, "the lock", || (server.running("root", "select sleep(60)") >= 1).then_some(()));
    assert_punctual(&quick);
    // Locks are waited for in whole seconds: below one, the statement's own limit ends it.
    assert_down(&mut quick, "the time was up before the query was (timeout)");
    assert_down(&mut patient, "a table stayed locked by another session until the deadline (see `show processlist`)");
    server.kill("root", "select sleep(60)");
    drop(holder);
    within(PATIENCE, "reading again", || (up(&scrape(&quick)) == 1.0).then_some(()));
    within(PATIENCE, "reading again", || (up(&scrape(&patient)) == 1.0).then_some(()));
}

#[test]
fn a_lock_that_is_let_go_in_time_costs_nothing_but_time() {
    let server = MariaDb::shared();
    server.database("patient", "create table t(name text, value int); insert into t values ('a', 1)");
    let url = server.url("patient", "patient");
    let weir = reading(&url, "select name, value from t", "", "        timeout: 8s").start();
    let holder = server.session("patient", "lock table t write; select sleep(61)");
    within(PATIENCE, "the lock", || (server.running("root", "select sleep(61)") == 1).then_some(()));
    let address = weir.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    within(PATIENCE, "the read to wait", || {
        (server.running("patient", "select name, value from t") == 1).then_some(())
    });
    server.kill("root", "select sleep(61)");
    let response = scraping.join().expect("a scrape does not panic");
    let served = Exposition::read(response.text());
    assert_eq!((up(&served), values(&served).len()), (1.0, 1), "{}", weir.stderr());
    drop(holder);
}

#[test]
fn a_scrape_that_gives_up_early_stops_the_query_on_the_server() {
    let server = MariaDb::shared();
    server.database("early", "");
    let sleeps = "select 'x' as name, sleep(31) as value";
    let weir = reading(&server.url("early", "early"), sleeps, "", "").start();
    at_best(Duration::from_millis(1_100), "a scrape that waits for 1 s", || {
        weir.get(&[http::TEXT, ("X-Prometheus-Scrape-Timeout-Seconds", "1")]).took
    });
    within(SOON, "the end on the server", || {
        (server.running("early", "select 'x' as name, sleep(31)") == 0).then_some(())
    });
}

#[test]
fn stopping_ends_a_query_on_the_server_and_does_not_wait_for_it() {
    let server = MariaDb::shared();
    server.database("stopping", "");
    let yaml = "
receivers:
  sql_query/judged:
    driver: mysql
    datasource: ${env:DATABASE}
    queries:
      - sql: select 'x' as name, sleep(32) as value
        timeout: 60s
        metrics: [{metric_name: judged, value_column: value}]
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query/judged], exporters: [prometheus]}}
";
    let weir = Weir::run_text(yaml).env("DATABASE", server.url("stopping", "stopping")).start();
    within(PATIENCE, "the query", || (server.running("stopping", "select 'x' as name, sleep(32)") == 1).then_some(()));
    let begun = Instant::now();
    assert_eq!(weir.stop().code(), 0);
    within(SOON, "the end on the server", || {
        (server.running("stopping", "select 'x' as name, sleep(32)") == 0).then_some(())
    });
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_is_down_at_the_start_and_later_is_told_and_read_again() {
    let mut server = MariaDb::start();
    server.database("here", "create table t(name text, value int); insert into t values ('a', 1)");
    server.stop();
    let url = server.url("here", "here");
    let mut weir = reading(&url, "select name, value from t", "", "").start();
    assert_down(
        &mut weir,
        "cannot be reached: Connection refused (os error 111); is the server up, and is the address right?",
    );
    server.resume();
    within(PATIENCE, "reading", || (up(&scrape(&weir)) == 1.0).then_some(()));
    // Killed in the middle of a query: that read fails, and says why.
    let mut slow = reading(&url, "select 'x' as name, sleep(33) as value from t", "", "").start();
    let address = slow.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    within(PATIENCE, "the query", || (server.running("here", "select 'x' as name, sleep(33)") == 1).then_some(()));
    server.stop();
    assert!(scraping.join().expect("a scrape does not panic").took < Duration::from_secs(5));
    within(PATIENCE, "the reason", || {
        let said = slow.stderr();
        (said.contains("closed the connection; is it a MySQL server, and up?")
            || said.contains("broke: Connection reset"))
        .then_some(())
    });
    assert!(slow.runs());
    assert_down(&mut weir, "cannot be reached");
    server.resume();
    within(PATIENCE, "reading again", || (up(&scrape(&weir)) == 1.0).then_some(()));
    // A connection that was lost while nobody used it costs no read.
    server.execute("mysql", "kill user here");
    assert_eq!(up(&scrape(&weir)), 1.0, "{}", weir.stderr());
}

#[test]
fn a_connection_that_is_killed_in_the_middle_of_a_query_fails_that_read_only() {
    let server = MariaDb::shared();
    server.database("killed", "create table t(seconds double); insert into t values (34)");
    let sleeps = "select 'x' as name, sleep(seconds) as value from t";
    let mut weir = reading(&server.url("killed", "killed"), sleeps, "", "").start();
    let address = weir.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    within(PATIENCE, "the query", || {
        (server.running("killed", "select 'x' as name, sleep(seconds)") == 1).then_some(())
    });
    server.execute("mysql", "kill user killed");
    assert!(scraping.join().expect("a scrape does not panic").took < Duration::from_secs(5));
    within(PATIENCE, "the reason", || {
        weir.stderr().contains("/killed closed the connection; is it a MySQL server, and up?").then_some(())
    });
    assert!(weir.runs());
    server.execute("killed", "update t set seconds = 0");
    assert_eq!(up(&scrape(&weir)), 1.0);
}

#[test]
fn too_many_rows_and_too_large_ones_fail_the_read_and_cost_no_memory() {
    let server = MariaDb::shared();
    server.database("large", "create table blobs(at int, data longblob)");
    let url = server.url("large", "large");
    let many = "select concat('row ', seq) as name, seq as value from seq_1_to_10000000";
    let mut weir = reading(&url, many, "", "        max_rows: 1000").start();
    assert_down(&mut weir, "max_rows");
    assert!(weir.resident_mib() < 64.0, "{} MiB", weir.resident_mib());
    let cell = "select repeat('x', 100000000) as name, 1 as value";
    let mut weir = reading(&url, cell, "", "").start();
    assert_down(&mut weir, "a row has 16777215 bytes and may have 1048576 (max_cell_bytes)");
    assert!(weir.resident_mib() < 64.0, "{} MiB", weir.resident_mib());
    // One that comes in several packets, within the bound and past it.
    let long = "select 'long' as name, length(x) as value, x from (select repeat('x', 40000000) as x) s";
    let weir = reading(&url, long, "    max_cell_bytes: 64MiB", "").start();
    assert_eq!(values(&scrape(&weir)), [("long".to_owned(), "40000000".to_owned())], "{}", weir.stderr());
    let mut weir = reading(&url, long, "    max_cell_bytes: 32MiB", "").start();
    assert_down(&mut weir, "a row has 40000");
}

#[test]
fn ten_million_rows_that_fold_into_ten_thousand_series_cost_no_more_memory_than_these() {
    let server = MariaDb::shared();
    server.database("fold", "");
    let url = server.url("fold", "fold");
    let run = |count: u64| {
        let rows = format!("select concat('series ', seq mod 10000) as name, seq as value from seq_1_to_{count}");
        let yaml = format!(
            "receivers: {{sql_query/x: {{driver: mysql, datasource: '${{env:DATABASE}}', collection_interval: 1h, timeout: 300s, queries: [
               {{sql: {rows:?}, max_rows: 100000000, metrics: [{{metric_name: judged, value_column: value, attribute_columns: [name], on_duplicate: sum}}]}}]}}}}
exporters: {{prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/x], exporters: [prometheus]}}}}
"
        );
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
fn settings_of_a_tenant_end_with_its_collection() {
    let server = MariaDb::shared();
    server.database(
        "tenants",
        "create table t(name text, value int, tenant_id int); insert into t values ('a', 1, 1), ('b', 2, 2);
         create function tenant() returns int return @tenant;
         create sql security definer view own as select name, value from t where tenant_id = tenant();
         create user tenants_bound identified by 'x'; grant select on own to tenants_bound; grant execute on function tenant to tenants_bound",
    );
    let url = server.url("tenants", "tenants").replace("tenants:", "tenants_bound:");
    let url = format!("mysql://tenants_bound:x@{}", url.split_once('@').expect("it names a user").1);
    let sql = "select name, value from own";
    let mut none = reading(&url, sql, "", "        expect_rows: true").start();
    assert_down(&mut none, "no rows came (expect_rows); is the table empty, or");
    let one = reading(&url, sql, "    session: [\"SET @tenant = '2'\"]", "").start();
    for _ in 0..3 {
        assert_eq!(values(&scrape(&one)), [("b".to_owned(), "2".to_owned())], "{}", one.stderr());
    }
    // What a session sets and what a query leaves behind is gone with the collection, on one and the same connection.
    let queries = ["select 'before' as name, ifnull(@left, 0) as value", "select 'set' as name, @left := 7 as value"];
    let left = reading_all(
        &url,
        "    max_open_conn: 1\n    consistency: snapshot\n    session: ['SET @other = 1']",
        &queries.map(str::to_owned),
    );
    for _ in 0..3 {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(values(&scrape(&left)), [pair("before", "0"), pair("set", "7")], "{}", left.stderr());
    }
    let mut wrong = reading(&url, sql, "    session: ['SET no_such_setting = 1']", "").start();
    assert_down(&mut wrong, "the transaction could not be begun (session): Unknown system variable 'no_such_setting'");
    let mut denied = reading(&url, "select name, value from t", "", "").start();
    assert_down(
        &mut denied,
        "the role of this connection may not do that: SELECT command denied to user 'tenants_bound'",
    );
}

#[test]
fn a_loop_over_tenants_shows_each_under_its_name_and_forgets_those_that_go() {
    let server = MariaDb::shared();
    server.database(
        "loops",
        "create table tenants(id int primary key, name varchar(99) unique not null);
         insert into tenants values (1, 'o''brien \\\\ sons'), (2, 'two'), (3, '7');
         create table services(tenant varchar(99) collate utf8mb4_unicode_ci, tenant_id int);
         insert into services values ('o''brien \\\\ sons', 1), ('o''brien \\\\ sons', 1), ('two', 2), ('7 dwarves', 4)",
    );
    let receiver =
        "    for_each: {sql: 'select id, name as tenant from tenants where id < 100', attribute_columns: [tenant]}
    session: ['SET @tenant = $$1']";
    let sql = "select 'services' as name, count(*) + (@tenant = $$1) * 100 as value from services where tenant = $$2 and tenant_id = $$1";
    let url = server.url("loops", "loops");
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
    assert_eq!(
        tenants(&weir),
        (1.0, vec![pair("7", "100"), pair(first, "102"), pair(second, "101")]),
        "{}",
        weir.stderr()
    );
    server.execute("loops", "delete from tenants where id in (1, 3); insert into tenants values (4, 'three')");
    assert_eq!(tenants(&weir), (1.0, vec![pair("three", "100"), pair(second, "101")]), "{}", weir.stderr());
    server.execute("loops", "rename table tenants to gone");
    assert_down(&mut weir, "for_each: Table 'loops.tenants' doesn't exist");
    server.execute("loops", "rename table gone to tenants; delete from tenants");
    assert_eq!(tenants(&weir), (1.0, vec![]));
    server.execute("loops", "insert into tenants select seq, concat('tenant ', seq) from seq_1_to_90");
    assert_eq!(tenants(&weir).1.len(), 90, "{}", weir.stderr());
    let few = receiver.replace("attribute_columns", "max_rows: 10, attribute_columns");
    assert_down(&mut reading(&url, sql, &few, "").start(), "for_each: more than 10 rows (max_rows)");
    // Question marks are counted, as in the Collector.
    let marks = "select 'services' as name, count(*) as value from services where tenant_id = ?";
    server.execute("loops", "delete from tenants; insert into tenants values (1, 'one')");
    assert_eq!(tenants(&reading(&url, marks, receiver, "").start()), (1.0, vec![pair("one", "2")]));
}

#[test]
fn queries_of_a_snapshot_see_one_state_and_fail_alone() {
    let server = MariaDb::shared();
    server.database("snapshot", "create table t(value int) engine=innodb; insert into t values (1)");
    let yaml = "
receivers:
  sql_query/judged:
    driver: mysql
    datasource: ${env:DATABASE}
    collection: on_scrape
    consistency: snapshot
    queries:
      - {sql: 'select count(*) as value from t', metrics: [{metric_name: first, value_column: value}]}
      - {sql: 'select cast(-1 as unsigned) + 1 as value', metrics: [{metric_name: wrong, value_column: value}]}
      - {sql: 'select sleep(1) as value', metrics: [{metric_name: waiting, value_column: value}]}
      - {sql: 'select count(*) as value from t', metrics: [{metric_name: last, value_column: value}]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query/judged], exporters: [prometheus]}}
";
    let weir = Weir::run_text(yaml).env("DATABASE", server.url("snapshot", "snapshot")).start();
    let address = weir.address;
    let scraping = std::thread::spawn(move || http::get(address, "/metrics", &[http::TEXT]).expect("weir answers"));
    within(PATIENCE, "the wait in between", || (server.running("snapshot", "select sleep(1)") == 1).then_some(()));
    server.execute("snapshot", "insert into t values (2)");
    let response = scraping.join().expect("a scrape does not panic");
    let served = Exposition::read(response.text());
    let value = |name: &str| served.value(name, &[]);
    assert_eq!((value("first"), value("last")), (Some(1.0), Some(1.0)), "{}", weir.stderr());
    let up: Vec<f64> = served.named("weir_sql_up").map(|sample| sample.number()).collect();
    assert_eq!(up, [1.0, 0.0, 1.0, 1.0], "{}", weir.stderr());
    assert!(weir.stderr().contains("BIGINT UNSIGNED value is out of range"), "{}", weir.stderr());
}

#[test]
fn one_that_is_down_or_slow_holds_up_no_other() {
    let server = MariaDb::shared();
    server.database("north", "create table t(name text, value int); insert into t values ('a', 1)");
    let url = server.url("north", "north");
    let nowhere = url.replace(&format!(":{}/", server.port), ":1/");
    let yaml = "
receivers:
  sql_query/judged:
    driver: mysql
    collection: on_scrape
    targets:
      - {name: here, datasource: '${env:HERE}', resource_attributes: {service.instance.id: here}}
      - {name: nowhere, datasource: '${env:NOWHERE}', resource_attributes: {service.instance.id: nowhere}}
    queries:
      - {sql: 'select name, value from t', metrics: [{metric_name: judged, value_column: value, attribute_columns: [name]}]}
      - {sql: 'select sleep(35) as value', timeout: 1s, metrics: [{metric_name: slow, value_column: value}]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query/judged], exporters: [prometheus]}}
";
    let weir = Weir::run_text(yaml).env("HERE", &url).env("NOWHERE", &nowhere).start();
    let served = scrape(&weir);
    let up = |target: &str, query: &str| {
        let labels = [("target", target), ("query", query)];
        served
            .named("weir_sql_up")
            .find(|sample| {
                labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
            })
            .map(tests::exposition::Sample::number)
    };
    assert_eq!(up("here", "0"), Some(1.0), "{}", weir.stderr());
    assert_eq!((up("here", "1"), up("nowhere", "0"), up("nowhere", "1")), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(served.named("judged").count(), 1);
}

#[test]
fn log_ins_go_by_password_file_and_socket_and_tell_what_is_wrong() {
    let server = MariaDb::shared();
    server.database("doors", "");
    let sql = "select 'x' as name, 1 as value";
    let good = |datasource: &str, receiver: &str| {
        let weir = reading(datasource, sql, receiver, "").start();
        assert_eq!(up(&scrape(&weir)), 1.0, "{datasource}: {}", weir.stderr());
    };
    let socket = server.socket();
    let socket = socket.to_str().expect("temporary folders have names in UTF-8");
    let address = format!("127.0.0.1:{}", server.port);
    good(&format!("doors:{PASSWORD}@unix({socket})/doors"), "");
    good(&format!("doors:{PASSWORD}@tcp({address})/doors?tls=false&parseTime=true&charset=utf8mb4"), "");
    good(&format!("{}&unix_socket={socket}", server.url("doors", "doors").replace("tls=false", "timeout=5s")), "");
    let without = format!("mysql://doors@{address}/doors?tls=false");
    let file = server.file("secret", &format!("{PASSWORD}\n"));
    good(&without, &format!("    password_file: {}", file.display()));
    assert_down(
        &mut reading(&without, sql, "", "").start(),
        "asks for a password and none is set (password, password_file)",
    );
    let wrong = without.replace("doors@", "doors:wrong@");
    assert_down(&mut reading(&wrong, sql, "", "").start(), "refuses the log-in: Access denied for user 'doors'@");
    let plain = server.url("doors", "doors").replace("?tls=false", "");
    assert_down(&mut reading(&plain, sql, "", "").start(), "speaks no TLS: set up TLS there, or write tls=false");
    let nowhere = server.url("doors", "nowhere");
    assert_down(&mut reading(&nowhere, sql, "", "").start(), "refuses the log-in: Access denied for user 'doors'@");
    let missing = "    password_file: /nowhere/secret";
    assert_down(&mut reading(&without, sql, missing, "").start(), "'password_file' /nowhere/secret cannot be read");
    // A password that is changed, as some are every few minutes, is read at the next connection.
    let weir = reading(&without, sql, &format!("    password_file: {}", file.display()), "").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    server.execute("mysql", "alter user doors identified by 'fresh'; kill user doors");
    server.file("secret", "fresh");
    assert_eq!(up(&scrape(&weir)), 1.0, "{}", weir.stderr());
}

#[test]
fn tls_is_as_strict_as_it_says() {
    let mut server = MariaDb::start();
    server.database("safe", "");
    let authority = server.speak_tls();
    server.execute("mysql", "create user only identified by '' require x509; grant select on safe.* to only");
    // The connection itself tells whether it is one with TLS.
    let sql = "select variable_value as name, 1 as value from information_schema.session_status where variable_name = 'Ssl_version' and variable_value <> ''";
    let url = |host: &str, parameters: &str| {
        server.url("safe", "safe").replace("127.0.0.1", host).replace("tls=false", parameters)
    };
    let root = format!("ssl-ca={}", authority.display());
    for (host, parameters, rows) in [
        ("localhost", root.clone(), 1),
        ("127.0.0.1", format!("{root}&ssl-mode=VERIFY_CA"), 1),
        ("127.0.0.1", "tls=skip-verify".to_owned(), 1),
        ("127.0.0.1", "tls=preferred".to_owned(), 1),
        ("127.0.0.1", "tls=false".to_owned(), 0),
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
            "tls=true".to_owned(),
            "(verify-full): invalid peer certificate: UnknownIssuer; name the authority's certificate with ssl-ca",
        ),
        ("localhost", "ssl-ca=/nowhere".to_owned(), "TLS cannot be set up: ssl-ca: cannot read /nowhere"),
    ] {
        assert_down(&mut reading(&url(host, &parameters), sql, "", "").start(), why);
    }
    // A certificate of ours, where the server wants one.
    let file = |name: &str| server.folder().join(name).display().to_string();
    let mine = format!(
        "mysql://only@localhost:{}/safe?{root}&ssl-cert={}&ssl-key={}",
        server.port,
        file("client.crt"),
        file("client.key")
    );
    let weir = reading(&mine, sql, "", "").start();
    assert_eq!(up(&scrape(&weir)), 1.0, "{}", weir.stderr());
    let bare = mine.split("&ssl-cert").next().expect("it has parameters");
    assert_down(&mut reading(bare, sql, "", "").start(), "asks for a password and none is set");
}

#[test]
fn many_queries_at_once_share_the_connections() {
    let server = MariaDb::shared();
    server.database("crowd", "");
    let queries: Vec<String> = (0..200).map(|at| format!("select 'n{at}' as name, {at} as value")).collect();
    let weir = reading_all(&server.url("crowd", "crowd"), "", &queries);
    for _ in 0..3 {
        assert_eq!(scrape(&weir).named("judged").count(), 200, "{}", weir.stderr());
    }
    let connections = "select count(*) from information_schema.processlist where user = 'crowd'";
    assert_eq!(server.execute("mysql", connections), "4");
    let prepared =
        "select variable_value from information_schema.global_status where variable_name = 'Prepared_stmt_count'";
    let left: u32 = server.execute("mysql", prepared).parse().expect("a count is a number");
    assert!(left <= 60, "{left} statements are left behind");
}

/// The statements of the block of docs/databases.md that begins with these words.
fn documented(begin: &str) -> String {
    let page = tests::repository::text("docs/databases.md");
    let blocks = page.split("```").filter_map(|block| block.strip_prefix("text\n"));
    let block = blocks.into_iter().find(|block| block.starts_with(begin));
    block.unwrap_or_else(|| panic!("no block of docs/databases.md begins with {begin}")).to_owned()
}

#[test]
fn the_documented_role_reads_and_does_nothing_else() {
    let mut server = MariaDb::start();
    let authority = server.speak_tls();
    server.execute(
        "mysql",
        "create database app; create table app.orders(name text, value int, tenant_id int);
         create table app.customers(name text, value int); create table app.secrets(name text, value int);
         insert into app.orders values ('a', 1, 7), ('b', 2, 8); insert into app.customers values ('c', 3)",
    );
    let role = documented("create user weir").replace('…', "not a secret");
    server.execute("mysql", &role);
    server.execute("mysql", &documented("create function app.tenant()"));
    let url = format!("mysql://weir:not%20a%20secret@localhost:{}/app?ssl-ca={}", server.port, authority.display());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (sql, session, expected) in [
        ("select name, value from orders", "", vec![pair("a", "1"), pair("b", "2")]),
        ("select name, value from customers", "", vec![pair("c", "3")]),
        ("select name, value from own_orders", "", vec![]),
        ("select name, value from own_orders", "    session: [\"SET @tenant = '7'\"]", vec![pair("a", "1")]),
    ] {
        let weir = reading(&url, sql, session, "").start();
        let served = scrape(&weir);
        assert_eq!((up(&served), values(&served)), (1.0, expected), "{sql}: {}", weir.stderr());
    }
    let mut denied = reading(&url, "select name, value from secrets", "", "").start();
    assert_down(&mut denied, "the role of this connection may not do that: SELECT command denied to user 'weir'@");
    let plain = url.replace("localhost", "127.0.0.1").replace("ssl-ca=", "tls=false&ssl-ca=");
    assert_down(&mut reading(&plain, "select name, value from orders", "", "").start(), "refuses the log-in");
    // It may end its own queries, which is all that cancelling takes.
    let weir = reading(&url, "select 'x' as name, sleep(36) as value", "", "        timeout: 20s").start();
    let response = weir.get(&[http::TEXT, ("X-Prometheus-Scrape-Timeout-Seconds", "1")]);
    assert!(response.took < SOON, "took {:?}", response.took);
    within(SOON, "the end on the server", || {
        (server.running("weir", "select 'x' as name, sleep(36)") == 0).then_some(())
    });
}

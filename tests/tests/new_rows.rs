//! Rows that are read once: committed late, counted through kills, streamed by the million. The built binary, real databases.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]
#![allow(clippy::print_stdout, reason = "figures, for who runs it by hand")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::exposition::Exposition;
use tests::rows::{missed_and_doubled, passed, random, settle, write_late};
use tests::{MariaDb, PATIENCE, Postgres, Weir, within};

/// Rounds of the race; each is one transaction of each session.
const ROUNDS: usize = 1000;

/// Sessions that write at the same time.
const SESSIONS: usize = 4;

/// One table, read in every way there is: the body of each record says how it was read, and which row it is.
fn race(weir_keys: &str, queries: &str, told: &Path, state: &Path) -> String {
    let records = queries.contains("logs:");
    let logs = if records { "\n    logs: {receivers: [sql_query/race], exporters: [debug]}" } else { "" };
    format!(
        "
receivers:
  sql_query/race:
{weir_keys}
    storage: file_storage
    collection_interval: 20ms
    timeout: 5s
    queries:
{queries}
exporters:
  debug: {{verbosity: normal, sampling_initial: 1000000, use_internal_logger: false, output_paths: [{}]}}
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
extensions:
  file_storage: {{directory: {}, create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:{logs}
    metrics: {{receivers: [sql_query/race], exporters: [prometheus]}}
",
        told.display(),
        state.display()
    )
}

#[test]
fn rows_that_are_committed_late_on_postgresql_are_neither_missed_nor_doubled() {
    let server = Postgres::shared();
    let table =
        "create table t(id bigint generated always as identity primary key, at timestamptz default now(), n int);
        create index on t(at, id)";
    server.database("late", table);
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (told, state) = (folder.path().join("told"), folder.path().join("state"));
    let query = |way: &str, columns: &str, compare: &str, order: &str, keys: &str| {
        format!(
            "      - name: {way}
        sql: select id, at, '{way}:' || id as body from t where {compare} order by {order}
        tracking_column: {columns}
        logs: [{{body_column: body}}]
        {keys}
"
        )
    };
    let by_id =
        |way: &str, keys: &str| query(way, "id", "id > $$1", "id", &format!("tracking_start_value: 0\n        {keys}"));
    let queries = [
        by_id("naive", ""),
        by_id("xmin", "late_commits: xmin"),
        by_id("overlap", "overlap: 200\n        key_columns: [id]"),
        query(
            "stamped",
            "[{name: at, type: timestamp}, id]",
            "(at, id) > ($$1, $$2)",
            "at, id",
            "tracking_start_value: ['2000-01-01', 0]\n        late_commits: xmin",
        ),
    ];
    let keys = "    driver: postgres\n    datasource: ${env:DATABASE}\n    max_open_conn: 8";
    let yaml = race(keys, &queries.concat(), &told, &state);
    let weir = Weir::run_text(&yaml).env("DATABASE", server.url("postgres", "late")).start();
    write_late(&server, "late", SESSIONS, ROUNDS, "insert into t(n) values ($round)");
    let ids = server.execute("late", "select id from t order by id");
    let rows: Vec<u64> = ids.lines().map(|id| id.parse().expect("an id")).collect();
    assert!(rows.len() > ROUNDS * SESSIONS / 2, "{} rows", rows.len());
    settle(&told, &["xmin", "overlap", "stamped"], rows.len());
    let passed = passed(&told);
    let of = |way: &str| missed_and_doubled(&passed[way], &rows);
    let (naive, _) = of("naive");
    println!("{} rows, {naive} of them missed by the naive way", rows.len());
    assert!(naive > 0, "no row was committed late: this test shows nothing");
    for way in ["xmin", "overlap", "stamped"] {
        assert_eq!(of(way), (0, 0), "{way}: missed and doubled of {} rows; {}", rows.len(), weir.stderr());
    }
}

#[test]
fn rows_of_mariadb_are_passed_once_by_number_by_time_and_by_overlap() {
    const ROWS: usize = 4000;
    let server = MariaDb::shared();
    // Past 2^53, so that a number that is compared as a double shows; ten rows of each moment.
    server.database(
        "once",
        "create table t(id bigint primary key, at datetime(6), key(at, id));
         insert into t select 9007199254740992 + seq, '2026-11-21 03:24:16' + interval floor(seq / 10) * 1000 microsecond from seq_1_to_2000",
    );
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (told, state) = (folder.path().join("told"), folder.path().join("state"));
    let query = |way: &str, columns: &str, compare: &str, order: &str, keys: &str| {
        format!(
            "      - name: {way}
        sql: select id, at, concat('{way}:', id) as body from t where {compare} order by {order}
        max_rows: 300
        tracking_column: {columns}
        logs: [{{body_column: body}}]
        {keys}
"
        )
    };
    let queries = [
        query("number", "id", "id > ?", "id", "tracking_start_value: 0"),
        query(
            "overlap",
            "id",
            "id > $$1",
            "id",
            "tracking_start_value: 0\n        overlap: 50\n        key_columns: [id]",
        ),
        query(
            "time",
            "[{name: at, type: timestamp}, id]",
            "(at, id) > ($$1, $$2)",
            "at, id",
            "tracking_start_value: ['2000-01-01', 0]",
        ),
    ];
    let keys = "    driver: mysql\n    datasource: ${env:DATABASE}";
    let yaml = race(keys, &queries.concat(), &told, &state);
    let weir = Weir::run_text(&yaml).env("DATABASE", server.url("once", "once")).start();
    let ways = ["number", "overlap", "time"];
    settle(&told, &ways, ROWS / 2);
    server.execute(
        "once",
        "insert into t select 9007199254740992 + seq, '2026-11-21 03:24:16' + interval floor(seq / 10) * 1000 microsecond from seq_2001_to_4000",
    );
    settle(&told, &ways, ROWS);
    let passed = passed(&told);
    let rows: Vec<u64> = (1..=ROWS as u64).map(|row| (1 << 53) + row).collect();
    for way in ways {
        let found = passed.get(way).unwrap_or_else(|| panic!("nothing came by {way}: {}", weir.stderr()));
        assert_eq!(missed_and_doubled(found, &rows), (0, 0), "{way}: {}", weir.stderr());
    }
}

#[test]
fn rows_that_come_late_to_sqlite_are_met_by_an_overlap() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (told, state, path) = (folder.path().join("told"), folder.path().join("state"), folder.path().join("x.db"));
    let database = rusqlite::Connection::open(&path).expect("a fresh folder is writable");
    database
        .execute_batch("pragma journal_mode = wal; create table t(id integer primary key, at text)")
        .expect("SQL is right");
    let query = |way: &str, keys: &str| {
        format!(
            "      - name: {way}
        sql: select id, at, '{way}:' || id as body from t where at > ? order by at
        tracking_column: at
        tracking_start_value: '2000-01-01'
        logs: [{{body_column: body}}]
        {keys}
"
        )
    };
    let queries = [query("naive", ""), query("overlap", "overlap: 1m\n        key_columns: [id]")].concat();
    let keys = format!("    driver: sqlite\n    datasource: {}", path.display());
    let yaml = race(&keys, &queries, &told, &state);
    let mut weir = Weir::run_text(&yaml).start();
    let mut seed = 7;
    // The application stamps rows before it writes them: up to half a minute before, by its clock. One row a commit.
    for id in 1..=ROUNDS as u64 {
        let at = id * 100 - (random(&mut seed) % 30_000).min(id * 100);
        let sql = format!(
            "insert into t values ({id}, strftime('%Y-%m-%d %H:%M:%f', 1767225600 + {at} / 1000.0, 'unixepoch'))"
        );
        database.execute_batch(&sql).expect("SQL is right");
        if id.is_multiple_of(250) {
            // What was passed is known after a restart, however it ended.
            drop(weir);
            weir = Weir::run_text(&yaml).start();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let rows: Vec<u64> = (1..=ROUNDS as u64).collect();
    settle(&told, &["overlap"], rows.len());
    let passed = passed(&told);
    let (missed, _) = missed_and_doubled(&passed["naive"], &rows);
    let (lost, doubled) = missed_and_doubled(&passed["overlap"], &rows);
    println!("{missed} of {ROUNDS} rows missed by the naive way; {doubled} sent twice because of 4 kills");
    assert!(missed > 0, "no row came late: this test shows nothing");
    assert_eq!(lost, 0, "{}", weir.stderr());
    // A log record is delivered at least once: those of the page that a kill caught between its delivery and its commit. Were the keys
    // forgotten, each restart would send the hundreds of rows again that are within the overlap.
    assert!(doubled <= ROUNDS / 4, "{doubled}");
}

/// Kills of the running agent; `WEIR_TEST_KILLS` sets another number.
fn kills() -> usize {
    std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(25)
}

/// What a counter shows, added up over its series.
fn total(weir: &Weir, name: &str) -> f64 {
    Exposition::read(weir.scrape().text()).named(name).map(|sample| sample.number()).sum()
}

#[test]
fn each_row_counts_once_however_often_the_agent_is_killed() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (told, state, path) = (folder.path().join("told"), folder.path().join("state"), folder.path().join("x.db"));
    let database = rusqlite::Connection::open(&path).expect("a fresh folder is writable");
    database
        .execute_batch("pragma journal_mode = wal; create table t(id integer primary key, kind text, ms integer)")
        .expect("SQL is right");
    let queries = "
      - name: jobs
        sql: select id, kind, ms from t where id > ? order by id
        tracking_column: id
        tracking_start_value: 0
        max_rows: 500
        metrics:
          - {metric_name: jobs_total, new_rows: count, attribute_columns: [kind]}
          - {metric_name: job_ms_total, new_rows: add, value_column: ms}
          - {metric_name: job_ms, new_rows: observe, value_column: ms, buckets: [10, 100]}
";
    let keys = format!("    driver: sqlite\n    datasource: {}", path.display());
    let yaml = race(&keys, queries, &told, &state);
    let (mut seed, mut rows, mut caught) = (3, 0_u64, 0);
    for _ in 0..kills() {
        let weir = Weir::run_text(&yaml).start();
        let until = std::time::Instant::now() + Duration::from_millis(20 + random(&mut seed) % 200);
        while std::time::Instant::now() < until {
            let sql = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 200) insert into t(kind, ms) select 'k' || (n % 3), n from r";
            database.execute_batch(sql).expect("SQL is right");
            rows += 200;
            // As fast as they are read, or a little faster: what is left over has to be read at the end.
            std::thread::sleep(Duration::from_millis(6));
        }
        drop(weir);
        let listed = Weir::command(&["ledger", "ls", ledger(&state).to_str().expect("UTF-8")], &[]);
        let read = listed.stdout.lines().find_map(|line| line.strip_prefix("cursor \"jobs\" "));
        let read = read.map_or(0, |cursor| {
            serde_json::from_str::<serde_json::Value>(cursor).expect("JSON")["at"][0].as_u64().expect("an id")
        });
        caught += usize::from(read > 0 && read < rows);
    }
    assert!(caught > 0, "no kill came while rows were read: this test shows nothing");
    println!("{caught} of {} kills came while rows were read; {rows} rows", kills());
    let weir = Weir::run_text(&yaml).start();
    within(PATIENCE, "all rows to be counted", || (total(&weir, "jobs_total") >= rows as f64).then_some(()));
    assert_eq!(total(&weir, "jobs_total"), rows as f64);
    assert_eq!(total(&weir, "job_ms_total"), (rows / 200 * (200 * 201 / 2)) as f64);
    assert_eq!(total(&weir, "job_ms_count"), rows as f64);
}

fn ledger(state: &Path) -> std::path::PathBuf {
    state.join("receivers").join("sql_query~race")
}

/// A destination that takes everything by OTLP/HTTP and counts requests.
struct Sink {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(stream, &count));
            }
        });
        Self { address, bytes }
    }
}

fn serve(stream: TcpStream, count: &AtomicU64) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        count.fetch_add(length as u64, Ordering::Relaxed);
        answers
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
    }
}

/// Rows of the large result; `WEIR_TEST_ROWS` sets another number.
fn many() -> u64 {
    std::env::var("WEIR_TEST_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(2_000_000)
}

#[test]
fn millions_of_rows_leave_as_log_records_in_little_memory() {
    let sink = Sink::open();
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("x.db");
    let fill = format!(
        "create table t(id integer primary key); with recursive r(n) as (select 1 union all select n + 1 from r where n < {})
         insert into t select n from r",
        many()
    );
    rusqlite::Connection::open(&path)
        .and_then(|database| database.execute_batch(&fill))
        .expect("a fresh folder is writable");
    let yaml = |up_to| {
        format!(
            "
receivers:
  sql_query/many:
    driver: sqlite
    datasource: {}
    queries:
      - name: many
        sql: select id, 'a body of some length, as log records have it, ' || id as body, 'k' || (id % 10) as kind from t
          where id > ? and id <= {up_to} order by id
        collection_interval: 1h
        timeout: 1h
        max_rows: 20000000
        tracking_column: id
        tracking_start_value: 0
        logs: [{{body_column: body, attribute_columns: [id, kind]}}]
exporters:
  otlp_http: {{endpoint: 'http://{}', compression: none}}
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:
    logs: {{receivers: [sql_query/many], exporters: [otlp_http]}}
    metrics: {{receivers: [sql_query/many], exporters: [prometheus]}}
",
            path.display(),
            sink.address
        )
    };
    let weir = Weir::run_text(&yaml(0)).start();
    std::thread::sleep(Duration::from_millis(300));
    let idle = weir.resident_mib();
    drop(weir);
    let begun = std::time::Instant::now();
    let weir = Weir::run_text(&yaml(many())).start();
    let read = || {
        Exposition::read(weir.scrape().text())
            .named("weir_sql_rows")
            .next()
            .is_some_and(|rows| rows.number() == many() as f64)
    };
    let mut most: f64 = 0.0;
    within(Duration::from_secs(1800), "all rows", || {
        most = most.max(weir.resident_mib());
        std::thread::sleep(Duration::from_millis(20));
        read().then_some(())
    });
    let sent = sink.bytes.load(Ordering::Relaxed);
    println!(
        "{} rows, {} MB sent, {:.1} s, {idle:.1} MiB idle, {most:.1} MiB at most",
        many(),
        sent / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    assert!(sent > many() * 50, "{sent} bytes of {} rows", many());
    assert!(most - idle <= 16.0, "{idle:.1} MiB idle, {most:.1} MiB at most");
}

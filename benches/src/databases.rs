//! Databases as operators run them: rows of a server beside its bare protocol, results of millions of rows, a thousand queries.

mod bare;
mod bare_mysql;
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pdata::SeriesTable;
use receivers::bench::ServerRows;
use tests::mariadb::MariaDb;

use self::bare::Bare;
use self::bare_mysql::BareMysql;
use self::server::Server;
use crate::measure::{Report, best_of, process_cpu_ns};
use crate::process::{Program, free_addresses, get, weir};

const ROWS: usize = 100_000;
const MANY: u64 = 10_000_000;
const SERIES: u64 = 10_000;
const QUERIES: usize = 1000;

/// Five columns of which four name the series, as in the benchmark of SQLite rows.
const SQL: &str = "select region, service, tenant, kind, value from measured";

pub fn run() {
    let server = Server::start();
    let maria = MariaDb::start();
    match &server {
        Some(server) => postgres(server),
        None => eprintln!("no PostgreSQL under /usr/lib/postgresql: its figures are left out"),
    }
    mariadb(&maria);
    if !weir().exists() {
        eprintln!("no {}: build it first with `cargo build --release -p agent`", weir().display());
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let database = folder.path().join("empty.db");
    rusqlite::Connection::open(&database)
        .and_then(|connection| connection.execute_batch("create table t(n int)"))
        .expect("SQLite can create a file");
    let recursive = |rows: u64| {
        format!(
            "with recursive c(n) as (select 0 union all select n + 1 from c where n < {}) select 'tenant-' || (n % {SERIES}) as name, n as v from c",
            rows - 1
        )
    };
    let generated = |rows: u64| {
        format!("select 'tenant-' || (n % {SERIES}) as name, n as v from generate_series(0, {}) n", rows - 1)
    };
    let sequence =
        |rows: u64| format!("select concat('tenant-', seq % {SERIES}) as name, seq as v from seq_0_to_{}", rows - 1);
    let mut sources: Vec<Source> =
        vec![("SQLite", format!("driver: sqlite\n    datasource: {}", database.display()), Box::new(recursive))];
    if let Some(server) = &server {
        sources.push(("PostgreSQL", format!("driver: postgres\n    datasource: {}", url(server)), Box::new(generated)));
    }
    sources.push(("MariaDB", format!("driver: mysql\n    datasource: {}", dsn(&maria)), Box::new(sequence)));
    streams(&sources, folder.path());
    thousand(&sources, folder.path());
}

/// A database: its name, how weir reaches it, and a statement that makes so many rows.
type Source = (&'static str, String, Box<dyn Fn(u64) -> String>);

fn url(server: &Server) -> String {
    format!("'host={} user=postgres dbname=postgres'", server.folder().display())
}

fn dsn(server: &MariaDb) -> String {
    format!("'root@unix({})/mysql'", server.socket().display())
}

fn postgres(server: &Server) {
    let mut bare = Bare::connect(&server.socket()).expect("the server runs");
    let fill = format!(
        "create table measured as select (array['eu', 'us', 'ap'])[1 + n % 3] as region, 'service-' || n % 50 as service, \
         'tenant-' || lpad(n::text, 7, '0') as tenant, 'vm'::text as kind, n::bigint as value from generate_series(0, {}) n",
        ROWS - 1
    );
    bare.read(&fill).expect("the statement is valid");
    let datasource = format!("driver: postgres\ndatasource: {}", url(server));
    rows("PostgreSQL: rows to points, 100 k rows of five columns over a unix socket", &datasource, &mut || {
        bare.read(SQL).expect("the server runs").0
    });
}

fn mariadb(server: &MariaDb) {
    let mut bare = BareMysql::connect(&server.socket(), "mysql").expect("the server runs");
    let fill = format!(
        "create table measured as select elt(1 + seq % 3, 'eu', 'us', 'ap') as region, concat('service-', seq % 50) as service, \
         concat('tenant-', lpad(seq, 7, '0')) as tenant, 'vm' as kind, cast(seq as int) as value from seq_0_to_{}",
        ROWS - 1
    );
    bare.read(&fill).expect("the statement is valid");
    let datasource = format!("driver: mysql\ndatasource: {}", dsn(server));
    rows("MariaDB: rows to points, 100 k rows of five columns over a unix socket", &datasource, &mut || {
        bare.read(SQL).expect("the server runs").0
    });
}

/// Rows of a server, by its bare protocol and as points, in turns: noise hits both.
fn rows(title: &'static str, datasource: &str, bare: &mut dyn FnMut() -> u64) {
    let mut report = Report::new(title);
    let yaml = format!(
        "{datasource}\nqueries:\n- sql: {SQL}\n  metrics:\n  - {{metric_name: m, value_column: value, attribute_columns: [region, service, tenant, kind]}}"
    );
    let mut mapped = ServerRows::new(&yaml, SeriesTable::with_defaults()).expect("the section is valid");
    let mut floor_read = || assert_eq!(bare(), ROWS as u64);
    let mut read = || {
        let rows = mapped.read(|page| drop(std::hint::black_box(page))).expect("the server runs");
        assert_eq!(rows, ROWS as u64);
    };
    read();
    let wall = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64() * 1e9 / ROWS as f64
    };
    let (mut floor_wall, mut steady_wall) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..7 {
        floor_wall = floor_wall.min(wall(&mut floor_read));
        steady_wall = steady_wall.min(wall(&mut read));
    }
    let (floor, steady) = (best_of(7, ROWS, &mut floor_read), best_of(7, ROWS, &mut read));
    report.cost("bare protocol, every cell looked at: CPU of the client", floor, "row", None);
    report.cost("rows to points, steady, transaction included: CPU of the client", steady, "row", None);
    for (what, ns) in [("bare protocol", floor_wall), ("rows to points", steady_wall)] {
        report.figure(what, format!("{ns:.0} ns a row, {:.2} M rows a second", 1e3 / ns), None);
    }
    report.figure("steady against bare", format!("{:.2}x", steady_wall / floor_wall), Some("1.3x"));
    report.print();
}

/// Memory that ten million rows add to an agent that holds the same ten thousand series anyway.
fn streams(sources: &[Source], folder: &Path) {
    let mut report = Report::new("Ten million rows into ten thousand series");
    let mut measure = |name: &str, driver: &str, sql: &dyn Fn(u64) -> String| {
        let peak = |rows: u64| {
            let query = format!(
                "      - sql: {:?}\n        timeout: 10m\n        max_rows: {}\n        metrics: [{{metric_name: m, value_column: v, attribute_columns: [name]}}]\n",
                sql(rows),
                2 * MANY
            );
            let program = agent(driver, "interval", &query, folder);
            let began = Instant::now();
            let ready = std::iter::repeat_with(|| get(program.address, "/metrics", "")).find_map(|answer| {
                std::thread::sleep(Duration::from_millis(50));
                let there = answer.is_ok_and(|answer| answer.status == 200 && answer.body_bytes > 100_000);
                (there || began.elapsed() > Duration::from_secs(600)).then_some(there)
            });
            assert_eq!(ready, Some(true), "{name}: no rows came");
            (high_water(program.pid()), began.elapsed())
        };
        let (few, _) = peak(SERIES);
        let (many, took) = peak(MANY);
        let added = many.saturating_sub(few) as f64 / f64::from(1 << 20);
        report.figure(
            format!("{name}: added to resident memory at its highest"),
            format!("{added:.1} MiB"),
            Some("16 MiB"),
        );
        report.figure(
            format!("{name}: rows a second, database included"),
            format!("{:.2} M", MANY as f64 / took.as_secs_f64() / 1e6),
            None,
        );
    };
    sources.iter().for_each(|(name, driver, sql)| measure(name, driver, sql));
    report.print();
}

/// A thousand queries of one row each, all read by one scrape.
fn thousand(sources: &[Source], folder: &Path) {
    let mut report = Report::new("A thousand queries on one database, read by one scrape");
    let mut queries = String::new();
    for n in 0..QUERIES {
        writeln!(queries, "      - {{sql: 'select {n} as v', metrics: [{{metric_name: m{n}, value_column: v}}]}}")
            .expect("writing to a String cannot fail");
    }
    let mut measure = |name: &str, driver: &str| {
        let program = agent(driver, "on_scrape", &queries, folder);
        program.wait_ready("/metrics", Duration::from_secs(60)).expect("the agent serves");
        let scrape =
            || get(program.address, "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 30\r\n").expect("an answer");
        scrape();
        let (cpu, began) = (process_cpu_ns(program.pid()), Instant::now());
        (0..5).for_each(|_| assert_eq!(scrape().status, 200));
        let each = 5.0 * QUERIES as f64;
        let cpu = (process_cpu_ns(program.pid()) - cpu) as f64 / each / 1e3;
        let wall = began.elapsed().as_secs_f64() * 1e3 / 5.0;
        report.figure(format!("{name}: CPU of weir per query, scrape included"), format!("{cpu:.1} µs"), None);
        report.figure(format!("{name}: a scrape"), format!("{wall:.0} ms"), None);
        let memory = high_water(program.pid()) as f64 / f64::from(1 << 20);
        report.figure(format!("{name}: resident memory at its highest"), format!("{memory:.1} MiB"), None);
    };
    sources.iter().for_each(|(name, driver, _)| measure(name, driver));
    report.print();
}

fn agent(driver: &str, collection: &str, queries: &str, folder: &Path) -> Program {
    let [metrics, telemetry] = free_addresses();
    let pace = if collection == "interval" { "    collection_interval: 1h\n" } else { "    timeout: 20s\n" };
    let yaml = format!(
        "receivers:
  sql_query:
    {driver}
    collection: {collection}
{pace}    self_metrics: false
    queries:
{queries}exporters:
  prometheus: {{endpoint: '{metrics}', startup_grace: 1ms}}
service:
  telemetry: {{metrics: {{address: '{telemetry}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query], exporters: [prometheus]}}}}
"
    );
    let config = folder.join("weir.yaml");
    std::fs::write(&config, yaml).expect("the temporary folder can be written");
    Program::start(Command::new(weir()).arg("run").arg("--config").arg(&config), metrics)
        .expect("the binary can be started")
}

/// Resident memory of a process at its highest, in bytes.
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

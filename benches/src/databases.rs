//! Databases as operators run them: rows of a server beside its bare protocol, results of millions of rows, a thousand queries.

mod bare;
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pdata::SeriesTable;
use receivers::bench::ServerRows;

use self::bare::Bare;
use self::server::Server;
use crate::measure::{Report, best_of, process_cpu_ns};
use crate::process::{Program, free_address, get, weir};

const ROWS: usize = 100_000;
const MANY: u64 = 10_000_000;
const SERIES: u64 = 10_000;
const QUERIES: usize = 1000;

/// Five columns of which four name the series, as in the benchmark of SQLite rows.
const SQL: &str = "select region, service, tenant, kind, value from rows";

pub fn run() {
    let server = Server::start();
    if let Some(server) = &server {
        rows(server);
    } else {
        eprintln!("no PostgreSQL under /usr/lib/postgresql: its figures are left out");
    }
    if !weir().exists() {
        eprintln!("no {}: build it first with `cargo build --release -p agent`", weir().display());
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let database = folder.path().join("empty.db");
    rusqlite::Connection::open(&database)
        .and_then(|connection| connection.execute_batch("create table t(n int)"))
        .expect("SQLite can create a file");
    let sqlite = format!("driver: sqlite\n    datasource: {}", database.display());
    let postgres = server.as_ref().map(|server| format!("driver: postgres\n    datasource: {}", url(server)));
    streams(&sqlite, postgres.as_deref(), folder.path());
    thousand(&sqlite, postgres.as_deref(), folder.path());
}

fn url(server: &Server) -> String {
    format!("'host={} user=postgres dbname=postgres'", server.folder().display())
}

fn rows(server: &Server) {
    let mut report = Report::new("PostgreSQL: rows to points, 100 k rows of five columns over a unix socket");
    let mut bare = Bare::connect(&server.socket()).expect("the server runs");
    let fill = format!(
        "create table rows as select (array['eu', 'us', 'ap'])[1 + n % 3] as region, 'service-' || n % 50 as service, \
         'tenant-' || lpad(n::text, 7, '0') as tenant, 'vm'::text as kind, n::bigint as value from generate_series(0, {}) n",
        ROWS - 1
    );
    bare.read(&fill).expect("the statement is valid");
    let wall = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        ROWS as f64 / began.elapsed().as_secs_f64() / 1e6
    };
    let mut floor_read = || {
        assert_eq!(bare.read(SQL).expect("the server runs").0, ROWS as u64);
    };
    let floor = best_of(7, ROWS, &mut floor_read);
    let fastest = (0..5).map(|_| wall(&mut floor_read)).fold(0.0, f64::max);
    report.cost("bare protocol, every cell looked at", floor, "row", None);
    report.figure("bare protocol", format!("{fastest:.2} M rows a second"), None);
    let yaml = format!(
        "driver: postgres\ndatasource: {}\nqueries:\n- sql: {SQL}\n  metrics:\n  - {{metric_name: m, value_column: value, attribute_columns: [region, service, tenant, kind]}}",
        url(server)
    );
    let mut mapped = ServerRows::new(&yaml, SeriesTable::with_defaults()).expect("the section is valid");
    let mut read = || {
        let rows = mapped.read(|page| drop(std::hint::black_box(page))).expect("the server runs");
        assert_eq!(rows, ROWS as u64);
    };
    read();
    let steady = best_of(7, ROWS, &mut read);
    let fastest = (0..5).map(|_| wall(&mut read)).fold(0.0, f64::max);
    report.cost("rows to points, steady, transaction included", steady, "row", None);
    report.figure("rows to points", format!("{fastest:.2} M rows a second"), None);
    report.figure("steady against bare", format!("{:.2}x", steady.ns / floor.ns), Some("1.3x"));
    report.print();
}

/// Memory that ten million rows add to an agent that holds the same ten thousand series anyway.
fn streams(sqlite: &str, postgres: Option<&str>, folder: &Path) {
    let mut report = Report::new("Ten million rows into ten thousand series");
    let recursive = |rows: u64| {
        format!(
            "with recursive c(n) as (select 0 union all select n + 1 from c where n < {}) select 'tenant-' || (n % {SERIES}) as name, n as v from c",
            rows - 1
        )
    };
    let series = |rows: u64| {
        format!("select 'tenant-' || (n % {SERIES}) as name, n as v from generate_series(0, {}) n", rows - 1)
    };
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
    measure("SQLite", sqlite, &recursive);
    if let Some(postgres) = postgres {
        measure("PostgreSQL", postgres, &series);
    }
    report.print();
}

/// A thousand queries of one row each, all read by one scrape.
fn thousand(sqlite: &str, postgres: Option<&str>, folder: &Path) {
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
    measure("SQLite", sqlite);
    if let Some(postgres) = postgres {
        measure("PostgreSQL", postgres);
    }
    report.print();
}

fn agent(driver: &str, collection: &str, queries: &str, folder: &Path) -> Program {
    let (metrics, telemetry) = (free_address(), free_address());
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

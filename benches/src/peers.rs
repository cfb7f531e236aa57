//! Scrapes over a socket, beside peers, in one run: CPU of the serving process per series, first byte, resident memory.
//!
//! weir reads a SQLite table once and is scraped; what it serves is pushed into `prometheus-pushgateway`, which `tests/judges.sh` sets up
//! and which is scraped too. (Debian's `prometheus-sql-exporter` is built without SQLite.)

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::measure::{Report, process_cpu_ns, resident_bytes};
use crate::process::{Program, free_address, free_addresses, get, weir};

const TEXT: &str = "Accept: text/plain;version=0.0.4\r\n";
const GZIP: &str = "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n";
const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

pub fn run() {
    for series in sizes() {
        let mut report = Report::new(if series >= 1_000_000 { "Scrapes, 1 M series" } else { "Scrapes, 100 k series" });
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let database = folder.path().join("series.db");
        fill(&database, series);
        if let Some(body) = measure_weir(&mut report, folder.path(), &database, series) {
            measure_pushgateway(&mut report, &body, series);
        }
        report.print();
    }
}

fn sizes() -> Vec<usize> {
    if crate::arguments::large() { vec![100_000, 1_000_000] } else { vec![100_000] }
}

/// Scrapes of each kind.
const SCRAPES: usize = 10;

const LABELS: [&str; 10] =
    ["tenant", "region", "zone", "cluster", "namespace", "service", "instance", "method", "route", "status_code"];

fn fill(database: &Path, series: usize) {
    let mut connection = rusqlite::Connection::open(database).expect("SQLite can create a file");
    let columns = LABELS.map(|label| format!("{label} text")).join(", ");
    connection.execute_batch(&format!("create table series({columns}, value int)")).expect("the statement is valid");
    let transaction = connection.transaction().expect("nobody else uses the database");
    {
        let mut insert = transaction
            .prepare("insert into series values(?1,'eu-central-1','eu-central-1a','production-blue','payments','checkout-api','10.12.14.16:8443','POST','/v1/orders/{id}','200',?2)")
            .expect("the statement is valid");
        for n in 0..series {
            insert.execute((format!("tenant-{n:08}"), n as i64)).expect("the row fits the table");
        }
    }
    transaction.commit().expect("the disk has room");
}

fn measure_weir(report: &mut Report, folder: &Path, database: &Path, series: usize) -> Option<Vec<u8>> {
    let [metrics, telemetry] = free_addresses();
    let config = folder.join("weir.yaml");
    fs::write(&config, pipeline(database, metrics, telemetry.port())).expect("the temporary folder can be written");
    let mut command = Command::new(weir());
    command.arg("run").arg("--config").arg(&config);
    let program = Program::start(&mut command, metrics).expect("build it first: cargo build --release -p agent");
    let Some(took) = program.wait_ready("/metrics", Duration::from_secs(60)) else {
        eprintln!("weir did not answer 200 within a minute");
        return None;
    };
    report.figure("weir: exec to the first scrape of all rows", format!("{:.0} ms", took.as_secs_f64() * 1e3), None);
    let resident = resident_bytes(program.pid());
    report.figure("weir: resident per series", format!("{} bytes", resident / series as u64), Some("400 bytes at 1 M"));
    measure_scrapes(report, "weir: text", &program, TEXT, series, Some("120 ns"));
    measure_scrapes(report, "weir: OpenMetrics", &program, OPENMETRICS, series, None);
    measure_scrapes(report, "weir: text, gzip", &program, GZIP, series, Some("400 ns"));
    let grown = resident_bytes(program.pid()).saturating_sub(resident);
    report.figure(
        "weir: memory grown by scraping",
        format!("{:.1} MiB", grown as f64 / f64::from(1 << 20)),
        Some("16 MiB"),
    );
    fetch_body(metrics).ok()
}

fn measure_scrapes(
    report: &mut Report,
    what: &str,
    program: &Program,
    headers: &str,
    series: usize,
    goal: Option<&str>,
) {
    let (mut first_byte, mut bytes) = (Duration::MAX, 0);
    // The mean of all: a single scrape is of the order of the scheduler's accounting.
    let before = process_cpu_ns(program.pid());
    for _ in 0..SCRAPES {
        let Ok(answer) = get(program.address, "/metrics", headers) else { return };
        first_byte = first_byte.min(answer.first_byte);
        bytes = answer.body_bytes;
    }
    let mean = (process_cpu_ns(program.pid()) - before) as f64 / (SCRAPES * series) as f64;
    let value = format!(
        "{mean:.0} ns CPU per series, first byte {:.1} ms, {} bytes per series",
        first_byte.as_secs_f64() * 1e3,
        bytes / series
    );
    report.figure(what, value, goal);
}

fn measure_pushgateway(report: &mut Report, body: &[u8], series: usize) {
    let address = free_address();
    let mut command = Command::new(tests::judges::program("prometheus-pushgateway"));
    command.arg(format!("--web.listen-address={address}"));
    let Ok(program) = Program::start(&mut command, address) else {
        report.figure("pushgateway", "not installed", None);
        return;
    };
    if program.wait_ready("/-/ready", Duration::from_secs(10)).is_none() || push(address, body).is_err() {
        report.figure("pushgateway", "did not take the body", None);
        return;
    }
    report.figure(
        "pushgateway: resident per series",
        format!("{} bytes", resident_bytes(program.pid()) / series as u64),
        None,
    );
    measure_scrapes(report, "pushgateway: text", &program, TEXT, series, None);
    measure_scrapes(report, "pushgateway: text, gzip", &program, GZIP, series, None);
}

fn pipeline(database: &Path, listen: SocketAddr, telemetry: u16) -> String {
    format!(
        "receivers:
  sql_query:
    driver: sqlite
    datasource: {}
    collection_interval: 1h
    queries:
      - sql: select {labels}, value from series
        max_rows: 2000000
        metrics: [{{metric_name: series_value, value_column: value, attribute_columns: [{labels}]}}]
exporters:
  prometheus: {{endpoint: '{listen}', startup_grace: 1m, max_series: 3000000}}
service:
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {telemetry}}}}}}}}}]}}}}
  pipelines:
    metrics: {{receivers: [sql_query], exporters: [prometheus]}}
",
        database.display(),
        labels = LABELS.join(", ")
    )
}

/// The whole text body, without chunk framing: HTTP/1.0 has none.
fn fetch_body(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n{TEXT}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
    Ok(answer.split_off(head))
}

fn push(address: SocketAddr, body: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "PUT /metrics/job/bench HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other(answer)) }
}

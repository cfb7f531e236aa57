//! Footprint: size of the binary, time from exec to the first scrape, memory when idle.
//!
//! The pipeline is one SQLite table read on every scrape, so the first answer is a real one.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::measure::{Report, process_cpu_ns, resident_bytes};
use crate::process::{Program, free_addresses, get, weir};

const STARTS: usize = 31;

pub fn run() {
    let mut report = Report::new("Footprint");
    let binary = weir();
    let Ok(size) = fs::metadata(&binary).map(|meta| meta.len()) else {
        eprintln!("no {}: build it first with `cargo build --release -p agent`", binary.display());
        return;
    };
    report.figure("binary", format!("{:.1} MiB", mib(size)), Some("12 MiB"));

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let database = folder.path().join("inventory.db");
    let connection = rusqlite::Connection::open(&database).expect("SQLite can create a file");
    connection.execute_batch("create table t(n int); insert into t values (1)").expect("the statements are valid");

    let config = folder.path().join("weir.yaml");
    let start = || {
        let [metrics, telemetry] = free_addresses();
        fs::write(&config, pipeline(&database.display().to_string(), &metrics.to_string(), telemetry.port()))
            .expect("the temporary folder can be written");
        Program::start(Command::new(&binary).arg("run").arg("--config").arg(&config), metrics)
            .expect("the binary can be started")
    };

    let mut starts: Vec<f64> = (0..STARTS)
        .filter_map(|_| start().wait_ready("/metrics", Duration::from_secs(5)))
        .map(|took| took.as_secs_f64() * 1e3)
        .collect();
    starts.sort_by(f64::total_cmp);
    if let (Some(best), Some(median)) = (starts.first(), starts.get(starts.len() / 2)) {
        report.figure(
            "exec to the first scrape",
            format!("{median:.1} ms median, {best:.1} ms best"),
            Some("4 ms median"),
        );
    }

    let program = start();
    program.wait_ready("/metrics", Duration::from_secs(5)).expect("the agent serves");
    std::thread::sleep(Duration::from_secs(1));
    let before = process_cpu_ns(program.pid());
    std::thread::sleep(Duration::from_secs(10));
    let idle = (process_cpu_ns(program.pid()) - before) as f64 / 1e10;
    report.figure("resident after 10 s idle", format!("{:.1} MiB", mib(resident_bytes(program.pid()))), Some("8 MiB"));
    report.figure("CPU when idle", format!("{:.2} % of a core", idle * 100.0), Some("0.1 %"));
    get(program.address, "/metrics", "").expect("the agent still serves");
    report.print();
}

fn pipeline(database: &str, listen: &str, telemetry: u16) -> String {
    format!(
        "receivers:
  sql_query:
    driver: sqlite
    datasource: {database}
    collection: on_scrape
    queries:
      - sql: select n from t
        metrics: [{{metric_name: n, value_column: n}}]
exporters:
  prometheus: {{endpoint: '{listen}'}}
service:
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {telemetry}}}}}}}}}]}}}}
  pipelines:
    metrics: {{receivers: [sql_query], exporters: [prometheus]}}
"
    )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

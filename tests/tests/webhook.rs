//! The receiver `webhook` as its users run it: sent to, scraped, filled up, started again. `kills.rs` is where it is killed.

#![allow(clippy::disallowed_types, reason = "real processes live in real time")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::http::{self, OPEN_METRICS, Response};
use tests::orders::{CONFIG, counts, event, free, post, tenant};
use tests::{PATIENCE, Weir, at_best, best, repository, within};

/// A running weir and where it takes events.
struct House {
    weir: Weir,
    door: SocketAddr,
    health: SocketAddr,
}

impl House {
    fn start(config: &str, state: &Path) -> Self {
        Self::start_with(config, state, &[])
    }

    fn start_with(config: &str, state: &Path, environment: &[(&str, &Path)]) -> Self {
        let (door, health) = (free(), free());
        let launch = Weir::run_text(config).env("HOOKS", door.to_string()).env("HEALTH", health.to_string());
        let mut launch = launch.env("WEIR_STATE", state);
        for (name, value) in environment {
            launch = launch.env(name, value);
        }
        let weir = launch.start();
        within(PATIENCE, "taking events", || http::get(door, "/orders", &[]).ok());
        Self { weir, door, health }
    }

    fn post(&self, body: &str) -> Response {
        post(self.door, body).expect("weir answers")
    }

    /// Whether the agent says that it is ready.
    fn ready(&self) -> bool {
        http::get(self.health, "/readyz", &[]).expect("weir answers").status == 200
    }

    fn shown(&self) -> Exposition {
        Exposition::read(self.weir.scrape().text())
    }
}

#[test]
fn a_restart_keeps_all_series() {
    let state = tempfile::tempdir().expect("there is room");
    let house = House::start(CONFIG, state.path());
    for id in 1..=20 {
        assert_eq!(house.post(&event(id)).status, 200);
        assert!(house.shown().value("orders_total", &[("tenant", &tenant(id))]).is_some(), "a scrape shows it at once");
    }
    let lines = |house: &House| {
        let text = house.weir.get(&[OPEN_METRICS]).text().to_owned();
        let lines = text.lines().filter(|line| line.starts_with("order")).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let before = lines(&house);
    assert!(before.len() > 10, "{before:?}");
    drop(house);
    let house = House::start(CONFIG, state.path());
    assert_eq!(lines(&house), before, "nothing has been sent since");
    house.weir.stop();
}

#[test]
fn without_a_disk_events_count_once_until_the_process_ends() {
    let config = CONFIG
        .replace("    storage: file_storage\n", "    durability: memory\n")
        .replace("  file_storage: {directory: '${env:WEIR_STATE}', create_directory: true}\n", "")
        .replace("[file_storage, health_check]", "[health_check]");
    let state = tempfile::tempdir().expect("there is room");
    for life in 1..=2 {
        let house = House::start(&config, state.path());
        assert_eq!(
            house.shown().value("orders_total", &[("tenant", &tenant(1))]),
            None,
            "life {life} begins with nothing"
        );
        for id in (1..=20).chain(1..=20) {
            assert_eq!(house.post(&event(id)).status, 200);
        }
        let shown = house.shown();
        for (tenant, count) in counts(1..=20) {
            assert_eq!(shown.value("orders_total", &[("tenant", &tenant)]), Some(count), "{tenant} in life {life}");
        }
        assert!(house.ready());
        drop(house);
    }
    assert_eq!(std::fs::read_dir(state.path()).expect("it is there").count(), 0, "nothing was written");
}

fn disk_that_fails(letter: &str) {
    let scratch = tempfile::tempdir().expect("there is room");
    let path = |name: &str| scratch.path().join(name);
    let (shim, state, shadow, fault) = (path("disk.so"), path("state"), path("shadow"), path("fault"));
    std::fs::create_dir(&state).expect("a fresh folder is writable");
    std::fs::create_dir(&shadow).expect("a fresh folder is writable");
    let source = repository::root().join("tests/shim/disk.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    assert!(built.is_ok_and(|status| status.success()), "cc builds tests/shim/disk.c");
    let environment: [(&str, &Path); 4] =
        [("LD_PRELOAD", &shim), ("SHIM_DIR", &state), ("SHIM_SHADOW", &shadow), ("SHIM_FAULT", &fault)];
    let house = House::start_with(CONFIG, &state, &environment);
    let mut id = 0;
    for _ in 0..5 {
        id += 1;
        assert_eq!(house.post(&event(id)).status, 200);
        std::fs::write(&fault, letter).expect("a fresh folder is writable");
        id += 1;
        let began = Instant::now();
        let refused = house.post(&event(id));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
        within(Duration::from_secs(1), "not being ready", || (!house.ready()).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(1), "told after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(house.post(&event(id)).status, 503, "still");
        std::fs::remove_file(&fault).expect("it was written");
        within(Duration::from_secs(2), "the ledger to heal", || (house.post(&event(id)).status == 200).then_some(()));
        within(Duration::from_secs(1), "being ready again", || house.ready().then_some(()));
    }
    let shown = house.shown();
    for (tenant, count) in counts(1..=id) {
        assert_eq!(shown.value("orders_total", &[("tenant", &tenant)]), Some(count), "{tenant}");
    }
    let refused = shown.value("hooks_refused_total", &[("source", "orders"), ("reason", "not_ready")]);
    assert!(refused.is_some_and(|refused| refused >= 10.0), "{refused:?}");
    house.weir.stop();
}

#[test]
fn a_full_disk_is_told_at_once_and_heals_without_a_restart() {
    disk_that_fails("n");
}

#[test]
fn a_disk_that_fails_fsyncs_is_told_at_once_and_heals_without_a_restart() {
    disk_that_fails("f");
}

#[test]
fn ten_bombs_at_once_are_refused_in_time_and_cost_no_memory() {
    let state = tempfile::tempdir().expect("there is room");
    let house = House::start(CONFIG, state.path());
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    let bomb = packed(&vec![b' '; 24 << 20]);
    assert!(bomb.len() < 256 << 10, "it would be too large as it is");
    house.post(&event(1));
    let before = house.weir.resident_mib();
    let door = house.door;
    let headers = [("Content-Encoding", "gzip")];
    let throw = || http::request("POST", door, "/orders", &headers, &bomb).expect("weir answers");
    let told: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(throw)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it is answered")).collect()
    });
    for response in &told {
        assert_eq!(response.status, 413, "{}", response.text());
    }
    // A hundred times what is allowed is in it, and is not unpacked: a bomb takes what an honest event takes that is as large as one may
    // be. In milliseconds the benchmark `webhook` tells it.
    let large = format!("{}{}", event(3), " ".repeat(255 << 10));
    let large = packed(large.as_bytes());
    let honest = best(|| {
        let answer = http::request("POST", door, "/orders", &headers, &large).expect("weir answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.took
    });
    at_best(honest * 4 + Duration::from_millis(5), "a bomb", || throw().took);
    let grown = house.weir.resident_mib() - before;
    assert!(grown < 16.0, "{grown} MiB more");
    assert_eq!(house.post(&event(2)).status, 200);
    house.weir.stop();
}

#[test]
fn the_receiver_webhook_event_makes_log_records_of_bodies() {
    let config = "
receivers:
  webhookevent: {endpoint: '${env:HOOKS}', split_logs_at_newline: true}
  sql_query: {driver: sqlite, datasource: examples/quickstart/inventory.db, queries: [{sql: select 1 as one, metrics: [{metric_name: one, value_column: one}]}]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
  debug: {verbosity: detailed}
service:
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}]}}
  pipelines:
    metrics: {receivers: [sql_query], exporters: [prometheus]}
    logs: {receivers: [webhookevent], exporters: [debug]}
";
    let state = tempfile::tempdir().expect("there is room");
    let door = free();
    let weir = Weir::run_text(config).env("HOOKS", door.to_string()).env("WEIR_STATE", state.path()).start();
    let healthy = within(PATIENCE, "its health", || http::get(door, "/health_check", &[]).ok());
    assert_eq!(healthy.status, 200);
    let told = http::request("POST", door, "/events?team=blue", &[], b"first of all\nsecond\n").expect("weir answers");
    assert_eq!((told.status, told.body.len()), (200, 0));
    let outcome = weir.stop();
    let printed = outcome.stdout + &outcome.stderr;
    for part in ["first of all", "second", "team"] {
        assert!(printed.contains(part), "{part:?} is not in {printed}");
    }
}

#[test]
fn validate_tells_what_would_not_work_where_it_stands() {
    let config = "
receivers:
  webhook:
    endpoint: 0.0.0.0:9466
    storage: file_storage
    sources:
      - {name: a, path: /in, metrics: [{metric_name: n}]}
      - name: b
        path: /in
        verify: {scheme: github}
        id: data..id
        metrics:
          - {metric_name: m, data_type: histogram, value: v, buckets: [5, 1]}
exporters: {debug: {}}
extensions: {file_storage: {directory: /tmp}}
service:
  extensions: [file_storage]
  pipelines: {metrics: {receivers: [webhook], exporters: [debug]}}
";
    let outcome = Weir::command(&["validate", "--config", &format!("yaml:{config}")], &[]);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    for told in [
        ":7:9: error: 'verify' is missing: whoever reaches this door could send events",
        ":9:15: error: ",
        "two sources have the path /in",
        "first used",
        ":10:17: error: ",
        "the secret is missing",
        ":11:13: error: ",
        "empty step",
        "1 does not come after 5",
    ] {
        assert!(outcome.stderr.contains(told), "{told:?} is not in\n{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("warning"), "a door of signed sources is not open: {}", outcome.stderr);
}

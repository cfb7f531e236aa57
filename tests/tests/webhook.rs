//! The receiver `webhook` as its users run it: sent to, scraped, killed, filled up, started again.

#![allow(clippy::disallowed_types, reason = "real processes live in real time")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::http::{self, OPEN_METRICS, Response};
use tests::{PATIENCE, Random, Weir, repository, within};

const CONFIG: &str = "
receivers:
  webhook:
    endpoint: ${env:HOOKS}
    storage: file_storage
    flush_interval: 1s
    refused_metric: hooks_refused
    sources:
      - name: orders
        id: id
        metrics:
          - {metric_name: orders, attributes: [{name: tenant}]}
          - {metric_name: order_amount, value: amount, attributes: [{name: tenant}]}
          - {metric_name: order_size, data_type: histogram, value: amount, buckets: [10, 100]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
extensions:
  file_storage: {directory: '${env:WEIR_STATE}', create_directory: true}
  health_check: {endpoint: '${env:HEALTH:-127.0.0.1:0}'}
service:
  extensions: [file_storage, health_check]
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}]}}
  pipelines:
    metrics: {receivers: [webhook], exporters: [prometheus]}
";

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

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("there is a free port")
}

fn post(door: SocketAddr, body: &str) -> std::io::Result<Response> {
    http::request("POST", door, "/orders", &[("Content-Type", "application/json")], body.as_bytes())
}

fn tenant(id: u64) -> String {
    format!("t{}", id % 7)
}

fn amount(id: u64) -> u64 {
    id * 31 % 200
}

fn event(id: u64) -> String {
    format!(r#"{{"id":"evt_{id}","tenant":"{}","amount":{}}}"#, tenant(id), amount(id))
}

/// What senders know: which events they have made, and which were answered.
#[derive(Default)]
struct Books {
    made: u64,
    open: Vec<u64>,
    answered: Vec<u64>,
    redelivered: u64,
    unanswered: u64,
    kept: u64,
}

#[derive(Default)]
struct Senders {
    books: Mutex<Books>,
    stop: AtomicBool,
    finish: AtomicBool,
}

impl Senders {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no sender panics with the books in hand")
    }

    /// Sends new events, unanswered ones until they are answered, and answered ones once more.
    fn run(&self, door: SocketAddr, seed: u64) {
        let mut random = Random::new(seed);
        while !self.stop.load(Ordering::Relaxed) {
            let finishing = self.finish.load(Ordering::Relaxed);
            let (id, again) = {
                let mut books = self.books();
                match (books.open.pop(), books.answered.len()) {
                    (Some(id), _) => (id, false),
                    (None, _) if finishing => return,
                    (None, answered) if answered > 0 && random.below(8) == 0 => {
                        (books.answered[random.below(answered)], true)
                    }
                    _ => {
                        books.made += 1;
                        (books.made, false)
                    }
                }
            };
            match post(door, &event(id)) {
                Ok(response) if response.status == 200 => {
                    let duplicate = response.text().contains("\"duplicate\":true");
                    let mut books = self.books();
                    if again {
                        assert!(duplicate, "event {id} was counted a second time: {}", response.text());
                        books.redelivered += 1;
                    } else {
                        books.kept += u64::from(duplicate);
                        books.answered.push(id);
                    }
                }
                Ok(response) => panic!("event {id} was refused: {} {}", response.status, response.text()),
                Err(_) => {
                    let mut books = self.books();
                    books.unanswered += 1;
                    if !again {
                        books.open.push(id);
                    }
                    drop(books);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

fn counts(ids: impl Iterator<Item = u64>) -> BTreeMap<String, f64> {
    ids.fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(tenant(id)).or_default() += 1.0;
        counts
    })
}

/// Holds a scrape against what had been answered before it and what was made until after it.
fn between(shown: &Exposition, answered: &[u64], made: u64) {
    let (least, most) = (counts(answered.iter().copied()), counts(1..=made));
    for tenant in most.keys() {
        let shown = shown.value("orders_total", &[("tenant", tenant)]).unwrap_or(0.0);
        let least = least.get(tenant).copied().unwrap_or(0.0);
        assert!((least..=most[tenant]).contains(&shown), "{tenant}: {shown} is not in {least}..={}", most[tenant]);
    }
}

/// `kill -9` at random moments, also during start-up, while senders that try again go on. `WEIR_TEST_KILLS` says how often; 300 by default.
#[test]
fn no_kill_loses_doubles_or_invents_an_event() {
    let kills = std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(300);
    let state = tempfile::tempdir().expect("there is room");
    let (door, listen, scratch) = (free(), free(), tempfile::tempdir().expect("there is room"));
    let config = scratch.path().join("weir.yaml");
    std::fs::write(&config, CONFIG).expect("a fresh folder is writable");
    let start = || {
        let log = std::fs::File::create(scratch.path().join("stderr")).expect("a fresh folder is writable");
        let mut command = Command::new(repository::binary());
        command.arg("run").arg("--config").arg(&config).current_dir(repository::root());
        command.env("HOOKS", door.to_string()).env("WEIR_LISTEN", listen.to_string());
        command.env("WEIR_STATE", state.path()).stderr(log).stdout(std::process::Stdio::null());
        command.spawn().expect("weir starts")
    };
    let senders = Arc::new(Senders::default());
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let senders = senders.clone();
            std::thread::spawn(move || senders.run(door, seed))
        })
        .collect();
    let mut random = Random::new(11);
    let (mut while_starting, mut checked) = (0, 0);
    for round in 0..kills {
        let mut weir = start();
        if round % 5 == 4 {
            while_starting += 1;
            std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        } else {
            within(PATIENCE, "taking events", || {
                let ended = weir.try_wait().expect("our own child can be asked");
                let log = || std::fs::read_to_string(scratch.path().join("stderr")).unwrap_or_default();
                assert!(ended.is_none(), "round {round}: {ended:?}: {}", log());
                http::get(door, "/orders", &[]).ok()
            });
            if round % 20 == 0 {
                let answered = senders.books().answered.clone();
                let shown = Exposition::read(http::get(listen, "/metrics", &[http::TEXT]).expect("it answers").text());
                between(&shown, &answered, senders.books().made);
                checked += 1;
            }
            std::thread::sleep(Duration::from_millis(random.below(30) as u64));
        }
        weir.kill().expect("our own child can be ended");
        weir.wait().expect("our own child can be waited for");
    }
    let mut weir = start();
    senders.finish.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no event is refused or counted twice");
    }
    let shown = Exposition::read(http::get(listen, "/metrics", &[http::TEXT]).expect("it answers").text());
    let books = senders.books();
    assert_eq!(books.answered.len() as u64, books.made);
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    (1..=books.made).for_each(|id| *sums.entry(tenant(id)).or_default() += amount(id) as f64);
    for (tenant, count) in counts(1..=books.made) {
        assert_eq!(shown.value("orders_total", &[("tenant", &tenant)]), Some(count), "{tenant}");
        assert_eq!(shown.value("order_amount_total", &[("tenant", &tenant)]), Some(sums[&tenant]), "{tenant}");
    }
    assert_eq!(shown.value("order_size_count", &[]), Some(books.made as f64));
    let Books { made, redelivered, unanswered, kept, .. } = &*books;
    weir.kill().expect("our own child can be ended");
    weir.wait().expect("our own child can be waited for");
    // A loop that hit nothing has shown nothing.
    assert!(
        *made > kills && *redelivered > 10 && *unanswered > 10 && *kept > 0 && while_starting > 0 && checked > 0,
        "{made} events, {redelivered} redelivered, {unanswered} unanswered, {kept} of them kept, {while_starting} kills while starting"
    );
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
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b' '; 24 << 20]).expect("memory takes it");
    let bomb = encoder.finish().expect("memory takes it");
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
    // One alone, on a machine that does other things as well; a build without optimisation gets more time.
    let limit = if cfg!(debug_assertions) { 400 } else { 100 };
    let alone = throw();
    assert!(alone.took < Duration::from_millis(limit), "{:?}", alone.took);
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

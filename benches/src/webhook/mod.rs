//! Signed events over a socket, as senders send them: CPU of the serving process per event, latency, memory, beside Debian's `webhook`.
//!
//! Bodies of 600 bytes, HMAC-SHA256 as GitHub signs, connections that stay open, every twentieth event a repetition. weir verifies,
//! recognises repetitions, counts by type and tenant, and answers after the commit. The peer verifies and compares one field; its command is
//! never run. After each load the counters are compared with what was sent.

pub mod bare;
mod load;
mod sqlite;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use pdata::{Attributes, Identity, Kind, Metric, Number, Origin, SeriesTable};
use pipeline::state::{Entry, Ledger, LedgerOptions};
use pipeline::{Clock, Health, Meters};

use crate::measure::{Report, process_cpu_ns, resident_bytes};
use crate::process::{Program, free_address, free_addresses, weir};
use load::{Mix, Outcome, PATH, Requests, SECRET, request, requests, send};

/// A running weir with the receiver.
struct House {
    program: Program,
    metrics: SocketAddr,
    folder: PathBuf,
}

/// Rounds of a load of which the cheapest counts: noise only adds.
const ROUNDS: u64 = 3;

pub fn run() {
    let mut report = Report::new("Webhooks: 600 bytes, signed, over a socket");
    if let Err(error) = files(20_000) {
        println!("webhook: the limit on open files cannot be raised: {error}");
        return;
    }
    yardstick(&mut report);
    in_memory(&mut report);
    peer(&mut report);
    durable(&mut report);
    flat(&mut report);
    idle(&mut report);
    bombs(&mut report);
    restart(&mut report);
    report.print();
}

/// What the ledger promises.
const DURABLE: &str = "storage: file_storage";
const RELAXED: &str = "storage: file_storage\n    durability: relaxed";
const MEMORY: &str = "durability: memory";

const MIX: Mix = Mix { events: 40_000, repeats: 5, bad: 0 };

/// The same requests to hyper alone.
fn yardstick(report: &mut Report) {
    let address = free_address();
    let mut command = Command::new(std::env::current_exe().expect("the benchmark knows its own path"));
    let program = Program::start(command.args([bare::ARGUMENT, &address.to_string()]), address);
    let best = cheapest(&program.expect("this program can be started again"), 600);
    report.figure("hyper alone, 64 connections", told(&best), Some("9.5 µs where goals were set"));
}

/// Verified, de-duplicated and counted, without a disk to wait for.
fn in_memory(report: &mut Report) {
    let folder = disk();
    let house = House::start(folder.path(), MEMORY);
    let good = house.load(64, MIX, 1);
    report.figure("in memory, 64 connections", told(&good), Some("13 µs"));
    let bad = house.load(64, Mix { repeats: 0, bad: 50, ..MIX }, 100);
    report.figure("the same, half of the signatures wrong", told(&bad), Some("not above the good ones"));
    let house = House::start(folder.path(), RELAXED);
    let relaxed = house.load(64, MIX, 150);
    report.figure("on disk, without an fsync, 64 connections", told(&relaxed), None);
}

/// Answered after an fsync that many share, on the disk that the figures' reader is told of.
fn durable(report: &mut Report) {
    for (connections, events) in [(1, 1_000), (16, 10_000), (128, 40_000), (256, 40_000)] {
        let folder = disk();
        let house = House::start(folder.path(), DURABLE);
        let outcome = house.load(connections, Mix { events, ..MIX }, 200);
        let goal = (connections == 256).then_some("15 µs");
        report.figure(format!("durable, {connections} connections"), told(&outcome), goal);
        if connections == 128 {
            let alone = sqlite::rate(disk().path(), connections);
            let share = format!("{:.0} % ({alone:.0} events/s alone)", 100.0 * outcome.0.rate() / alone);
            report.figure("of what the same SQLite commits alone in groups of 128", share, Some("70 %"));
        }
    }
}

/// Memory under events that are all new, once the window of remembered ids is as large as it may be.
fn flat(report: &mut Report) {
    let folder = disk();
    let house =
        House::start(folder.path(), "storage: file_storage\n    durability: relaxed\n    dedup: {max_bytes: 1MiB}");
    let mix = Mix { repeats: 0, ..MIX };
    house.once(64, &requests(mix, 300));
    let before = resident_bytes(house.program.pid());
    (301..305).for_each(|seed| drop(house.once(64, &requests(mix, seed))));
    let grown = resident_bytes(house.program.pid()) as i64 - before as i64;
    report.figure(
        "memory grown by 160 k more events",
        format!("{:.1} MiB", grown as f64 / f64::from(1 << 20)),
        Some("flat"),
    );
}

fn idle(report: &mut Report) {
    let folder = disk();
    let house = House::start(folder.path(), RELAXED);
    let idle: Vec<TcpStream> = (0..10_000).filter_map(|_| TcpStream::connect(house.program.address).ok()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let resident = resident_bytes(house.program.pid()) as f64 / f64::from(1 << 20);
    report.figure(
        format!("resident with {} idle connections", idle.len()),
        format!("{resident:.0} MiB"),
        Some("160 MiB"),
    );
}

/// Ten at once that unpack to a thousand times what they are.
fn bombs(report: &mut Report) {
    let folder = disk();
    let house = House::start(folder.path(), RELAXED);
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 64 << 20]).expect("memory takes all");
    let bomb = request(&packed.finish().expect("memory takes all"), false, "Content-Encoding: gzip\r\n");
    let before = resident_bytes(house.program.pid());
    let outcome = send(house.program.address, 10, &Requests { all: vec![bomb; 10], good: 0 });
    let grown = resident_bytes(house.program.pid()).saturating_sub(before) as f64 / f64::from(1 << 20);
    let answers = &outcome.answers;
    let value = format!("{:.1} ms at most, answers {answers:?}, {grown:.1} MiB grown", outcome.percentile_ms(100));
    report.figure("ten gzip bombs of 64 MiB at once", value, Some("413 within 100 ms"));
}

/// A start with a million series on disk, up to the first event that is answered.
fn restart(report: &mut Report) {
    let folder = disk();
    million(&folder.path().join("state/receivers/webhook"));
    let mut times: Vec<f64> = (0..3)
        .map(|seed| {
            let began = Instant::now();
            let house = House::launch(folder.path(), "storage: file_storage\n    max_series: 2000000");
            let one = requests(Mix { events: 1, repeats: 0, bad: 0 }, 400 + seed);
            while send(house.program.address, 1, &one).answers.is_empty() {
                // As when somebody else took its port meanwhile.
                assert!(began.elapsed() < Duration::from_secs(60), "weir does not start; run the benchmark again");
                std::thread::sleep(Duration::from_millis(2));
            }
            began.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    report.figure(
        "exec to the first answer with 1 M series on disk",
        format!("{:.2} s median", times[1]),
        Some("0.6 s"),
    );
}

fn million(folder: &Path) {
    let options = LedgerOptions {
        max_series: 2_000_000,
        durability: pipeline::state::Durability::Relaxed,
        ..LedgerOptions::default()
    };
    let table = SeriesTable::with_defaults();
    let ledger =
        Ledger::open(folder, "webhook", options, &Clock::system(), &table, &Meters::unread(), &Health::default())
            .expect("the disk has room");
    let (origin, metric) = (Arc::<Origin>::default(), Arc::new(Metric::new("events", Kind::COUNTER)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    for thousand in 0..1000 {
        let mut entry = Entry::new();
        for number in thousand * 1000..(thousand + 1) * 1000 {
            let tenant = format!("tenant-{number:07}");
            let attributes = Attributes::from_pairs([("type", "order.created"), ("tenant", &tenant)]);
            let identity = Identity { origin: origin.clone(), metric: metric.clone(), attributes };
            entry.add(ledger.track(identity).expect("a counter can be kept"), Number::Int(1));
        }
        runtime.block_on(ledger.submit(entry)).expect("the disk has room");
    }
}

/// Debian's `webhook`, which is Go's.
fn peer(report: &mut Report) {
    let folder = disk();
    let hooks = folder.path().join("hooks.json");
    let rule = format!(
        r#"[{{"id":"hook","execute-command":"/bin/true","trigger-rule":{{"and":[
            {{"match":{{"type":"payload-hmac-sha256","secret":"{SECRET}","parameter":{{"source":"header","name":"X-Hub-Signature-256"}}}}}},
            {{"match":{{"type":"value","value":"never","parameter":{{"source":"payload","name":"type"}}}}}}]}}}}]"#
    );
    fs::write(&hooks, rule).expect("the temporary folder can be written");
    let address = free_address();
    let mut command = Command::new("webhook");
    command.arg("-hooks").arg(&hooks).args(["-ip", "127.0.0.1", "-port", &address.port().to_string()]);
    let Ok(program) = Program::start(&mut command, address) else {
        return report.figure("Debian's webhook", "not installed", None);
    };
    let best = cheapest(&program, 500);
    report.figure("Debian's webhook: verified, no command run, 64 connections", told(&best), None);
}

/// The cheapest of some rounds at a program that may just have been started.
fn cheapest(program: &Program, seed: u64) -> (Outcome, f64) {
    let one = requests(Mix { events: 1, repeats: 0, bad: 0 }, seed);
    let ready = Instant::now();
    while send(program.address, 1, &one).answers.is_empty() && ready.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let rounds = (1..=ROUNDS).map(|round| measured(program, 64, &requests(MIX, seed + round)));
    rounds.min_by(|one, other| one.1.total_cmp(&other.1)).expect("there are rounds")
}

impl House {
    /// A weir that answers.
    fn start(folder: &Path, more: &str) -> Self {
        let house = Self::launch(folder, more);
        house.program.wait_ready("/nowhere", Duration::ZERO);
        let began = Instant::now();
        while TcpStream::connect(house.program.address).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "weir does not listen: build it first with cargo build --release -p agent"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        house
    }

    fn launch(folder: &Path, more: &str) -> Self {
        let [events, metrics, telemetry] = free_addresses();
        let config = folder.join("weir.yaml");
        let yaml = format!(
            "
receivers:
  webhook:
    endpoint: {events}
    {more}
    limits: {{connections: 20000, connections_per_address: 20000}}
    sources:
      - name: hook
        path: {PATH}
        verify: {{scheme: github, secret: {SECRET}}}
        id: id
        metrics:
          - metric_name: events
            attributes: [{{name: type, field: type}}, {{name: tenant, field: tenant_id}}]
exporters:
  prometheus: {{endpoint: '{metrics}'}}
extensions:
  file_storage: {{directory: '{}', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '{telemetry}'}}}}
  pipelines: {{metrics: {{receivers: [webhook], exporters: [prometheus]}}}}
",
            folder.join("state").display()
        );
        fs::write(&config, yaml).expect("the temporary folder can be written");
        let mut command = Command::new(weir());
        command.arg("run").arg("--config").arg(&config);
        let program = Program::start(&mut command, events).expect("build it first: cargo build --release -p agent");
        Self { program, metrics, folder: folder.to_owned() }
    }

    /// The cheapest of some rounds, each with events of its own.
    fn load(&self, connections: usize, mix: Mix, seed: u64) -> (Outcome, f64) {
        let rounds = (0..ROUNDS).map(|round| self.once(connections, &requests(mix, seed + round)));
        rounds.min_by(|one, other| one.1.total_cmp(&other.1)).expect("there are rounds")
    }

    /// One load; what was counted is what was sent.
    fn once(&self, connections: usize, requests: &Requests) -> (Outcome, f64) {
        let before = self.counted();
        let (outcome, cpu) = measured(&self.program, connections, requests);
        let counted = self.counted() - before;
        assert_eq!(counted, requests.good as u64, "of {:?} in {}", outcome.answers, self.folder.display());
        (outcome, cpu)
    }

    /// What a scrape shows.
    fn counted(&self) -> u64 {
        let mut stream = TcpStream::connect(self.metrics).expect("weir serves its metrics");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
            .expect("a request can be sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("weir answers");
        let values = text.lines().filter(|line| line.starts_with("events_total{"));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }
}

/// A load, and the microseconds of CPU that an event took the program.
fn measured(program: &Program, connections: usize, requests: &Requests) -> (Outcome, f64) {
    let before = process_cpu_ns(program.pid());
    let outcome = send(program.address, connections, requests);
    let cpu = (process_cpu_ns(program.pid()) - before) as f64 / 1000.0 / outcome.events().max(1) as f64;
    assert_eq!(outcome.events(), requests.all.len(), "each request is answered, not only {:?}", outcome.answers);
    (outcome, cpu)
}

fn told((outcome, cpu): &(Outcome, f64)) -> String {
    format!(
        "{cpu:.1} µs CPU an event, {:.0} events/s, p50 {:.2} ms, p99 {:.2} ms",
        outcome.rate(),
        outcome.percentile_ms(50),
        outcome.percentile_ms(99)
    )
}

/// A folder on a disk: the system's temporary folder may be memory.
fn disk() -> tempfile::TempDir {
    let here = std::env::current_exe().expect("the benchmark knows its own path");
    tempfile::tempdir_in(here.parent().expect("it stands in a folder")).expect("target/ is writable")
}

/// Lets this process, and those it starts, have so many files open.
fn files(wanted: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

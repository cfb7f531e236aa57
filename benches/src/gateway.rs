//! OTLP through the agent: pushed over HTTP or gRPC, relabelled, kept for scrapes or pushed on; beside rotel where `tests/otel.sh`
//! has set it up.
//!
//! Each request is 1,000 points (100 where the table says so) of a counter, in protobuf, over two connections. Over HTTP each waits
//! for its answer, over gRPC four calls are under way on each. CPU is the program's, from the first request until it is at rest, the cheapest of three rounds.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pdata::otlp::MetricsEncoder;
use pdata::{
    Attributes, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, SeriesTable, UnixNanos,
};

use crate::calls;
use crate::measure::{Report, process_cpu_ns, resident_bytes};
use crate::process::{Program, free_addresses, weir};

/// Points that are pushed for one figure.
const POINTS: usize = 4_000_000;
/// How often they are pushed; the cheapest counts: noise only adds.
const ROUNDS: usize = 3;
/// Connections that push.
const SENDERS: usize = 2;

/// What is pushed.
#[derive(Clone, Copy)]
struct Load {
    over: Over,
    series: usize,
    attributes: usize,
    per_request: usize,
}

#[derive(Clone, Copy)]
enum Over {
    Http,
    Grpc,
}

/// A thousand points of ten attributes a request, over HTTP, unless a line says otherwise.
const TEN: Load = Load { over: Over::Http, series: 10_000, attributes: 10, per_request: 1000 };
const SIX: Load = Load { attributes: 6, ..TEN };

pub fn run() {
    let mut report = Report::new("OTLP through the agent");
    for over in [Over::Http, Over::Grpc] {
        kept(&mut report, Load { over, ..TEN });
    }
    for (packing, goal) in [("none", "0.38"), ("zstd", "0.55"), ("gzip", "0.65")] {
        let what = format!("weir: 10000 series of 6 attributes, one dropped, pushed on, {packing}");
        figure(&mut report, &what, SIX, goal, |sink| start_weir(sink, packing, "otlp_http"));
    }
    match rotel() {
        None => eprintln!("no rotel: run `bash tests/otel.sh` to have it beside weir"),
        Some(binary) => {
            figure(&mut report, "rotel: 10000 series of 10 attributes, thrown away", TEN, "", |_| {
                start_rotel(&binary, &["--exporter", "blackhole"])
            });
            figure(&mut report, "rotel: 10000 series of 6 attributes, pushed on, gzip", SIX, "", |sink| {
                let to = format!("http://{sink}");
                start_rotel(
                    &binary,
                    &["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", &to],
                )
            });
        }
    }
    bombs(&mut report);
    report.print();
}

/// What is relabelled and kept for scrapes, by one protocol.
fn kept(report: &mut Report, ten: Load) {
    let word = ten.over.word();
    let mut line = |what: String, load, goal| {
        let what = format!("weir: {word}, {what}, relabelled, kept for scrapes");
        figure(report, &what, load, goal, |sink| start_weir(sink, "none", "prometheus"));
    };
    let sizes: &[usize] = if crate::arguments::large() { &[10_000, 100_000, 1_000_000] } else { &[10_000, 100_000] };
    for series in sizes {
        let goal = if *series > 100_000 { "0.30" } else { "0.25" };
        line(format!("{series} series of 10 attributes"), Load { series: *series, ..ten }, goal);
    }
    let hundred = Load { per_request: 100, ..ten };
    line("10000 series of 10 attributes in requests of 100 points".to_owned(), hundred, "0.40");
    line("10000 series of 6 attributes".to_owned(), Load { attributes: 6, ..ten }, "0.18");
}

/// Bodies that unpack to a thousand times their size, and to more than the 64 MiB that a request may have.
fn bombs(report: &mut Report) {
    let [sink] = free_addresses();
    let Started { program, _folder } = start_weir(sink, "none", "prometheus");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 128 << 20]).expect("memory takes all");
    let bomb = packed.finish().expect("memory takes all");
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
    let throw = || {
        let answer = tests::http::request("POST", program.address, "/v1/metrics", &headers, &bomb).expect("it answers");
        (answer.took, answer.status)
    };
    let (alone, status) = (0..5).map(|_| throw()).min().expect("there are tries");
    assert_eq!(status, 413, "a bomb is refused for its size");
    let before = resident_bytes(program.pid());
    let slowest = std::thread::scope(|scope| {
        let all: Vec<_> = (0..10).map(|_| scope.spawn(throw)).collect();
        all.into_iter().map(|bomb| bomb.join().expect("it is answered")).collect::<Vec<_>>()
    });
    // Ten want more than the byte budget has: some are told to come again.
    let of = |wanted: u16| slowest.iter().filter(|(_, status)| *status == wanted).count();
    let told = format!("{} x 413, {} x 503", of(413), of(503));
    assert_eq!(of(413) + of(503), 10, "all are refused: {slowest:?}");
    let slowest = slowest.iter().map(|(took, _)| *took).max();
    let grown = resident_bytes(program.pid()).saturating_sub(before) as f64 / f64::from(1 << 20);
    let (alone, slowest) = (alone.as_secs_f64() * 1e3, slowest.unwrap_or_default().as_secs_f64() * 1e3);
    report.figure(
        "weir: a gzip bomb of 128 MiB, of which 64 may be unpacked",
        format!("413 after {alone:.1} ms; ten at once: {told} after {slowest:.0} ms at most, {grown:.1} MiB grown"),
        Some("100 ms"),
    );
}

/// Pushes a load through a program and reports what it cost.
fn figure(report: &mut Report, what: &str, load: Load, goal: &str, start: impl Fn(SocketAddr) -> Started) {
    let (sink, arrived) = sink();
    let bodies = load.bodies();
    let Started { program, _folder } = start(sink);
    // All series twice: after that they are known, and the figure is of the steady state.
    push(load.over, program.address, &bodies, 2 * bodies.len());
    rest(program.pid());
    let (requests, arrived_before) = (POINTS / load.per_request, arrived.load(Ordering::Relaxed));
    let rounds = (0..ROUNDS).map(|_| {
        let before = process_cpu_ns(program.pid());
        push(load.over, program.address, &bodies, requests);
        rest(program.pid());
        (process_cpu_ns(program.pid()) - before) as f64 / 1e9
    });
    let spent = rounds.min_by(f64::total_cmp).expect("there are rounds");
    let mut told = String::new();
    let per_million = spent / (requests * load.per_request) as f64 * 1e6;
    write!(
        told,
        "{per_million:.3} CPU-s per million points, {:.0} MiB resident",
        resident_bytes(program.pid()) as f64 / (1 << 20) as f64
    )
    .expect("a string takes all that is written");
    let bytes = arrived.load(Ordering::Relaxed) - arrived_before;
    if bytes > 0 {
        write!(told, ", {:.1} bytes a point out", bytes as f64 / (ROUNDS * requests * load.per_request) as f64)
            .expect("a string takes all that is written");
    }
    report.figure(what, told, (!goal.is_empty()).then_some(goal));
}

/// A program under load, and the folder that it needs.
struct Started {
    program: Program,
    _folder: Option<tempfile::TempDir>,
}

fn start_weir(sink: SocketAddr, packing: &str, exporter: &str) -> Started {
    let [otlp, metrics, telemetry] = free_addresses();
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{otlp}'}}, http: {{endpoint: '{otlp}'}}}}}}}}
processors:
  relabel:
    metric_relabel_configs:
      - {{source_labels: [key0], target_label: tenant, action: lowercase}}
      - {{regex: key1, action: labeldrop}}
exporters:
  prometheus: {{endpoint: '{metrics}'}}
  otlp_http: {{endpoint: 'http://{sink}', compression: {packing}}}
service:
  telemetry: {{metrics: {{address: '{telemetry}'}}}}
  pipelines: {{metrics: {{receivers: [otlp], processors: [relabel], exporters: [{exporter}]}}}}
"
    );
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = folder.path().join("weir.yaml");
    std::fs::write(&config, yaml).expect("the temporary folder can be written");
    let command = &mut Command::new(weir());
    let program = Program::start(command.arg("run").arg("--config").arg(&config), otlp);
    let program = program.expect("build it first with `cargo build --release -p agent`");
    listening(otlp);
    Started { program, _folder: Some(folder) }
}

fn rotel() -> Option<PathBuf> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/judges/otel/bin/rotel");
    path.exists().then_some(path)
}

fn start_rotel(binary: &PathBuf, arguments: &[&str]) -> Started {
    let [grpc, over_http] = free_addresses();
    let mut command = Command::new(binary);
    command.args(["start", "--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &over_http.to_string()]);
    let program = Program::start(command.args(arguments), over_http).expect("rotel can be started");
    listening(over_http);
    Started { program, _folder: None }
}

fn listening(address: SocketAddr) {
    for _ in 0..1_000 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody listens on {address}");
}

/// Waits until a program does nothing any more.
fn rest(pid: u32) {
    let mut before = process_cpu_ns(pid);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = process_cpu_ns(pid);
        if now - before < 10_000_000 {
            return;
        }
        before = now;
    }
}

impl Over {
    fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Grpc => "gRPC",
        }
    }
}

impl Load {
    /// Requests that hold each series once.
    fn bodies(self) -> Vec<Bytes> {
        let table = SeriesTable::with_defaults();
        let origin =
            Arc::new(Origin { resource: Attributes::from_pairs([("service.name", "bench")]), ..Origin::default() });
        let metric = Arc::new(Metric::new("http.server.requests", Kind::COUNTER));
        let mut encoder = MetricsEncoder::default();
        let keys: Vec<String> = (0..self.attributes).map(|key| format!("key{key}")).collect();
        let body = |first: usize| {
            let mut metrics = Metrics::new(table.pin());
            for n in first..first + self.per_request {
                // The last one tells the series apart; the tenth part of them shares a tenant.
                let value = |key: usize| {
                    if key + 1 == self.attributes {
                        format!("instance-{n:08}")
                    } else {
                        format!("Value-{key}-{}", n % 10)
                    }
                };
                let pairs: Vec<_> = keys.iter().enumerate().map(|(at, key)| (key.as_str(), value(at))).collect();
                let attributes = Attributes::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())));
                let series = metrics.adopt(&table.intern(Identity {
                    origin: origin.clone(),
                    metric: metric.clone(),
                    attributes,
                }));
                let (start, time) = (UnixNanos(1_700_000_000_000_000_000), UnixNanos(1_700_000_060_000_000_000));
                metrics.points.push(Point {
                    series,
                    start,
                    time,
                    value: PointValue::Int(n as i64),
                    flags: PointFlags::empty(),
                });
            }
            let mut out = Vec::new();
            encoder.encode(&metrics, &mut out);
            match self.over {
                Over::Http => out.into(),
                Over::Grpc => calls::framed(&out),
            }
        };
        (0..self.series).step_by(self.per_request).map(body).collect()
    }
}

/// Pushes `requests` requests, going round through the bodies.
fn push(over: Over, address: SocketAddr, bodies: &[Bytes], requests: usize) {
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || match over {
                Over::Http => post(address, bodies, requests, sender),
                Over::Grpc => calls::push(address, bodies, requests, sender, SENDERS),
            });
        }
    });
}

/// One sender's part of the requests.
fn post(address: SocketAddr, bodies: &[Bytes], requests: usize, sender: usize) {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket takes it");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    for request in (sender..requests).step_by(SENDERS) {
        let body = &bodies[request % bodies.len()];
        let head = format!(
            "POST /v1/metrics HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(body)).expect("it reads");
        let (first, _) = message(&mut answers).expect("it answers").expect("it answers each request");
        assert!(first.contains(" 200 "), "{first}");
    }
}

/// Takes all that is pushed to it; the bytes of the bodies are counted.
fn sink() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    let arrived = Arc::new(AtomicU64::new(0));
    let counts = arrived.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrived = arrived.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone().expect("a socket can be cloned"));
                while let Ok(Some((_, bytes))) = message(&mut reader) {
                    arrived.fetch_add(bytes, Ordering::Relaxed);
                    if (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, counts)
}

/// Reads one message of HTTP with a length: its first line, and how many bytes its body had.
fn message(reader: &mut BufReader<TcpStream>) -> io::Result<Option<(String, u64)>> {
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let read = io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    Ok(Some((first, read)))
}

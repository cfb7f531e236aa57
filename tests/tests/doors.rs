//! The data endpoint under clients that mean no good. Good scrapes must not notice.

#![allow(clippy::disallowed_types, reason = "real clients live in real time")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::{PATIENCE, Weir, http};
use tokio::net::TcpSocket;

const CONFIG: &str = "examples/quickstart/weir.yaml";
/// What a good scrape may take, whoever else is at the door; on a slow machine, ten times what it takes when nobody is.
const PROMPT: Duration = Duration::from_millis(50);
/// Scrapes in a round of measuring.
const SCRAPES: usize = 200;
/// Rounds before a slow one is believed: other programs on the machine can spoil one, but not one after another.
const ROUNDS: usize = 3;

/// One attack at a time: they are measured in milliseconds.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quickstart() -> Weir {
    Weir::run(CONFIG).start()
}

/// How long 99 of 100 scrapes take at most.
fn late(weir: &Weir) -> Duration {
    let mut took: Vec<Duration> = (0..SCRAPES).map(|_| weir.scrape().took).collect();
    took.sort();
    took[SCRAPES * 99 / 100 - 1]
}

/// What a good scrape may take on this machine. To be asked before anybody attacks.
fn prompt(weir: &Weir) -> Duration {
    PROMPT.max(late(weir) * 10)
}

/// Good scrapes are prompt: 99 of 100 in one of a few rounds.
fn assert_prompt(weir: &Weir, prompt: Duration, among: &str) {
    let mut slow = Vec::new();
    for _ in 0..ROUNDS {
        let late = late(weir);
        if late < prompt {
            return;
        }
        slow.push(late);
    }
    panic!("among {among}, the 99th of 100 good scrapes took {slow:?}, and may take {prompt:?}");
}

/// Half-open connections: each has sent `said` and then nothing. `from` chooses the source address of the nth.
struct Crowd {
    runtime: tokio::runtime::Runtime,
    streams: Vec<tokio::net::TcpStream>,
}

impl Crowd {
    fn gather(count: usize, to: SocketAddr, said: &'static [u8], from: fn(usize) -> Ipv4Addr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(count);
            for nth in 0..count {
                let socket = TcpSocket::new_v4().unwrap_or_else(|error| {
                    panic!("socket {nth} of {count}: {error}; run ./test, or `ulimit -n 20000` before")
                });
                socket.bind(SocketAddr::from((from(nth), 0))).expect("loopback addresses are ours");
                let connected = tokio::time::timeout(PATIENCE, socket.connect(to)).await;
                // Being refused or cut off is a fair answer to an attack.
                if let Ok(Ok(stream)) = connected {
                    drop(stream.try_write(said));
                    streams.push(stream);
                }
            }
            streams
        });
        Self { runtime, streams }
    }

    fn len(&self) -> usize {
        self.streams.len()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let streams = std::mem::take(&mut self.streams);
        self.runtime.block_on(async { drop(streams) });
    }
}

fn one_address(_: usize) -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

fn many_addresses(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1 + (nth / 250) as u8, 1 + (nth % 250) as u8)
}

fn assert_unmoved_by(said: &'static [u8], from: fn(usize) -> Ipv4Addr) {
    let _alone = alone();
    let mut weir = quickstart();
    let prompt = prompt(&weir);
    let crowd = Crowd::gather(8_000, weir.address, said, from);
    assert!(crowd.len() >= 7_000, "only {} connections were made: this was no attack", crowd.len());
    assert_prompt(&weir, prompt, &format!("{} half-open connections", crowd.len()));
    assert!(weir.runs());
}

#[test]
fn eight_thousand_silent_connections_from_one_address_slow_no_scrape() {
    assert_unmoved_by(b"", one_address);
}

#[test]
fn eight_thousand_silent_connections_from_everywhere_slow_no_scrape() {
    assert_unmoved_by(b"", many_addresses);
}

#[test]
fn eight_thousand_half_sent_heads_slow_no_scrape() {
    assert_unmoved_by(b"GET /metrics HTTP/1.1\r\nHost: w", many_addresses);
}

#[test]
fn eight_thousand_half_sent_prefaces_slow_no_scrape() {
    assert_unmoved_by(b"PRI * HTTP/2.0\r\n\r", many_addresses);
}

/// Sends bytes and gives the status line's code of what comes back, or `None` when the connection is just closed.
fn answer_to(weir: &Weir, bytes: &[u8]) -> Option<u16> {
    let mut socket = TcpStream::connect(weir.address).expect("weir listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // The other end may close before it has read everything; its answer is what counts.
    drop(socket.write_all(bytes));
    let mut said = Vec::new();
    drop(socket.read_to_end(&mut said));
    String::from_utf8_lossy(&said).split(' ').nth(1).and_then(|code| code.parse().ok())
}

#[test]
fn header_bombs_are_refused_and_cost_no_memory() {
    let _alone = alone();
    let mut weir = quickstart();
    let prompt = prompt(&weir);
    let before = weir.resident_mib();
    let line = |name: String, length: usize| format!("{name}: {}\r\n", "x".repeat(length));
    let bombs = [
        format!("GET /metrics HTTP/1.1\r\nHost: w\r\n{}\r\n", line("a".into(), 64 << 20)),
        format!(
            "GET /metrics HTTP/1.1\r\nHost: w\r\n{}\r\n",
            (0..100_000).map(|n| line(format!("h{n}"), 8)).collect::<String>()
        ),
        format!("GET /metrics?{} HTTP/1.1\r\nHost: w\r\n\r\n", "x".repeat(16 << 20)),
        format!("GET /metrics HTTP/1.1\r\nHost: w\r\n{}: x\r\n\r\n", "n".repeat(16 << 20)),
    ];
    for bomb in &bombs {
        let code = answer_to(&weir, bomb.as_bytes());
        assert!(matches!(code, None | Some(400 | 413 | 414 | 431)), "a bomb was answered with {code:?}");
        assert_prompt(&weir, prompt, "header bombs");
    }
    let grown = weir.resident_mib() - before;
    assert!(grown < 8.0, "resident memory grew by {grown:.1} MiB");
    assert!(weir.runs());
}

#[test]
fn broken_requests_are_answered_or_closed() {
    let _alone = alone();
    let mut weir = quickstart();
    let requests: &[&[u8]] = &[
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /metrics HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\nAccept: \xff\xfe;q=,;;q=9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\nX-Prometheus-Scrape-Timeout-Seconds: -1e400\r\n\r\n",
        b"GET /%zz/../metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ];
    for request in requests {
        // A TLS hello or half a preface may wait for its deadline; each answer but 5xx will do.
        let code = answer_to(&weir, request);
        assert!(code.is_none_or(|code| code < 500), "{request:?} was answered with {code:?}");
    }
    assert_eq!(http::request("POST", weir.address, "/metrics", &[], b"").expect("an answer").status, 405);
    assert_eq!(http::get(weir.address, "/", &[]).expect("an answer").status, 404);
    assert!(weir.runs());
}

#[test]
fn head_is_get_without_a_body() {
    let _alone = alone();
    let weir = quickstart();
    let head = http::request("HEAD", weir.address, "/metrics", &[http::TEXT], b"").expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-type"), weir.scrape().header("content-type"));
}

#[test]
fn a_gates_section_with_nothing_set_unmounts_the_route() {
    let _alone = alone();
    let inventory = tests::Inventory::household();
    let example = tests::repository::text("examples/circuit-breaker/weir.yaml");
    assert!(example.contains("      when_unset: open\n"));
    let closed = Weir::run_text(&example.replace("      when_unset: open\n", ""))
        .listen("CB_LISTEN", "/api/v1/metrics")
        .env("CB_DATABASE", inventory.path())
        .start();
    let gone = closed.get(&[]);
    let unknown = http::get(closed.address, "/anything", &[]).expect("an answer");
    assert_eq!((gone.status, &gone.body), (404, &unknown.body), "it looks like any unknown path");
}

/// A table of many rows, so that a scrape does not fit a socket's buffers.
fn large() -> Weir {
    let yaml = "
receivers:
  sql_query:
    driver: sqlite
    datasource: ${env:DATABASE}
    collection: on_scrape
    queries:
      - sql: with recursive n(i) as (values (1) union all select i + 1 from n where i < 100000) select i, 'row ' || i as name from n
        metrics: [{metric_name: rows, value_column: i, attribute_columns: [name]}]
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query], exporters: [prometheus]}}
";
    Weir::run_text(yaml).env("DATABASE", tests::repository::root().join("examples/quickstart/inventory.db")).start()
}

#[test]
fn slow_scrapers_hold_up_nobody_and_hold_little() {
    let _alone = alone();
    let weir = large();
    let whole = weir.scrape();
    assert_eq!(Exposition::read(whole.text()).named("rows").count(), 100_000);
    let before = weir.resident_mib();
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut socket = TcpStream::connect(weir.address).expect("weir listens");
            socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: w\r\n\r\n").expect("a request can be sent");
            let mut first = [0];
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            socket.read_exact(&mut first).expect("the answer begins");
            socket
        })
        .collect();
    let beside: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let again = weir.scrape();
            assert_eq!(Exposition::read(again.text()).named("rows").count(), 100_000);
            again.took
        })
        .collect();
    let (limit, best) = (whole.took * 3 + Duration::from_millis(200), beside.iter().min());
    assert!(best.is_some_and(|best| *best < limit), "{beside:?} beside 20 slow scrapers, {:?} alone", whole.took);
    let grown = weir.resident_mib() - before;
    assert!(grown < 128.0, "20 scrapers that do not read cost {grown:.0} MiB");
    drop(slow);
}

#[test]
fn half_a_head_is_closed_when_its_time_is_over_and_counted() {
    const TIME: Duration = Duration::from_millis(500);
    let _alone = alone();
    let door = "{endpoint: \"${env:WEIR_LISTEN:-127.0.0.1:9464}\"";
    let yaml = tests::repository::text(CONFIG).replace(door, &format!("{door}, read_header_timeout: 500ms"));
    assert!(yaml.contains("500ms"), "{CONFIG} has no {door}");
    let weir = Weir::run_text(&yaml).start();
    let begun = Instant::now();
    let mut socket = TcpStream::connect(weir.address).expect("weir listens");
    socket.write_all(b"GET /metrics HT").expect("half a head can be sent");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let closed = socket.read(&mut [0; 512]);
    assert!(!closed.as_ref().is_ok_and(|count| *count > 0), "half a request is answered");
    assert!(!closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "not closed in {PATIENCE:?}");
    assert!(begun.elapsed() >= TIME, "closed after {:?}", begun.elapsed());
    let telemetry = http::get(weir.telemetry, "/metrics", &[]).expect("own telemetry answers");
    let because = [("exporter", "prometheus"), ("reason", "read_header_timeout")];
    let counted = Exposition::read(telemetry.text()).value("weir_listener_connections_closed", &because);
    assert_eq!(counted, Some(1.0), "{}", telemetry.text());
}

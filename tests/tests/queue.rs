//! The queue on disk of the real binary: OTLP in, `kill -9`, a destination that is ill in every way, and the books.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::exposition::Exposition;
use tests::{PATIENCE, Random, Weir, http, within};

/// What the destination does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Well,
    Unavailable,
    Slow,
    Throttles,
    Refuses,
    BreaksOff,
    TakesInPart,
}

const MOODS: [Mood; 7] =
    [Mood::Well, Mood::Unavailable, Mood::Slow, Mood::Throttles, Mood::Refuses, Mood::BreaksOff, Mood::TakesInPart];

/// A server of its own, which shares no code with weir. It keeps the marks (`<id-NNNNNN>`) of what it took.
struct Destination {
    address: SocketAddr,
    mood: Arc<AtomicU8>,
    took: Arc<Mutex<Vec<u64>>>,
    /// How often it was in which mood.
    hits: Arc<Mutex<[u64; MOODS.len()]>>,
}

impl Destination {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, took, hits) = (Arc::new(AtomicU8::new(0)), Arc::default(), Arc::default());
        let destination = Self { address, mood, took, hits };
        let (mood, took, hits) = (destination.mood.clone(), destination.took.clone(), destination.hits.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (mood, took, hits) = (mood.clone(), took.clone(), hits.clone());
                std::thread::spawn(move || serve(stream, &mood, &took, &hits));
            }
        });
        destination
    }

    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn took(&self) -> Vec<u64> {
        self.took.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    mood: &AtomicU8,
    took: &Mutex<Vec<u64>>,
    hits: &Mutex<[u64; MOODS.len()]>,
) -> Option<()> {
    loop {
        let (head, body) = read_request(&mut stream)?;
        let mood = MOODS[usize::from(mood.load(Ordering::SeqCst))];
        hits.lock().unwrap()[mood as usize] += 1;
        let (status, more, answer): (&str, &str, &[u8]) = match mood {
            Mood::Well => ("200 OK", "", b""),
            Mood::Slow => {
                std::thread::sleep(Duration::from_millis(50));
                ("200 OK", "", b"")
            }
            Mood::Unavailable => ("503 Service Unavailable", "", b""),
            Mood::Throttles => ("429 Too Many Requests", "Retry-After: 1\r\n", b""),
            Mood::Refuses => ("400 Bad Request", "", b""),
            Mood::BreaksOff => return None,
            Mood::TakesInPart if head.contains("\r\ncontent-type: application/json") => (
                "200 OK",
                "Content-Type: application/json\r\n",
                br#"{"partialSuccess":{"rejectedDataPoints":"1","rejectedLogRecords":"1"}}"#,
            ),
            // ExportMetricsServiceResponse { partial_success: { rejected_data_points: 1 } }
            Mood::TakesInPart => ("200 OK", "Content-Type: application/x-protobuf\r\n", b"\x0a\x02\x08\x01"),
        };
        if status.starts_with("200") {
            took.lock().unwrap().extend(marks(&body));
        }
        let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n", answer.len());
        stream.write_all(&[head.as_bytes(), answer].concat()).ok()?;
    }
}

/// The head of a request in small letters, and its body.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|at| at == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok())?;
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
        }
    }
}

fn marks(body: &[u8]) -> Vec<u64> {
    let starts = body.windows(4).enumerate().filter(|(_, window)| *window == b"<id-");
    let number = |(at, _)| std::str::from_utf8(body.get(at + 4..at + 10)?).ok()?.parse().ok();
    starts.filter_map(number).collect()
}

fn config(storage: &Path, destination: SocketAddr, more: &str) -> String {
    format!(
        "
extensions:
  file_storage: {{directory: {}, create_directory: true}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '${{env:WEIR_LISTEN}}'}}}}}}
processors:
  relabel: {{metric_relabel_configs: [{{regex: noise, action: labeldrop}}]}}
exporters:
  otlp_http:
    endpoint: http://{destination}
    compression: none
    retry_on_failure: {{initial_interval: 20ms, max_interval: 100ms}}
    circuit_breaker: {{open_duration: 50ms}}
    sending_queue: {{storage: file_storage, queue_size: 8MiB{more}}}
  prometheus: {{endpoint: '127.0.0.1:0'}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}, logs: {{level: error}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp], processors: [relabel], exporters: [otlp_http, prometheus]}}
",
        storage.display()
    )
}

fn start(yaml: &str) -> Weir {
    Weir::run_text(yaml).listen("WEIR_LISTEN", "/v1/logs").start()
}

fn send_log(address: SocketAddr, id: u64) -> bool {
    let body = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"<id-{id:06}>"}}}}]}}]}}]}}"#
    );
    let json = [("Content-Type", "application/json")];
    http::request("POST", address, "/v1/logs", &json, body.as_bytes()).is_ok_and(|answer| answer.status == 200)
}

/// Two points of one series each, one of them with a label that is dropped.
fn send_points(address: SocketAddr, id: u64) -> bool {
    let point = |name: &str| {
        format!(
            r#"{{"name":"{name}","gauge":{{"dataPoints":[{{"timeUnixNano":"1795219200000000000","asInt":"{id}","attributes":[{{"key":"noise","value":{{"stringValue":"x"}}}},{{"key":"mark","value":{{"stringValue":"<id-{id:06}>"}}}}]}}]}}}}"#
        )
    };
    let body =
        format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{},{}]}}]}}]}}"#, point("one"), point("two"));
    let json = [("Content-Type", "application/json")];
    http::request("POST", address, "/v1/metrics", &json, body.as_bytes()).is_ok_and(|answer| answer.status == 200)
}

/// `WEIR_TEST_KILLS` for more.
fn kills() -> u64 {
    std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(100)
}

#[test]
fn nothing_that_was_answered_is_lost_by_kill_9_during_an_outage_and_the_order_of_first_deliveries_stays() {
    let storage = tempfile::tempdir().unwrap();
    let destination = Destination::start();
    let yaml = config(storage.path(), destination.address, "");
    let mut random = Random::new(7);
    let (mut next, mut acked) = (0, Vec::new());
    for round in 0..kills() {
        // Mostly an outage; now and then some of it leaves, so that kills also hit deliveries.
        destination.set(if round % 8 == 5 { Mood::Slow } else { random.pick(&[Mood::Unavailable, Mood::BreaksOff]) });
        let weir = start(&yaml);
        let address = weir.address;
        let sending = std::thread::spawn(move || {
            let first = next;
            let sent = (first..first + 400).take_while(|id| send_log(address, *id)).count() as u64;
            (first..first + sent, first + sent + 1)
        });
        std::thread::sleep(Duration::from_millis(random.below(80) as u64));
        weir.signal("KILL");
        drop(weir);
        let (answered, after) = sending.join().unwrap();
        acked.extend(answered);
        next = after;
    }
    assert!(acked.len() as u64 >= kills() / 4, "{} of {next} were answered", acked.len());
    destination.set(Mood::Well);
    let weir = start(&yaml);
    within(PATIENCE, "all that was answered has arrived", || {
        let took: BTreeSet<_> = destination.took().into_iter().collect();
        acked.iter().all(|id| took.contains(id)).then_some(())
    });
    assert_eq!(weir.stop().code(), 0);
    let (took, mut seen) = (destination.took(), BTreeSet::new());
    let first: Vec<_> = took.iter().filter(|id| seen.insert(**id)).collect();
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "in the order in which they were sent");
    assert!(seen.iter().all(|id| *id < next), "nothing is invented");
}

#[test]
fn memory_stays_as_it_is_while_the_queue_grows() {
    let storage = tempfile::tempdir().unwrap();
    let destination = Destination::start();
    destination.set(Mood::Unavailable);
    let weir =
        start(&config(storage.path(), destination.address, ", block_on_overflow: true").replace("8MiB", "256MiB"));
    let record = r#"{"body":{"stringValue":"some words that a service had to say about a request that failed"}},"#;
    let records = record.repeat(1000);
    let body =
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.trim_end_matches(','));
    let send = |times: u64| {
        for _ in 0..times {
            let json = [("Content-Type", "application/json")];
            assert_eq!(http::request("POST", weir.address, "/v1/logs", &json, body.as_bytes()).unwrap().status, 200);
        }
    };
    send(100);
    let before = weir.resident_mib();
    send(900);
    let grown = weir.resident_mib() - before;
    assert!(grown <= 8.0, "{grown} MiB more for 900,000 records that wait");
    let on_disk: u64 = std::fs::read_dir(storage.path().join("exporters/otlp_http"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk > 64 << 20, "{on_disk}");
    destination.set(Mood::Well);
    assert_eq!(weir.stop().code(), 0);
}

fn sum(metrics: &Exposition, name: &str) -> u64 {
    metrics.named(name).map(|sample| sample.number() as u64).sum()
}

#[test]
fn the_books_balance_at_rest_after_every_kind_of_fault() {
    balances_after_every_fault("proto");
}

#[test]
fn the_books_balance_in_json_as_well() {
    balances_after_every_fault("json");
}

fn balances_after_every_fault(encoding: &str) {
    let storage = tempfile::tempdir().unwrap();
    let destination = Destination::start();
    let queue = ", partition: {by: service.name}, dead_letters: {max_bytes: 1MiB}";
    let yaml = config(storage.path(), destination.address, queue)
        .replace("compression: none", &format!("compression: none\n    encoding: {encoding}"));
    let mut random = Random::new(3);
    let file = storage.path().join("weir.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let weir = Weir::run(file.to_str().unwrap()).listen("WEIR_LISTEN", "/v1/logs").start();
    let (mut answered, mut carried) = (0, 0);
    let mut mood = Mood::Well;
    for id in 0..280_u64 {
        if id % 10 == 0 {
            mood = MOODS[(id / 10) as usize % MOODS.len()];
            destination.set(mood);
        }
        answered += if random.below(2) == 0 {
            u64::from(send_log(weir.address, id))
        } else {
            2 * u64::from(send_points(weir.address, id))
        };
        if id % 10 == 9 {
            // There is always something to send: each mood is met.
            within(PATIENCE, "the destination is asked", || {
                (destination.hits.lock().unwrap()[mood as usize] > id / 70).then_some(())
            });
        }
        if id == 149 {
            // A reload of the exporter while something waits: what it closes with is what it opens with.
            destination.set(Mood::Unavailable);
            for id in 300..320 {
                answered += u64::from(send_log(weir.address, id));
            }
            std::fs::write(&file, yaml.replace("open_duration: 50ms", "open_duration: 60ms")).unwrap();
            weir.signal("HUP");
            carried = within(PATIENCE, "the configuration is read again", || {
                Some(sum(&metrics(&weir), "weir_queue_replayed_items")).filter(|replayed| *replayed > 0)
            });
        }
    }
    // Not yet at rest, and the destination down: what is not delivered stays on disk, and is found by the next start.
    destination.set(Mood::Unavailable);
    for id in 280..300 {
        answered += u64::from(send_log(weir.address, id));
    }
    let before = within(PATIENCE, "numbers come to rest", || {
        let (one, two) = (metrics(&weir), {
            std::thread::sleep(Duration::from_millis(700));
            metrics(&weir)
        });
        let names = ["weir_queue_items", "weir_queue_stored_items", "otelcol_exporter_sent_log_records"];
        names.iter().all(|name| sum(&one, name) == sum(&two, name)).then_some(two)
    });
    assert!(carried >= 20, "the reload was met with {carried} items waiting");
    let left = books(&before, answered, carried);
    assert!(left >= 20, "{left}");
    assert_eq!(weir.stop().code(), 0, "what is on disk is not lost");

    destination.set(Mood::Well);
    let weir = start(&yaml);
    let after = within(PATIENCE, "the queue is empty", || {
        let metrics = metrics(&weir);
        let done =
            sum(&metrics, "otelcol_exporter_sent_log_records") + sum(&metrics, "otelcol_exporter_sent_metric_points");
        (done >= left && sum(&metrics, "weir_queue_items") == 0).then_some(metrics)
    });
    assert_eq!(sum(&after, "weir_queue_replayed_items"), left);
    assert_eq!(books(&after, 0, 0), 0);
    let hits = *destination.hits.lock().unwrap();
    assert!(hits.iter().all(|hits| *hits > 0), "every mood was met: {hits:?}");
    assert_eq!(weir.stop().code(), 0);
}

fn metrics(weir: &Weir) -> Exposition {
    let response = http::get(weir.telemetry, "/metrics", &[http::TEXT]).unwrap();
    Exposition::read(response.text())
}

/// Checks every account that telemetry tells of, and gives what is left in the queue. `carried` items were closed in one queue and found
/// in the next by the same process.
fn books(metrics: &Exposition, answered: u64, carried: u64) -> u64 {
    let sum = |name: &str| sum(metrics, name);
    let of = |exporter: &str, name: &str| metrics.value(name, &[("exporter", exporter)]).unwrap_or(0.0) as u64;
    let accepted = sum("otelcol_receiver_accepted_log_records") + sum("otelcol_receiver_accepted_metric_points");
    assert_eq!(accepted, answered, "what was answered was accepted, and nothing else");
    let refused = of("otlp_http", "otelcol_exporter_enqueue_failed_log_records")
        + of("otlp_http", "otelcol_exporter_enqueue_failed_metric_points");
    let stored = sum("weir_queue_stored_items");
    assert_eq!(accepted, stored + refused, "received = stored + refused");
    let delivered =
        of("otlp_http", "otelcol_exporter_sent_log_records") + of("otlp_http", "otelcol_exporter_sent_metric_points");
    let failed = of("otlp_http", "otelcol_exporter_send_failed_log_records")
        + of("otlp_http", "otelcol_exporter_send_failed_metric_points");
    let left = sum("weir_queue_items");
    let damaged = sum("weir_queue_damaged_items") + sum("weir_queue_folded_items");
    let replayed = sum("weir_queue_replayed_items");
    assert_eq!(
        replayed + stored,
        delivered + failed + damaged + left + carried,
        "replayed + stored = sent + failed + damaged + left + carried over"
    );
    let dead = sum("weir_queue_dead_letter_items");
    let rejected = sum("weir_exporter_rejected_items");
    assert_eq!(
        failed,
        dead + rejected,
        "what failed is a dead letter, or was rejected out of a request that was taken"
    );
    let scraped = of("prometheus", "otelcol_exporter_sent_metric_points");
    let relabelled = metrics.value("otelcol_processor_outgoing_items", &[("processor", "relabel")]).unwrap_or(0.0);
    assert_eq!(scraped, relabelled as u64, "the endpoint took what the pipeline gave");
    left
}

/// How log records ended that went through a queue in memory.
struct Ends {
    accepted: u64,
    refused: u64,
    sent: u64,
    failed: u64,
    full: u64,
}

/// The ends when nothing waits any more, which must balance.
fn ends_at_rest(weir: &Weir) -> Ends {
    let exporter =
        |metrics: &Exposition, name: &str| metrics.value(name, &[("exporter", "otlp_http")]).unwrap_or(0.0) as u64;
    let after = within(PATIENCE, "the queue is empty", || {
        let metrics = metrics(weir);
        let waits = exporter(&metrics, "otelcol_exporter_queue_size");
        (waits + exporter(&metrics, "otelcol_exporter_in_flight_requests") == 0).then_some(metrics)
    });
    let ends = Ends {
        accepted: sum(&after, "otelcol_receiver_accepted_log_records"),
        refused: sum(&after, "otelcol_receiver_refused_log_records"),
        sent: exporter(&after, "otelcol_exporter_sent_log_records"),
        failed: exporter(&after, "otelcol_exporter_send_failed_log_records"),
        full: exporter(&after, "otelcol_exporter_enqueue_failed_log_records"),
    };
    let Ends { accepted, sent, failed, full, .. } = ends;
    assert_eq!(accepted, sent + failed + full, "accepted = sent + failed + dropped at the full inbox");
    ends
}

#[test]
fn the_books_of_a_queue_in_memory_balance_when_it_is_full_and_when_it_is_reloaded() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start();
    destination.set(Mood::Slow);
    // One is sent, two wait, and there is no room for what eight send.
    let yaml = config(folder.path(), destination.address, "")
        .replace("storage: file_storage, queue_size: 8MiB", "queue_size: 2, num_consumers: 1")
        .replace("level: error", "level: info");
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let weir = Weir::run(file.to_str().unwrap()).listen("WEIR_LISTEN", "/v1/logs").start();
    let address = weir.address;
    let sending: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let ids = sender * EACH..(sender + 1) * EACH;
            std::thread::spawn(move || ids.filter(|id| send_log(address, *id)).collect::<BTreeSet<_>>())
        })
        .collect();
    within(PATIENCE, "something is under way", || (destination.took().len() > 3).then_some(()));
    std::fs::write(&file, yaml.replace("open_duration: 50ms", "open_duration: 60ms")).unwrap();
    weir.signal("HUP");
    let answered: BTreeSet<u64> = sending.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let reloads = within(PATIENCE, "it is reloaded", || {
        Some(weir.stderr().matches("Config updated, restart service").count()).filter(|count| *count > 0)
    });
    assert_eq!(reloads, 1);
    let Ends { refused, sent, failed, full, .. } = ends_at_rest(&weir);
    assert!(full > 0, "the inbox was met full");
    assert_eq!(
        (sent, refused),
        (answered.len() as u64, failed + full),
        "every sender was told what became of his record"
    );
    let took = destination.took();
    assert_eq!(took.len() as u64, sent, "each arrived once");
    assert_eq!(took.into_iter().collect::<BTreeSet<_>>(), answered);
    assert_eq!(weir.stop().code(), 0);
}

#[test]
fn the_books_of_a_queue_in_memory_balance_after_every_kind_of_fault() {
    const SENDERS: u64 = 8;
    // Partial success is told per request, not per sender: the books of a queue on disk have it.
    const FAULTS: [Mood; 5] = [Mood::Slow, Mood::Unavailable, Mood::Refuses, Mood::BreaksOff, Mood::Throttles];
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start();
    let yaml = config(folder.path(), destination.address, "")
        .replace("storage: file_storage, queue_size: 8MiB", "queue_size: 4, num_consumers: 2");
    let weir = start(&yaml);
    let (address, finish) = (weir.address, Arc::new(AtomicU8::new(0)));
    let sending: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let finish = finish.clone();
            let send = move || {
                let ids = sender * 100_000..(sender + 1) * 100_000;
                let ids = ids.take_while(|_| finish.load(Ordering::SeqCst) == 0);
                ids.map(|id| (id, send_log(address, id))).collect::<Vec<_>>()
            };
            std::thread::spawn(send)
        })
        .collect();
    for fault in FAULTS.into_iter().cycle().take(2 * FAULTS.len()) {
        let before = destination.hits.lock().unwrap()[fault as usize];
        destination.set(fault);
        within(PATIENCE, "the fault is met", || {
            (destination.hits.lock().unwrap()[fault as usize] > before + 1).then_some(())
        });
    }
    destination.set(Mood::Well);
    finish.store(1, Ordering::SeqCst);
    let told: Vec<(u64, bool)> = sending.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let Ends { accepted, sent, failed, .. } = ends_at_rest(&weir);
    assert!(failed > 0, "the destination refused some for good");
    assert_eq!(accepted, told.len() as u64, "what was sent was accepted");
    let answered: BTreeSet<u64> = told.iter().filter(|(_, taken)| *taken).map(|(id, _)| *id).collect();
    assert_eq!(sent, answered.len() as u64, "every sender was told what became of his record");
    assert_eq!(destination.took().into_iter().collect::<BTreeSet<_>>(), answered);
    assert_eq!(weir.stop().code(), 0);
}

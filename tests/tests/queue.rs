//! The queue on disk of the real binary: OTLP in, `kill -9`, a destination that is ill in every way, and the books.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tests::destination::{Destination, MOODS, Mood};
use tests::exposition::Exposition;
use tests::{PATIENCE, Random, Weir, http, within};

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

/// How the destination is spoken to.
#[derive(Clone, Copy, Debug)]
enum Way {
    Protobuf,
    Json,
    Grpc,
}

impl Way {
    fn destination(self) -> Destination {
        if matches!(self, Self::Grpc) { Destination::grpc() } else { Destination::http() }
    }

    const fn exporter(self) -> &'static str {
        if matches!(self, Self::Grpc) { "otlp_grpc" } else { "otlp_http" }
    }

    /// The configuration for this way, which meets every fault in a moment.
    fn speak(self, yaml: &str) -> String {
        let yaml = yaml.replace("compression: none", "compression: none\n    timeout: 500ms\n    auth_errors: drop");
        match self {
            Self::Protobuf => yaml,
            Self::Json => yaml.replace("compression: none", "compression: none\n    encoding: json"),
            Self::Grpc => yaml
                .replace("otlp_http", "otlp_grpc")
                .replace("endpoint: http://", "tls: {insecure: true}\n    endpoint: "),
        }
    }
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
    let destination = Destination::http();
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
    let destination = Destination::http();
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
    balances_after_every_fault(Way::Protobuf);
}

#[test]
fn the_books_balance_in_json_as_well() {
    balances_after_every_fault(Way::Json);
}

#[test]
fn the_books_balance_over_grpc_as_well() {
    balances_after_every_fault(Way::Grpc);
}

/// How often a destination was met in a mood.
fn met(destination: &Destination, weir: &Weir, mood: Mood) -> u64 {
    match mood {
        // As many as the connections that may have broken when it closed say nothing; more are refused ones.
        Mood::Closed => metrics(weir)
            .value("weir_exporter_retries", &[("reason", "connection")])
            .map_or(0, |count| count as u64 / (1 + CONSUMERS)),
        mood => destination.hits(mood),
    }
}

/// Requests of the exporter under way at most.
const CONSUMERS: u64 = 3;

fn balances_after_every_fault(way: Way) {
    const ROUNDS: u64 = 2;
    const EACH: u64 = 10;
    let storage = tempfile::tempdir().unwrap();
    let destination = way.destination();
    let queue =
        format!(", num_consumers: {CONSUMERS}, partition: {{by: service.name}}, dead_letters: {{max_bytes: 1MiB}}");
    let yaml = way.speak(&config(storage.path(), destination.address, &queue));
    let mut random = Random::new(3);
    let file = storage.path().join("weir.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let weir = Weir::run(file.to_str().unwrap()).listen("WEIR_LISTEN", "/v1/logs").start();
    let (mut answered, mut carried, mut next) = (0, 0, 0..);
    for round in 0..ROUNDS {
        for mood in MOODS {
            destination.set(mood);
            let before = met(&destination, &weir, mood);
            for id in next.by_ref().take(EACH as usize) {
                answered += if random.below(2) == 0 {
                    u64::from(send_log(weir.address, id))
                } else {
                    2 * u64::from(send_points(weir.address, id))
                };
            }
            // There is always something to send: each mood is met.
            within(PATIENCE, &format!("the destination is met {mood:?}"), || {
                (met(&destination, &weir, mood) > before).then_some(())
            });
        }
        if round == 0 {
            // A reload of the exporter while something waits: what it closes with is what it opens with.
            destination.set(Mood::Unavailable);
            for id in next.by_ref().take(20) {
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
    for id in next.by_ref().take(20) {
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
    for reason in ["connection", "timeout", "unavailable", "throttled"] {
        let retries = before.value("weir_exporter_retries", &[("reason", reason)]).unwrap_or(0.0);
        assert!(retries > 0.0, "tried again after {reason}");
    }
    let left = books(&before, way.exporter(), answered, carried);
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
    assert_eq!(books(&after, way.exporter(), 0, 0), 0);
    assert_eq!(weir.stop().code(), 0);
}

fn metrics(weir: &Weir) -> Exposition {
    let response = http::get(weir.telemetry, "/metrics", &[http::TEXT]).unwrap();
    Exposition::read(response.text())
}

/// Checks every account that telemetry tells of, and gives what is left in the queue. `carried` items were closed in one queue and found
/// in the next by the same process.
fn books(metrics: &Exposition, exporter: &str, answered: u64, carried: u64) -> u64 {
    let sum = |name: &str| sum(metrics, name);
    let of = |exporter: &str, name: &str| metrics.value(name, &[("exporter", exporter)]).unwrap_or(0.0) as u64;
    let accepted = sum("otelcol_receiver_accepted_log_records") + sum("otelcol_receiver_accepted_metric_points");
    assert_eq!(accepted, answered, "what was answered was accepted, and nothing else");
    let refused = of(exporter, "otelcol_exporter_enqueue_failed_log_records")
        + of(exporter, "otelcol_exporter_enqueue_failed_metric_points");
    let stored = sum("weir_queue_stored_items");
    assert_eq!(accepted, stored + refused, "received = stored + refused");
    let delivered =
        of(exporter, "otelcol_exporter_sent_log_records") + of(exporter, "otelcol_exporter_sent_metric_points");
    let failed = of(exporter, "otelcol_exporter_send_failed_log_records")
        + of(exporter, "otelcol_exporter_send_failed_metric_points");
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
fn ends_at_rest(weir: &Weir, way: Way) -> Ends {
    let exporter =
        |metrics: &Exposition, name: &str| metrics.value(name, &[("exporter", way.exporter())]).unwrap_or(0.0) as u64;
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
    let destination = Destination::http();
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
    let Ends { refused, sent, failed, full, .. } = ends_at_rest(&weir, Way::Protobuf);
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
    balances_in_memory(Way::Protobuf);
}

#[test]
fn the_books_of_a_queue_in_memory_balance_over_grpc_as_well() {
    balances_in_memory(Way::Grpc);
}

fn balances_in_memory(way: Way) {
    const SENDERS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let destination = way.destination();
    let memory = format!("queue_size: 4, num_consumers: {CONSUMERS}");
    let yaml =
        config(folder.path(), destination.address, "").replace("storage: file_storage, queue_size: 8MiB", &memory);
    let weir = start(&way.speak(&yaml));
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
    // Partial success is told per request, not per sender: the books of a queue on disk have it.
    for fault in MOODS.into_iter().filter(|mood| *mood != Mood::TakesInPart) {
        destination.set(fault);
        let before = met(&destination, &weir, fault);
        within(PATIENCE, &format!("the destination is met {fault:?}"), || {
            (met(&destination, &weir, fault) > before + 1).then_some(())
        });
    }
    destination.set(Mood::Well);
    finish.store(1, Ordering::SeqCst);
    let told: Vec<(u64, bool)> = sending.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let Ends { accepted, sent, failed, .. } = ends_at_rest(&weir, way);
    assert!(failed > 0, "the destination refused some for good");
    assert_eq!(accepted, told.len() as u64, "what was sent was accepted");
    let answered: BTreeSet<u64> = told.iter().filter(|(_, taken)| *taken).map(|(id, _)| *id).collect();
    assert_eq!(sent, answered.len() as u64, "every sender was told what became of his record");
    assert_eq!(destination.took().into_iter().collect::<BTreeSet<_>>(), answered);
    assert_eq!(weir.stop().code(), 0);
}

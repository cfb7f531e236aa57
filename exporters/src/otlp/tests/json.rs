//! `otlp_http` with `encoding: json`: the same promises in the other form.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use pdata::SeriesTable;
use pdata::otlp::{MetricsDecoder, decode_logs, decode_traces, logs_from_json, metrics_from_json, traces_from_json};
use pipeline::spool::{Kind as Holds, Offline};
use pipeline::{Batch, Payload};
use prost::Message as _;

use super::http::rows;
use super::queue::{Rig, records};
use super::telemetry::{COMPRESSIONS, gunzip, logs, logs_batch, metrics, metrics_batch, traces_batch};
use super::*;

const JSON: &str = "encoding: json\n";

fn json_exporter(server: &Server, yaml: &str) -> (Otlp, Meters) {
    http_exporter(server, &format!("{JSON}{yaml}"))
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_what_was_sent_under_every_compression() {
    for (yaml, encoding, unpack) in COMPRESSIONS {
        let server = Server::http(vec![]);
        let (exporter, _) = json_exporter(&server, yaml);
        for batch in [metrics_batch(), logs_batch(), traces_batch(), metrics_batch()] {
            exporter.export(&batch).await.unwrap();
        }
        let requests = server.requests();
        let paths: Vec<_> = requests.iter().map(|request| &*request.path).collect();
        assert_eq!(paths, ["/v1/metrics", "/v1/logs", "/v1/traces", "/v1/metrics"]);
        let body = |index: usize| unpack(&requests[index].body);
        for index in [0, 3] {
            let read = metrics_from_json(&body(index)).unwrap();
            assert_eq!(ExportMetricsServiceRequest::decode(&*read), Ok(metrics()), "{yaml}");
        }
        assert_eq!(ExportLogsServiceRequest::decode(&*logs_from_json(&body(1)).unwrap()), Ok(logs()));
        // The same by a reader that is none of ours, which knows no infinities.
        assert_eq!(serde_json::from_slice::<ExportLogsServiceRequest>(&body(1)).unwrap(), logs());
        let spans: ExportTraceServiceRequest = serde_json::from_slice(&body(2)).unwrap();
        assert_eq!(spans.resource_spans[0].scope_spans[0].spans[0].name, "check");
        let header = |name: &str| requests[1].headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!((header("content-encoding"), header("content-type")), (encoding, Some("application/json")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_specifications_examples_leave_as_they_are_written() {
    macro_rules! example {
        ($name:literal) => {
            &include_bytes!(concat!("../../../../fuzz/corpus/json/", $name, ".json"))[..]
        };
    }
    let server = Server::http(vec![]);
    let (exporter, _) = json_exporter(&server, "compression: none");
    let sent = async |payload: Payload| {
        exporter.export(&Batch::new(payload, NOW)).await.unwrap();
        server.requests().pop().unwrap().body
    };
    fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> T {
        serde_json::from_slice(text).unwrap()
    }
    let text = example!("metrics");
    let decoder = MetricsDecoder::new(SeriesTable::with_defaults());
    let data = decoder.decode(&metrics_from_json(text).unwrap()).unwrap().data;
    assert_eq!(read::<ExportMetricsServiceRequest>(&sent(data.into()).await), read(text));
    for text in [example!("logs"), example!("events")] {
        let data = decode_logs(&logs_from_json(text).unwrap()).unwrap().data;
        let mut written: ExportLogsServiceRequest = read(text);
        for record in &mut written.resource_logs[0].scope_logs[0].log_records {
            // We keep them by their names.
            record.attributes.sort_by(|one, two| one.key.cmp(&two.key));
        }
        assert_eq!(read::<ExportLogsServiceRequest>(&sent(data.into()).await), written);
    }
    let text = example!("trace");
    let data = decode_traces(traces_from_json(text).unwrap().into()).unwrap();
    let body = sent(data.into()).await;
    assert_eq!(read::<ExportTraceServiceRequest>(&body), read(text));
    let ids =
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173""#;
    assert!(String::from_utf8_lossy(&body).contains(ids), "ids are hex digits");
}

#[tokio::test(start_paused = true)]
async fn the_retry_table_is_kept_whatever_a_status_in_json_says() {
    use Expected::{Again, Delivered, Rejected};
    check_rows(rows(), Server::http, json_exporter).await;
    let status = r#"{"code":3,"message":"no","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"90s"}]}"#;
    let mut said = Vec::new();
    for body in [status, "{}", "[", ""] {
        for (code, expected) in [(200, Delivered), (400, Rejected), (429, Again(5_000)), (503, Again(5_000))] {
            said.push(row(format!("{code} with {body}"), Reply::json(code, body), expected));
        }
    }
    check_rows(said, Server::http, json_exporter).await;
}

#[tokio::test(start_paused = true)]
async fn partial_success_is_counted_as_rejected_and_not_sent_again() {
    let partial = |name: &str, rejected: &str, message: &str| {
        Reply::json(200, &format!(r#"{{"partialSuccess":{{"{name}":{rejected},"errorMessage":"{message}"}}}}"#))
    };
    let server = Server::http(vec![
        partial("rejectedDataPoints", "\"3\"", "too old"),
        partial("rejectedLogRecords", "1", "bad"),
        partial("rejectedSpans", "\"0\"", "your SDK is old"),
        super::http::partial(2, "a server that answers in protobuf all the same"),
        partial("rejectedDataPoints", "1e99", "no number of points"),
    ]);
    let (exporter, meters) = json_exporter(&server, "");
    let refused = |rejected, why: &str| Err(Refusal::Partial { rejected, why: why.into() });
    assert_eq!(exporter.export(&metrics_batch()).await, refused(3, "too old"));
    assert_eq!(exporter.export(&logs_batch()).await, refused(1, "bad"));
    exporter.export(&traces_batch()).await.expect("a warning is no refusal");
    exporter.export(&metrics_batch()).await.unwrap_err();
    exporter.export(&metrics_batch()).await.expect("what is no answer says nothing");
    assert_eq!((server.requests().len(), count(&meters, "weir_exporter_rejected_items")), (5, 6));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_the_server_said() {
    let long = format!(r#"{{"code":3,"message":"{}"}}"#, "no\\n".repeat(5_000));
    let server = Server::http(vec![
        Reply::json(400, r#"{"code":3,"message":"no tenant"}"#),
        Reply::json(400, r#"{"error":"a proxy's own"}"#),
        Reply::json(400, &long),
    ]);
    let (exporter, _) = json_exporter(&server, "");
    let mut told = Vec::new();
    for _ in 0..3 {
        let why = exporter.export(&metrics_batch()).await.unwrap_err().to_string();
        told.push(why.split_once("Status Code 400: ").unwrap().1.to_owned());
    }
    assert_eq!(told[..2], ["no tenant", r#"{"error":"a proxy's own"}"#]);
    assert!(told[2].starts_with("no\\nno") && told[2].len() < 1_100, "{}", told[2].len());
}

/// A record whose name takes a byte for each character in protobuf, and six in JSON.
fn swelling(bytes: usize) -> Batch {
    let mut swelling = logs();
    swelling.resource_logs[0].scope_logs[0].log_records[0].event_name = "\u{1}".repeat(bytes);
    Batch::new(decode_logs(&swelling.encode_to_vec()).unwrap().data, NOW)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_only_in_json_is_larger_than_otlp_allows_is_not_sent() {
    let server = Server::http(vec![]);
    let (exporter, _) = json_exporter(&server, "");
    let refusal = exporter.export(&swelling(12 << 20)).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Reject { why } if why.contains("in JSON is larger than")), "{refusal:?}");
    assert!(server.requests().is_empty());

    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::http_with(&server, folder.path(), JSON, "");
    rig.exporter.export(&swelling(12 << 20)).await.unwrap();
    rig.exporter.export(&records(1, &["a"])).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(server.requests().len(), 1, "it holds back nobody");
    let counts =
        ["weir_queue_dead_letter_items", "otelcol_exporter_send_failed_log_records"].map(|name| rig.count(name));
    assert_eq!((counts, rig.count("otelcol_exporter_sent_log_records")), ([2, 2], 1));
    rig.stop().await;
}

/// Waits for that many requests.
async fn arrival(server: &Server, count: usize) -> Vec<super::server::Seen> {
    for _ in 0..600 {
        if server.requests().len() >= count {
            break;
        }
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(server.requests().len(), count);
    server.requests()
}

#[tokio::test(start_paused = true)]
async fn a_queue_on_disk_outlives_a_change_of_the_encoding_both_ways() {
    let (folder, other) = (tempfile::tempdir().unwrap(), "compression: zstd\n");
    let down = || Server::http(vec![]).ill_for(secs(9999), Reply::status(503));
    let keep = async |more: &str, id: usize| {
        let rig = Rig::http_with(&down(), folder.path(), more, "");
        rig.exporter.export(&records(id, &["a"])).await.unwrap();
        rig.exporter.export(&traces_batch()).await.unwrap();
        rig.exporter.export(&metrics_batch()).await.unwrap();
        tokio::time::sleep(secs(60)).await;
        rig.stop().await;
    };
    keep("", 0).await;
    keep(&format!("{JSON}{other}"), 1).await;
    keep("compression: none\n", 2).await;
    // All of it leaves as the last start wants it.
    let well = Server::http(vec![Reply::status(503)]);
    let rig = Rig::http_with(&well, folder.path(), JSON, "");
    // The first of them twice.
    let requests = arrival(&well, 10).await;
    for (place, three) in requests[1..].chunks(3).enumerate() {
        let kinds: Vec<_> = three.iter().map(|request| request.headers["content-type"].to_str().unwrap()).collect();
        assert_eq!(kinds, ["application/json"; 3]);
        let bodies: Vec<_> = three.iter().map(|request| gunzip(&request.body)).collect();
        let read = logs_from_json(&bodies[0]).unwrap();
        assert_eq!(&*decode_logs(&read).unwrap().data.records[0].event_name, format!("a{place}"));
        traces_from_json(&bodies[1]).unwrap();
        let read = metrics_from_json(&bodies[2]).unwrap();
        assert_eq!(ExportMetricsServiceRequest::decode(&*read), Ok(metrics()));
    }
    assert_eq!((rig.count("weir_queue_replayed_items"), rig.count("weir_queue_dead_letter_items")), (3 * 9, 0));
    rig.stop().await;

    keep(JSON, 3).await;
    let well = Server::http(vec![]);
    let rig = Rig::http_with(&well, folder.path(), "compression: none\n", "");
    let requests = arrival(&well, 3).await;
    let kinds: Vec<_> = requests.iter().map(|request| request.headers["content-type"].to_str().unwrap()).collect();
    assert_eq!(kinds, ["application/x-protobuf"; 3]);
    assert_eq!(ExportMetricsServiceRequest::decode(&*gunzip(&requests[2].body)), Ok(metrics()));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_waits_for_a_human_as_it_would_in_protobuf() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::http(vec![Reply::json(400, r#"{"code":3,"message":"no tenant"}"#)]);
    let rig = Rig::http_with(&server, folder.path(), JSON, "");
    rig.exporter.export(&records(5, &["a"])).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    let mut dead = Vec::new();
    let mut keep = |_: &str, stored: pipeline::spool::Stored| {
        dead.push((stored.note, gunzip(&stored.body)));
        Ok(())
    };
    Offline::open(folder.path()).unwrap().read(Holds::DeadLetters, None, &mut keep).unwrap();
    assert!(dead[0].0.ends_with("400: no tenant"), "{}", dead[0].0);
    assert_eq!(&*decode_logs(&dead[0].1).unwrap().data.records[0].event_name, "a5");
    rig.stop().await;
}

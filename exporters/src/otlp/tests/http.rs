//! `otlp_http` against a server that follows a script.

use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;

use super::telemetry::{COMPRESSIONS, gunzip, logs, logs_batch, metrics, metrics_batch, traces_batch};
use super::*;

/// Of all signals: their answers have the same fields on the wire.
pub(super) fn partial(rejected_data_points: i64, error_message: &str) -> Reply {
    let partial_success =
        Some(ExportMetricsPartialSuccess { rejected_data_points, error_message: error_message.into() });
    Reply::protobuf(200, ExportMetricsServiceResponse { partial_success }.encode_to_vec())
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_what_was_sent_under_every_compression() {
    for (yaml, encoding, unpack) in COMPRESSIONS {
        let server = Server::http(vec![]);
        let (exporter, _) = http_exporter(&server, yaml);
        // Twice: the second request is written from what the first one left behind.
        for _ in 0..2 {
            exporter.export(&metrics_batch()).await.unwrap();
            exporter.export(&logs_batch()).await.unwrap();
        }
        let requests = server.requests();
        assert_eq!((requests.len(), server.dials()), (4, 1), "one connection is kept");
        for pair in requests.chunks(2) {
            assert_eq!([&*pair[0].path, &*pair[1].path], ["/v1/metrics", "/v1/logs"]);
            assert_eq!(ExportMetricsServiceRequest::decode(&*unpack(&pair[0].body)), Ok(metrics()), "{yaml}");
            assert_eq!(ExportLogsServiceRequest::decode(&*unpack(&pair[1].body)), Ok(logs()), "{yaml}");
        }
        let header = |name: &str| requests[0].headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-encoding"), encoding);
        assert_eq!(header("content-type"), Some("application/x-protobuf"));
        assert_eq!(header("user-agent"), Some(concat!("weir/", env!("CARGO_PKG_VERSION"))));
    }
}

#[tokio::test(start_paused = true)]
async fn the_retry_table_is_kept() {
    check_rows(rows(), Server::http, http_exporter).await;
}

/// The retry table of OTLP/HTTP; the same whatever leaves.
pub(super) fn rows() -> Vec<Row> {
    use Expected::{Again, Delivered, Rejected};
    let mut rows = Vec::new();
    for status in [200, 202, 204] {
        rows.push(row(format!("{status}"), Reply::status(status), Delivered));
    }
    for status in [400, 404, 405, 408, 409, 413, 415, 422, 431, 500, 501, 505, 507] {
        rows.push(row(format!("{status}"), Reply::with(status, "retry-after", "1"), Rejected));
    }
    for status in [429, 502, 503, 504] {
        rows.push(row(format!("{status}"), Reply::status(status), Again(5_000)));
        rows.push(row(format!("{status}, delay"), Reply::with(status, "retry-after", "40"), Again(40_000)));
        rows.push(row(format!("{status}, short delay"), Reply::with(status, "retry-after", "1"), Again(5_000)));
    }
    let date = |seconds: u64| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(NOW.0) + secs(seconds));
    rows.push(row("a date", Reply::with(503, "retry-after", date(90)), Again(90_000)));
    rows.push(row(
        "a date that is past",
        Reply::with(503, "retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
        Again(5_000),
    ));
    rows.push(row("a delay that is none", Reply::with(503, "retry-after", "soon"), Again(5_000)));
    rows.push(row("a negative delay", Reply::with(503, "retry-after", "-5"), Again(5_000)));
    for status in [301, 302, 303, 307, 308] {
        rows.push(row(format!("{status}"), Reply::with(status, "location", "http://elsewhere.example/"), Rejected));
    }
    for status in [401, 403] {
        rows.push(row(format!("{status} is held"), Reply::status(status), Again(60_000)));
        rows.push(Row {
            yaml: "auth_errors: drop",
            ..row(format!("{status} is dropped"), Reply::status(status), Rejected)
        });
    }
    for status in [408, 500] {
        let yaml = "retry_status_codes: [408, 500]";
        rows.push(Row { yaml, ..row(format!("{status} is added"), Reply::status(status), Again(5_000)) });
    }
    rows.push(row("no connection", Reply::Refuses, Again(5_000)));
    rows.push(row("a reset in the body", Reply::Breaks, Again(5_000)));
    rows.push(row("no answer", Reply::Hangs, Again(35_000)));
    rows.push(Row { yaml: "timeout: 2s", ..row("no answer in 2s", Reply::Hangs, Again(7_000)) });
    rows.push(row("an answer that never ends", Reply::Drips, Again(35_000)));
    rows.push(row("a large answer", Reply::Huge(4 << 20), Delivered));
    rows.push(row("an answer larger than OTLP allows", Reply::Huge(5 << 20), Rejected));
    rows.push(row("an answer of another kind", Reply::protobuf(200, b"<html>".to_vec()), Delivered));
    rows
}

#[tokio::test(start_paused = true)]
async fn partial_success_is_counted_as_rejected_and_not_sent_again() {
    let server = Server::http(vec![partial(3, "too old"), partial(0, "your SDK is old"), partial(1_000, "all of it")]);
    let (exporter, meters) = http_exporter(&server, "");
    let refusal = exporter.export(&metrics_batch()).await.unwrap_err();
    assert_eq!(refusal, Refusal::Partial { rejected: 3, why: "too old".into() });
    exporter.export(&metrics_batch()).await.expect("a warning is no refusal");
    exporter.export(&metrics_batch()).await.unwrap_err();
    assert_eq!(server.requests().len(), 3);
    assert_eq!(count(&meters, "weir_exporter_rejected_items"), 3 + 7, "never more than was sent");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_the_server_said_and_no_secrets() {
    let mut status = vec![0x12, 9];
    status.extend_from_slice(b"no tenant");
    let server = Server::http(vec![
        Reply::protobuf(400, status),
        Reply::Http {
            status: 400,
            headers: vec![("content-type", "text/plain".into())],
            body: "bad\nthing".repeat(9_000).into(),
        },
    ]);
    let yaml = "metrics_endpoint: http://otel.example/in?api_key=c4n4ry\nheaders: {x-key: c4n4ry}";
    let (exporter, _) = http_exporter(&server, yaml);
    let first = exporter.export(&metrics_batch()).await.unwrap_err().to_string();
    assert_eq!(first, "request to http://otel.example/in responded with HTTP Status Code 400: no tenant");
    let second = exporter.export(&metrics_batch()).await.unwrap_err().to_string();
    assert!(second.len() < 1_200 && second.contains("bad\\nthing") && !second.contains('\n'), "{second}");
    assert_eq!(server.requests()[0].headers["x-key"], "c4n4ry");
    assert!(!format!("{:?}", server.requests()[0].headers).is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_signal_may_have_an_address_of_its_own() {
    let server = Server::http(vec![]);
    let yaml = "metrics_endpoint: http://metrics.example/opentelemetry/v1/metrics/";
    let (exporter, _) = http_exporter(&server, yaml);
    exporter.export(&metrics_batch()).await.unwrap();
    exporter.export(&logs_batch()).await.unwrap();
    exporter.export(&traces_batch()).await.unwrap();
    let seen: Vec<_> = server.requests().iter().map(|seen| format!("{}{}", seen.authority, seen.path)).collect();
    let expected =
        ["metrics.example/opentelemetry/v1/metrics/", "otel.example:4318/v1/logs", "otel.example:4318/v1/traces"];
    assert_eq!(seen, expected);
    assert_eq!(
        gunzip(&server.requests()[2].body),
        **traces_batch().traces().unwrap().body(),
        "spans leave as they came"
    );
}

#[tokio::test(start_paused = true)]
async fn a_header_from_a_file_is_read_again_when_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "Bearer one\n").unwrap();
    let server = Server::http(vec![Reply::status(401)]);
    let yaml = format!(
        "headers:\n- {{name: Authorization, value_file: {}}}\n- {{name: X-Scope-OrgID, value: \"7\"}}\n",
        path.display()
    );
    let (exporter, meters) = http_exporter(&server, &yaml);
    let exporting = tokio::spawn(async move { exporter.export(&metrics_batch()).await });
    tokio::time::sleep(secs(30)).await;
    std::fs::write(&path, "Bearer two").unwrap();
    exporting.await.unwrap().unwrap();
    let tokens: Vec<_> = server.requests().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer one", "Bearer two"]);
    assert_eq!(server.requests()[0].headers["x-scope-orgid"], "7");
    assert_eq!(count(&meters, "weir_exporter_auth_refused"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_makes_no_request() {
    let server = Server::http(vec![]);
    let (exporter, _) = http_exporter(&server, "");
    exporter.export(&pipeline::testing::batch_of(0)).await.unwrap();
    assert!(server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_otlp_allows_is_not_sent() {
    let server = Server::http(vec![]);
    let (exporter, _) = http_exporter(&server, "");
    let mut huge = logs();
    huge.resource_logs[0].scope_logs[0].log_records[0].event_name = "x".repeat(65 << 20);
    let logs = pdata::otlp::decode_logs(&huge.encode_to_vec()).unwrap().data;
    let refusal = exporter.export(&pipeline::Batch::new(logs, NOW)).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Reject { why } if why.contains("larger than")), "{refusal:?}");
    assert!(server.requests().is_empty());
}

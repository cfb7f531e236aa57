//! `otlp_grpc` against a server that follows a script.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;

use super::telemetry::{COMPRESSIONS, logs, logs_batch, metrics, metrics_batch};
use super::*;

/// `google.rpc.Status` and what it holds, for prost to write.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A status with a RetryInfo, and as many bytes of something else before it.
fn retry_info(code: i32, seconds: i64, padding: usize) -> Reply {
    let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos: 500_000_000 }) };
    let any = |name: &str, value| Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value };
    let details = vec![any("DebugInfo", vec![b'x'; padding]), any("RetryInfo", info.encode_to_vec())];
    let status = Status { code, message: "slow down".into(), details };
    Reply::Grpc { code, details: status.encode_to_vec(), message: None }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_what_was_sent_under_every_compression() {
    for (yaml, encoding, unpack) in COMPRESSIONS {
        let server = Server::grpc(vec![]);
        let (exporter, _) = grpc_exporter(&server, yaml);
        for _ in 0..2 {
            exporter.export(&metrics_batch()).await.unwrap();
            exporter.export(&logs_batch()).await.unwrap();
        }
        let requests = server.requests();
        assert_eq!((requests.len(), server.dials()), (4, 1));
        let message = |body: &[u8]| {
            assert_eq!(body[0], u8::from(encoding.is_some()));
            assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
            unpack(&body[5..])
        };
        for pair in requests.chunks(2) {
            assert_eq!(pair[0].path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
            assert_eq!(pair[1].path, "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
            assert_eq!(ExportMetricsServiceRequest::decode(&*message(&pair[0].body)), Ok(metrics()), "{yaml}");
            assert_eq!(ExportLogsServiceRequest::decode(&*message(&pair[1].body)), Ok(logs()), "{yaml}");
        }
        let header = |name: &str| requests[0].headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("grpc-encoding"), encoding);
        assert_eq!((header("te"), header("content-type")), (Some("trailers"), Some("application/grpc")));
        assert_eq!(header("grpc-timeout"), Some("5000m"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_retry_table_is_kept() {
    use Expected::{Again, Delivered, Rejected};
    let mut rows = vec![row("OK", Reply::grpc(0), Delivered)];
    for (code, name) in [
        (1, "CANCELLED"),
        (4, "DEADLINE_EXCEEDED"),
        (10, "ABORTED"),
        (11, "OUT_OF_RANGE"),
        (14, "UNAVAILABLE"),
        (15, "DATA_LOSS"),
    ] {
        rows.push(row(name, Reply::grpc(code), Again(5_000)));
        rows.push(row(format!("{name} in the headers"), Reply::TrailersOnly { code }, Again(5_000)));
        rows.push(row(format!("{name}, delay"), retry_info(code, 40, 0), Again(40_500)));
        rows.push(row(format!("{name}, short delay"), retry_info(code, 1, 0), Again(5_000)));
    }
    for code in [2, 3, 5, 6, 9, 12, 13] {
        rows.push(row(format!("code {code}"), Reply::grpc(code), Rejected));
        rows.push(row(format!("code {code}, delay"), retry_info(code, 1, 0), Rejected));
        rows.push(row(format!("code {code} in the headers"), Reply::TrailersOnly { code }, Rejected));
    }
    rows.push(row("RESOURCE_EXHAUSTED", Reply::grpc(8), Rejected));
    rows.push(row("RESOURCE_EXHAUSTED, delay", retry_info(8, 9, 0), Again(9_500)));
    rows.push(row("RESOURCE_EXHAUSTED, delay in large details", retry_info(8, 9, 7 << 10), Again(9_500)));
    rows.push(row("RESOURCE_EXHAUSTED, delay in details past the bound", retry_info(8, 9, 9 << 10), Rejected));
    for (code, name) in [(7, "PERMISSION_DENIED"), (16, "UNAUTHENTICATED")] {
        rows.push(row(format!("{name} is held"), Reply::grpc(code), Again(60_000)));
        rows.push(Row { yaml: "auth_errors: drop", ..row(format!("{name} is dropped"), Reply::grpc(code), Rejected) });
    }
    let yaml = "retry_codes: [internal, UNKNOWN]";
    rows.push(Row { yaml, ..row("INTERNAL is added", Reply::grpc(13), Again(5_000)) });
    for (status, expected) in [
        (400, Rejected),
        (401, Again(60_000)),
        (403, Again(60_000)),
        (404, Rejected),
        (429, Again(5_000)),
        (500, Rejected),
        (502, Again(5_000)),
        (503, Again(5_000)),
        (504, Again(5_000)),
    ] {
        rows.push(row(format!("HTTP {status} from a proxy"), Reply::status(status), expected));
    }
    rows.push(row("no status", Reply::status(200), Again(5_000)));
    rows.push(row("no connection", Reply::Refuses, Again(5_000)));
    rows.push(row("a reset in the body", Reply::Breaks, Again(5_000)));
    rows.push(row("no answer", Reply::Hangs, Again(10_000)));
    rows.push(row("an answer that never ends", Reply::Drips, Again(10_000)));
    rows.push(row("an answer larger than OTLP allows", Reply::Huge(5 << 20), Rejected));
    check_rows(rows, Server::grpc, grpc_exporter).await;
}

#[tokio::test(start_paused = true)]
async fn partial_success_is_counted_as_rejected_and_not_sent_again() {
    let partial_success =
        Some(ExportMetricsPartialSuccess { rejected_data_points: 3, error_message: "too old".into() });
    let message = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let server = Server::grpc(vec![Reply::Grpc { code: 0, details: vec![], message: Some(message.into()) }]);
    let (exporter, meters) = grpc_exporter(&server, "");
    let refusal = exporter.export(&metrics_batch()).await.unwrap_err();
    assert_eq!(refusal, Refusal::Partial { rejected: 3, why: "too old".into() });
    assert_eq!((server.requests().len(), count(&meters, "weir_exporter_rejected_items")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leads_nowhere_is_not_used_again() {
    let server = Server::grpc(vec![Reply::grpc(0), Reply::Hangs]);
    let (exporter, _) = grpc_exporter(&server, "");
    for _ in 0..3 {
        exporter.export(&metrics_batch()).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.dials()), (4, 2), "kept while it answers, replaced when it did not");
}

#[tokio::test(start_paused = true)]
async fn metadata_and_authority_are_as_written() {
    let server = Server::grpc(vec![]);
    let yaml = "authority: other.example\nuser_agent: me/1\nheaders: {X-Tenant: a b}";
    let (exporter, _) = grpc_exporter(&server, yaml);
    exporter.export(&metrics_batch()).await.unwrap();
    let seen = &server.requests()[0];
    assert_eq!((seen.authority.as_str(), &seen.headers["x-tenant"]), ("other.example", &"a b".parse().unwrap()));
    assert_eq!(seen.headers["user-agent"], "me/1");
}

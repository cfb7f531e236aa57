//! The exporters against scripted servers, over pipes in memory and in stepped time.

mod fold;
mod grpc;
mod http;
mod json;
mod outage;
mod plans;
mod queue;
mod server;
mod telemetry;
mod tls;

use std::time::Duration;

use config::Section;
use pdata::UnixNanos;
use pipeline::testing::context;
use pipeline::{BuildContext, Clock, Exporter, Meters, Refusal};

use super::Otlp;
use server::{Reply, Server};
use telemetry::metrics_batch;

/// 2026-11-21T00:00:00Z.
const NOW: UnixNanos = UnixNanos(1_795_219_200_000_000_000);

/// No jitter, so that times are exact.
const EXACT: &str = "retry_on_failure: {randomization_factor: 0}\n";

fn surroundings(id: &str) -> BuildContext {
    BuildContext { clock: Clock::stepped(NOW), ..context(id) }
}

fn section(id: &str, yaml: &str) -> Section {
    Section::from_yaml(id, yaml).expect("a test writes valid YAML")
}

/// An `otlp_http` exporter that talks to `server`; `yaml` stands beside the endpoint.
fn http_exporter(server: &Server, yaml: &str) -> (Otlp, Meters) {
    let section = section("otlp_http", &format!("endpoint: http://otel.example:4318\n{EXACT}{yaml}"));
    let mut plan = super::http::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let context = surroundings("otlp_http");
    (plan.ready(&context).unwrap(), context.meters)
}

/// The same over gRPC.
fn grpc_exporter(server: &Server, yaml: &str) -> (Otlp, Meters) {
    let section = section("otlp_grpc", &format!("endpoint: otel.example:4317\ntls: {{insecure: true}}\n{EXACT}{yaml}"));
    let mut plan = super::grpc::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let context = surroundings("otlp_grpc");
    (plan.ready(&context).unwrap(), context.meters)
}

/// One row of a retry table: what the server says first (then it is well), and what comes of it.
struct Row {
    name: String,
    first: Reply,
    yaml: &'static str,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Delivered,
    Rejected,
    /// Tried again after so many milliseconds, and delivered.
    Again(u64),
}

fn row(name: impl Into<String>, first: Reply, expected: Expected) -> Row {
    Row { name: name.into(), first, yaml: "", expected }
}

async fn check_rows(rows: Vec<Row>, server: fn(Vec<Reply>) -> Server, exporter: fn(&Server, &str) -> (Otlp, Meters)) {
    for Row { name, first, yaml, expected } in rows {
        let server = server(vec![first]);
        let (exporter, _) = exporter(&server, yaml);
        let outcome = exporter.export(&metrics_batch()).await;
        let times: Vec<_> = server.requests().iter().map(|request| request.at.as_millis() as u64).collect();
        let found = match (&outcome, times.as_slice()) {
            (Ok(()), [_]) => Expected::Delivered,
            (Err(Refusal::Reject { .. }), [_]) => Expected::Rejected,
            (Ok(()), [first, second]) => Expected::Again(second - first),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(found, expected, "{name}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_body_arrives_whole() {
    let mut large = telemetry::logs();
    large.resource_logs[0].scope_logs[0].log_records[0].event_name = "x".repeat(9 << 20);
    let bytes = prost::Message::encode_to_vec(&large);
    for (server, exporter, frame) in [
        (Server::http(vec![]), http_exporter as fn(&Server, &str) -> (Otlp, Meters), 0),
        (Server::grpc(vec![]), grpc_exporter, 5),
    ] {
        let (exporter, _) = exporter(&server, "compression: none");
        let logs = pdata::otlp::decode_logs(&bytes).unwrap().data;
        exporter.export(&pipeline::Batch::new(logs, NOW)).await.unwrap();
        let arrived = prost::Message::decode(&server.requests()[0].body[frame..]);
        assert!(arrived == Ok(large.clone()), "what arrives is what was sent");
    }
}

fn count(meters: &Meters, name: &str) -> u64 {
    meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

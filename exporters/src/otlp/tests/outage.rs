//! The whole way from an inbox to a server that is ill in every way there is, in stepped time.

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use pdata::{Kind, Metrics, Number, SeriesTable};
use pipeline::drive::{ExportCounts, drive};
use pipeline::testing::{identity, push};
use pipeline::{Batch, Inbox, Receipt, Verdict};
use prost::Message as _;

use super::telemetry::gunzip;
use super::*;

/// A batch with one point of this value.
fn numbered(table: &Arc<SeriesTable>, value: i64) -> Batch {
    let mut metrics = Metrics::new(table.pin());
    let series = table.intern(identity("m", Kind::Gauge, &[("tenant", "a")]));
    push(&mut metrics, &series, Number::Int(value), 1);
    Batch::new(metrics, NOW)
}

/// The value in a request's body.
fn value_of(request: &server::Seen, frame: usize) -> i64 {
    let body = gunzip(&request.body[frame..]);
    let request = match request.headers["content-type"].to_str().unwrap() {
        "application/json" => serde_json::from_slice(&body).unwrap(),
        _ => ExportMetricsServiceRequest::decode(&*body).unwrap(),
    };
    let Some(Data::Gauge(gauge)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
    let Some(Value::AsInt(value)) = gauge.data_points[0].value else { panic!() };
    value
}

/// Ten minutes of illness, with a batch a second; then twenty seconds of health.
async fn outage(server: Server, exporter: fn(&Server, &str) -> (Otlp, Meters), frame: usize, what: &str) {
    const BATCHES: i64 = 620;
    let yaml = "sending_queue: {block_on_overflow: true, queue_size: 100, num_consumers: 4}\ntimeout: 5s\n";
    let (exporter, meters) = exporter(&server, yaml);
    let (port, inbox) = Inbox::new(exporter.intake().limits);
    let driving = tokio::spawn(drive(Arc::new(exporter), inbox, ExportCounts::new(&meters, "otlp")));
    let (table, began, mut waiters) = (SeriesTable::with_defaults(), tokio::time::Instant::now(), Vec::new());
    for value in 0..BATCHES {
        tokio::time::sleep_until(began + secs(value as u64)).await;
        let (receipt, waiter) = Receipt::pair();
        waiters.push(waiter);
        port.send(numbered(&table, value).with_receipt(receipt)).await;
    }
    drop(port);
    driving.await.unwrap();
    for waiter in waiters {
        assert_eq!(waiter.verdict().await, Verdict::Delivered, "{what}");
    }
    let well = server.requests().into_iter().filter(|request| request.at >= secs(600));
    let arrived: BTreeSet<_> = well.map(|request| value_of(&request, frame)).collect();
    assert_eq!(arrived.len() as i64, BATCHES, "{what}");
    let in_illness = server.requests().iter().filter(|request| request.at < secs(600)).count();
    assert!(in_illness <= 64, "{what}: a try in ten seconds, not {in_illness} in ten minutes");
}

const FOR_EVER: &str = "retry_on_failure: {randomization_factor: 0, max_elapsed_time: 0s}\n";

fn http_for_ever(server: &Server, yaml: &str) -> (Otlp, Meters) {
    let section = section("otlp_http", &format!("endpoint: http://otel.example:4318\n{FOR_EVER}{yaml}"));
    let mut plan = super::super::http::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let context = surroundings("otlp_http");
    (plan.ready(&context).unwrap(), context.meters)
}

fn grpc_for_ever(server: &Server, yaml: &str) -> (Otlp, Meters) {
    let yaml = format!("endpoint: otel.example:4317\ntls: {{insecure: true}}\n{FOR_EVER}{yaml}");
    let mut plan =
        super::super::grpc::check(&section("otlp_grpc", &yaml)).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let context = surroundings("otlp_grpc");
    (plan.ready(&context).unwrap(), context.meters)
}

#[tokio::test(start_paused = true)]
async fn no_illness_of_an_http_server_loses_a_point() {
    in_every_illness(http_for_ever).await;
}

#[tokio::test(start_paused = true)]
async fn no_illness_of_an_http_server_that_takes_json_loses_a_point() {
    in_every_illness(|server, yaml| http_for_ever(server, &format!("encoding: json\n{yaml}"))).await;
}

async fn in_every_illness(exporter: fn(&Server, &str) -> (Otlp, Meters)) {
    let illnesses = [
        ("refuses", Reply::Refuses),
        ("hangs", Reply::Hangs),
        ("breaks off", Reply::Breaks),
        ("drips", Reply::Drips),
        ("503", Reply::status(503)),
        ("429", Reply::with(429, "retry-after", "60")),
        ("401", Reply::status(401)),
    ];
    for (what, reply) in illnesses {
        outage(Server::http(vec![]).ill_for(secs(600), reply), exporter, 0, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_illness_of_a_grpc_server_loses_a_point() {
    let illnesses = [
        ("refuses", Reply::Refuses),
        ("hangs", Reply::Hangs),
        ("breaks off", Reply::Breaks),
        ("UNAVAILABLE", Reply::grpc(14)),
        ("UNAUTHENTICATED", Reply::TrailersOnly { code: 16 }),
        ("a proxy's 502", Reply::status(502)),
    ];
    for (what, reply) in illnesses {
        outage(Server::grpc(vec![]).ill_for(secs(600), reply), grpc_for_ever, 5, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_of_a_stop_counts_as_lost() {
    let server = Server::http(vec![]).ill_for(secs(600), Reply::Hangs);
    let (exporter, meters) = http_for_ever(&server, "sending_queue: {num_consumers: 2}\n");
    let (port, inbox) = Inbox::new(exporter.intake().limits);
    let driving = tokio::spawn(drive(Arc::new(exporter), inbox, ExportCounts::new(&meters, "otlp")));
    let (table, mut waiters) = (SeriesTable::with_defaults(), Vec::new());
    for value in 0..5 {
        let (receipt, waiter) = Receipt::pair();
        waiters.push(waiter);
        port.send(numbered(&table, value).with_receipt(receipt)).await;
    }
    drop(port);
    tokio::time::sleep(secs(8)).await;
    assert!(!driving.is_finished(), "it goes on until the deadline");
    driving.abort();
    driving.await.unwrap_err();
    for waiter in waiters {
        assert_eq!(waiter.verdict().await, Verdict::Lost);
    }
    let labels = vec![("exporter", "otlp_http".to_owned())];
    assert_eq!(meters.level("otelcol_exporter_in_flight_requests", "", "", labels).value(), 0);
}

//! OTLP/HTTP, in both forms.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use pdata::otlp::{decode_status, traces_from_json};
use std::time::Duration;

use super::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// One log record with a text, and one span.
const LOG: &str =
    r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"hello"}}]}]}]}"#;
const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"check","kind":1,"traceId":"5b8efff798038103d269b633813fc60c"}]}]}]}"#;

#[tokio::test]
async fn points_arrive_under_every_packing_and_in_both_forms() {
    let mut house = House::open(BOTH);
    let plain = gauges(3);
    for (kind, body) in [(PROTOBUF, plain.encode_to_vec()), (JSON, serde_json::to_vec(&plain).unwrap())] {
        for coding in CODINGS {
            let request = request("/v1/metrics", &[kind, ("content-encoding", coding)], pack(coding, &body));
            let (heard, items) = house.ends(request, Verdict::Delivered).await;
            assert_eq!((heard.status, heard.header("content-type"), items), (StatusCode::OK, kind.1, 3), "{coding}");
            assert_eq!(heard.body, if kind == JSON { &b"{}"[..] } else { b"" });
        }
    }
    assert_eq!(house.budget.used(), 0, "what was taken of the budget is given back");
}

#[tokio::test]
async fn logs_and_traces_have_paths_of_their_own() {
    let mut house = House::open(&BOTH.replace("http: {", "http: {traces_url_path: /spans, "));
    let asking = house.begin(request("/v1/logs", &[JSON], LOG));
    let batch = house.inbox.next().await.unwrap();
    assert_eq!(batch.logs().unwrap().records[0].body.to_string(), "hello");
    batch.settle(Verdict::Delivered);
    assert_eq!(asking.await.unwrap().status, StatusCode::OK);
    let asking = house.begin(request("/spans", &[JSON], SPAN));
    let batch = house.inbox.next().await.unwrap();
    batch.traces().unwrap().each_span(|span| assert_eq!((span.name, span.trace_id[0]), ("check", 0x5b)));
    batch.settle(Verdict::Delivered);
    assert_eq!(asking.await.unwrap().status, StatusCode::OK);
    assert_eq!(house.ask(request("/v1/traces", &[JSON], SPAN)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pieces_make_a_body_and_what_is_kept_of_it_has_memory_of_its_own() {
    let mut house = House::open(BOTH);
    let spans = Bytes::from(traces_from_json(SPAN.as_bytes()).unwrap());
    for size in [1, spans.len() - 1, spans.len()] {
        let in_pieces = in_pieces(request("/v1/traces", &[PROTOBUF], ""), &spans, size);
        let asking = [in_pieces, request("/v1/traces", &[PROTOBUF], spans.clone())].map(|request| house.begin(request));
        for asking in asking {
            let batch = house.inbox.next().await.unwrap();
            let kept = batch.traces().unwrap().body();
            assert_eq!(kept, &spans, "{size}");
            assert_ne!(kept.as_ptr(), spans.as_ptr(), "a piece may lie in a buffer that is far larger");
            batch.settle(Verdict::Delivered);
            assert_eq!(asking.await.unwrap().status, StatusCode::OK);
        }
    }
    assert_eq!(house.budget.used(), 0);
}

#[tokio::test]
async fn an_empty_request_is_a_success_and_no_batch() {
    let house = House::open(BOTH);
    for (kind, body) in [(PROTOBUF, ""), (JSON, "{}"), (JSON, r#"{"resourceMetrics":[]}"#)] {
        assert_eq!(house.ask(request("/v1/metrics", &[kind], body)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn points_that_break_their_rules_are_told_as_partial_success() {
    let mut house = House::open(BOTH);
    let mut plain = gauges(3);
    let Some(metric::Data::Gauge(gauge)) = &mut plain.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!()
    };
    gauge.data_points[1].value = None;
    let body = plain.encode_to_vec();
    let (heard, items) = house.ends(request("/v1/metrics", &[PROTOBUF], body), Verdict::Delivered).await;
    let told = ExportMetricsServiceResponse::decode(heard.body).unwrap().partial_success.unwrap();
    assert_eq!((items, told.rejected_data_points, &*told.error_message), (2, 1, "a point has no value"));
    let body = serde_json::to_vec(&plain).unwrap();
    let (heard, _) = house.ends(request("/v1/metrics", &[JSON], body), Verdict::Delivered).await;
    let told: serde_json::Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(told["partialSuccess"]["rejectedDataPoints"], "1");
    assert_eq!(house.count("otelcol_receiver_refused_metric_points"), 2);
}

#[tokio::test]
async fn a_no_is_a_status_in_the_form_of_the_request() {
    let house = House::open(BOTH);
    let rows = [
        (request("/v1/metrics", &[PROTOBUF], "\u{8}"), 400, 3, "ends inside a field"),
        (request("/v1/metrics", &[JSON], "{]"), 400, 3, "line 1 column 2"),
        (request("/v1/metrics", &[JSON, ("content-encoding", "gzip")], "{}"), 400, 3, "content encoding"),
        (request("/v1/metrics", &[JSON, ("content-encoding", "br")], "{}"), 415, 3, "gzip, zstd"),
        (request("/v1/metrics", &[("content-type", "text/plain")], "{}"), 415, 3, "application/json"),
        (request("/v1/metrics", &[], "{}"), 415, 3, "application/json"),
    ];
    for (request, status, code, part) in rows {
        let heard = house.ask(request).await;
        assert_eq!(heard.status.as_u16(), status, "{part}");
        let told = match heard.header("content-type") {
            "application/x-protobuf" => decode_status(&heard.body).unwrap(),
            json => {
                assert_eq!(json, "application/json");
                let told: serde_json::Value = serde_json::from_slice(&heard.body).unwrap();
                let code = told["code"].as_i64().unwrap() as i32;
                pdata::otlp::RpcStatus { code, message: told["message"].as_str().unwrap().into(), retry_after: None }
            }
        };
        assert_eq!(told.code, code);
        assert!(told.message.contains(part), "{told:?}");
    }
    let mut get = request("/v1/metrics", &[], "");
    *get.method_mut() = Method::GET;
    let heard = house.ask(get).await;
    assert_eq!((heard.status.as_u16(), heard.header("allow")), (405, "POST"));
    assert_eq!(house.ask(request("/v1/profiles", &[PROTOBUF], "")).await.text(), "404 page not found\n");
}

#[tokio::test]
async fn what_is_too_large_is_told_so_whether_it_is_packed_or_not() {
    let house = House::open(&BOTH.replace("http: {", "http: {max_request_body_size: 100KiB, "));
    for coding in CODINGS {
        let body = pack(coding, &[0; 200 << 10]);
        let heard = house.ask(request("/v1/logs", &[PROTOBUF, ("content-encoding", coding)], body)).await;
        assert_eq!(heard.status, StatusCode::PAYLOAD_TOO_LARGE, "{coding}");
        let told = decode_status(&heard.body).unwrap();
        assert_eq!((told.code, told.retry_after), (8, None), "RESOURCE_EXHAUSTED without a delay is for good");
    }
    assert_eq!(house.refused("too_large"), 4);
}

#[tokio::test]
async fn the_verdict_is_the_answer() {
    let mut house = House::open(BOTH);
    let rows = [(Verdict::Delivered, 200), (Verdict::Discarded, 200), (Verdict::Rejected, 400), (Verdict::Lost, 503)];
    for (verdict, status) in rows {
        let body = gauges(1).encode_to_vec();
        let (heard, _) = house.ends(request("/v1/metrics", &[PROTOBUF], body), verdict).await;
        assert_eq!(heard.status.as_u16(), status, "{verdict:?}");
        assert_eq!(heard.header("retry-after"), if status == 503 { "1" } else { "" });
        if status == 503 {
            assert_eq!(decode_status(&heard.body).unwrap().retry_after, Some(Duration::from_secs(1)));
        }
    }
    assert_eq!((house.refused("refused"), house.refused("busy")), (1, 1));
    assert_eq!(house.count("otelcol_receiver_refused_metric_points"), 2);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_what_still_waits_is_withdrawn() {
    let mut house = House::open(&format!("{BOTH}reply_timeout: 3s\n"));
    let began = tokio::time::Instant::now();
    let heard = house.ask(request("/v1/metrics", &[JSON], serde_json::to_vec(&gauges(1)).unwrap())).await;
    assert_eq!((heard.status.as_u16(), began.elapsed().as_secs()), (503, 3));
    assert!(heard.text().contains(r#""retryDelay":"1s""#), "{}", heard.text());
    let batch = house.inbox.next().await.unwrap();
    assert!(batch.withdrawal().is_withdrawn(), "the sender sends it again: it must not leave from here");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_goes_away_takes_its_data_along() {
    let mut house = House::open(BOTH);
    let asking = house.begin(request("/v1/metrics", &[PROTOBUF], gauges(1).encode_to_vec()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    asking.abort();
    assert!(asking.await.is_err());
    assert!(house.inbox.next().await.unwrap().withdrawal().is_withdrawn());
}

#[tokio::test(start_paused = true)]
async fn on_enqueue_answers_when_the_pipelines_have_it_and_pushes_back_when_they_are_full() {
    let limits = InboxLimits { batches: 1, ..InboxLimits::default() };
    let (port, inbox) = Inbox::new(limits);
    let mut house = House::with(&format!("{BOTH}reply: on_enqueue\n"), vec![port], inbox, 1 << 30);
    let push = || request("/v1/metrics", &[PROTOBUF], gauges(1).encode_to_vec());
    assert_eq!(house.ask(push()).await.status, StatusCode::OK);
    assert_eq!(house.ask(push()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let batch = house.inbox.next().await.unwrap();
    assert!(!batch.withdrawal().is_withdrawn(), "what was answered is wanted");
}

#[tokio::test]
async fn without_room_in_the_byte_budget_it_pushes_back() {
    let (port, inbox) = Inbox::new(InboxLimits::default());
    let house = House::with(BOTH, vec![port], inbox, 1_000);
    let _held = house.budget.take(900).unwrap();
    for coding in CODINGS {
        let body = pack(coding, &gauges(500).encode_to_vec());
        let heard = house.ask(request("/v1/metrics", &[PROTOBUF, ("content-encoding", coding)], body)).await;
        assert_eq!((heard.status.as_u16(), heard.header("retry-after")), (503, "1"), "{coding}");
    }
    assert_eq!(house.budget.used(), 900);
}

#[tokio::test]
async fn a_signal_that_no_pipeline_carries_is_not_there() {
    let (port, inbox) = Inbox::new(InboxLimits::default());
    let house = House::with(BOTH, vec![port.for_signals(Signals::METRICS)], inbox, 1 << 30);
    let heard = house.ask(request("/v1/logs", &[JSON], LOG)).await;
    assert_eq!(heard.status, StatusCode::NOT_FOUND);
    assert!(heard.text().contains("no pipeline of this receiver carries logs"), "{}", heard.text());
}

#[tokio::test]
async fn pages_of_allowed_origins_may_send_and_others_may_not() {
    let cors = "http: {cors: {allowed_origins: ['https://*.example.com'], allowed_headers: [X-Tenant], max_age: 60}, gates: {token: c4n4ry}, ";
    let yaml = BOTH.replace("http: {", cors).replace("grpc: {", "grpc: {gates: {token: c4n4ry}, ");
    let house = House::open(&yaml);
    let ask = |origin: &str, method: Method| {
        let headers = [("origin", origin), ("access-control-request-method", "POST"), JSON];
        let mut request = request("/v1/metrics", &headers, "{}");
        *request.method_mut() = method;
        request
    };
    let heard = house.ask(ask("https://app.example.com", Method::OPTIONS)).await;
    assert_eq!(heard.status, StatusCode::NO_CONTENT);
    assert_eq!(heard.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(heard.header("access-control-allow-headers"), "Content-Type, Content-Encoding, X-Tenant");
    assert_eq!(heard.header("access-control-max-age"), "60");
    let heard = house.ask(ask("https://app.example.com", Method::POST)).await;
    assert_eq!((heard.status.as_u16(), heard.header("access-control-allow-origin")), (401, "https://app.example.com"));
    let heard = house.ask(ask("https://example.org", Method::OPTIONS)).await;
    assert_eq!((heard.status.as_u16(), heard.header("access-control-allow-origin")), (401, ""));
}

//! OTLP/gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use pdata::otlp::{RpcStatus, decode_status};
use tonic::Status;

use super::super::body::FRAME;
use super::*;

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

fn call(headers: &[(&str, &str)], body: Vec<u8>) -> Request<RequestBody> {
    request(METRICS, &[&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat(), body)
}

/// The details of a call's status.
fn details(heard: &Heard) -> RpcStatus {
    let status = Status::from_header_map(&heard.headers).unwrap();
    decode_status(status.details()).unwrap()
}

#[tokio::test]
async fn points_arrive_under_every_packing() {
    let mut house = House::open(BOTH);
    let plain = gauges(3).encode_to_vec();
    for coding in CODINGS {
        let flag = u8::from(coding != "identity");
        let call = call(&[("grpc-encoding", coding)], frame(flag, &pack(coding, &plain)));
        let (heard, items) = house.ends(call, Verdict::Delivered).await;
        assert_eq!((heard.code(), items, heard.body.as_ref()), (0, 3, &[0; 5][..]), "{coding}");
        assert!(heard.trailers.contains_key("grpc-status"), "a call that was taken ends with trailers");
    }
    // A sender that names a compression may leave a message plain.
    let (heard, _) = house.ends(call(&[("grpc-encoding", "gzip")], frame(0, &plain)), Verdict::Delivered).await;
    assert_eq!(heard.code(), 0);
    assert_eq!(house.budget.used(), 0);
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces_and_is_budgeted_in_all() {
    let mut house = House::open(BOTH);
    let plain = gauges(3).encode_to_vec();
    let framed = frame(0, &plain);
    for size in [1, FRAME, FRAME + 1, framed.len() - 1, framed.len()] {
        let asking = house.begin(in_pieces(call(&[], vec![]), &framed, size));
        let batch = house.inbox.next().await.unwrap();
        assert!(house.budget.used() > 0 && batch.items() == 3, "{size}");
        batch.settle(Verdict::Delivered);
        assert_eq!((asking.await.unwrap().code(), house.budget.used()), (0, 0), "{size}");
    }
    // Frames of HTTP/2 need not hold a byte, and the head may come alone.
    let pieces =
        [&framed[..FRAME], b"", &framed[FRAME..], b""].map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
    let call = call(&[], vec![]).map(|_| StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync());
    let (heard, items) = house.ends(call, Verdict::Delivered).await;
    assert_eq!((heard.code(), items), (0, 3));
}

#[tokio::test]
async fn points_that_break_their_rules_are_told_as_partial_success() {
    let mut house = House::open(BOTH);
    let mut plain = gauges(2);
    plain.resource_metrics[0].scope_metrics[0].metrics.push(Metric {
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); 5] })),
        ..Metric::default()
    });
    let (heard, items) = house.ends(call(&[], frame(0, &plain.encode_to_vec())), Verdict::Delivered).await;
    let told = ExportMetricsServiceResponse::decode(&heard.body[5..]).unwrap().partial_success.unwrap();
    assert_eq!((heard.code(), items), (0, 2));
    assert_eq!((told.rejected_data_points, &*told.error_message), (5, "a metric has no name"));
}

#[tokio::test]
async fn calls_that_cannot_be_taken_end_with_the_code_that_says_so() {
    let house = House::open(&BOTH.replace("grpc: {", "grpc: {max_recv_msg_size_mib: 1, "));
    let huge = vec![0; 2 << 20];
    let rows = [
        ("no message", call(&[], vec![]), 3),
        ("half a head", call(&[], vec![0, 0, 0]), 3),
        ("half a message", call(&[], frame(0, b"abc")[..6].to_vec()), 3),
        ("two messages", call(&[], [frame(0, b""), frame(0, b"")].concat()), 3),
        ("a strange flag", call(&[], frame(2, b"")), 3),
        ("no OTLP", call(&[], frame(0, &[8])), 3),
        ("no gzip", call(&[("grpc-encoding", "gzip")], frame(1, b"abc")), 3),
        ("an unknown compression", call(&[("grpc-encoding", "snappy")], frame(1, b"abc")), 12),
        ("too large", call(&[], frame(0, &huge)), 8),
        ("too large unpacked", call(&[("grpc-encoding", "gzip")], frame(1, &pack("gzip", &huge))), 8),
        ("a length that lies", call(&[], vec![0, 0xff, 0xff, 0xff, 0xff, 1]), 8),
    ];
    for (what, call, code) in rows {
        let heard = house.ask(call).await;
        assert_eq!(heard.code(), code, "{what}");
        assert!(heard.body.is_empty() && heard.trailers.is_empty(), "{what}: trailers only");
        if code == 8 {
            assert_eq!(details(&heard).retry_after, None, "{what}: without a delay it is for good");
        }
        if code == 12 {
            assert_eq!(heard.header("grpc-accept-encoding"), "gzip, zstd, deflate, identity");
        }
    }
    let mut unknown = call(&[], frame(0, b""));
    *unknown.uri_mut() =
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export".parse().unwrap();
    assert_eq!(house.ask(unknown).await.code(), 12);
}

#[tokio::test]
async fn the_verdict_is_the_code() {
    let mut house = House::open(BOTH);
    for (verdict, code) in
        [(Verdict::Delivered, 0), (Verdict::Discarded, 0), (Verdict::Rejected, 3), (Verdict::Lost, 14)]
    {
        let (heard, _) = house.ends(call(&[], frame(0, &gauges(1).encode_to_vec())), verdict).await;
        assert_eq!(heard.code(), code, "{verdict:?}");
        if code == 14 {
            assert_eq!(details(&heard).retry_after, Some(Duration::from_secs(1)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_answered_before_it_gives_up() {
    let mut house = House::open(BOTH);
    for (timeout, millis) in [("1S", 800), ("500m", 400), ("1H", 8_000), ("nonsense", 8_000)] {
        let began = tokio::time::Instant::now();
        let heard = house.ask(call(&[("grpc-timeout", timeout)], frame(0, &gauges(1).encode_to_vec()))).await;
        assert_eq!((heard.code(), began.elapsed().as_millis()), (14, millis), "{timeout}");
        assert!(house.inbox.next().await.unwrap().withdrawal().is_withdrawn());
    }
}

#[tokio::test]
async fn a_port_for_one_protocol_says_so_to_the_other() {
    let grpc = House::open("protocols: {grpc: {endpoint: 127.0.0.1:0}}");
    let over_http = request("/v1/metrics", &[("content-type", "application/json")], "{}");
    assert_eq!(grpc.ask(over_http).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let http = House::open("protocols: {http: {endpoint: 127.0.0.1:0}}");
    assert_eq!(http.ask(call(&[], frame(0, b""))).await.status, StatusCode::NOT_FOUND);
}

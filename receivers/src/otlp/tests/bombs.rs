//! Requests that are small on the wire and large behind it.

use super::*;

/// A limit that a test can fill.
const LIMIT_MIB: usize = 4;

fn house() -> House {
    let limits = format!("max_recv_msg_size_mib: {LIMIT_MIB}, ");
    let yaml = BOTH.replace("grpc: {", &format!("grpc: {{{limits}"));
    House::open(&yaml.replace("http: {", &format!("http: {{max_request_body_size: {LIMIT_MIB}MiB, ")))
}

/// `depth` levels of field `number`, around `inside`.
fn nested(numbers: &[u8], inside: Vec<u8>) -> Vec<u8> {
    numbers.iter().rev().fold(inside, |inside, number| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(inside.len() as u64, &mut out);
        out.extend_from_slice(&inside);
        out
    })
}

#[tokio::test]
async fn a_thousandfold_is_refused_under_every_packing_ten_at_once() {
    let house = house();
    let plain = vec![0; 8 << 20];
    for coding in ["gzip", "deflate", "zstd"] {
        let packed = pack(coding, &plain);
        assert!(packed.len() * 900 < plain.len());
        let twice = pack(coding, &packed);
        let asking: Vec<_> = (0..10)
            .map(|n| {
                let headers = [("content-type", "application/x-protobuf"), ("content-encoding", coding)];
                let path = ["/v1/metrics", "/v1/logs", "/v1/traces"][n % 3];
                house.begin(request(path, &headers, packed.clone()))
            })
            .collect();
        for answer in asking {
            assert_eq!(answer.await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE, "{coding}");
        }
        assert_eq!(house.budget.used(), 0);
        // What is packed twice unpacks once, to what is no OTLP.
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", coding)];
        assert_eq!(house.ask(request("/v1/metrics", &headers, twice)).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn what_unfolds_out_of_proportion_is_refused_before_it_has() {
    let house = house();
    let full = (LIMIT_MIB << 20) - 64;
    // Two bytes each on the wire, a hundred and more in memory.
    let empty = |number: u8| [number << 3 | 2, 0].repeat(full / 2);
    let histograms = [&[0x0a, 1, b'm'][..], &nested(&[9], [vec![0x10, 2], empty(1)].concat())].concat();
    let rows = [
        ("/v1/metrics", "empty histograms", nested(&[1, 2, 2], histograms)),
        ("/v1/logs", "empty records", nested(&[1, 2], empty(2))),
        ("/v1/logs", "empty values in one body", nested(&[1, 2, 2, 5, 5], empty(1))),
        ("/v1/logs", "empty pairs in one body", nested(&[1, 2, 2, 5, 6], empty(1))),
        (
            "/v1/metrics",
            "buckets without end",
            nested(
                &[1, 2, 2],
                [vec![0x0a, 1, b'm'], nested(&[10], [vec![0x10, 2], nested(&[1, 8, 2], vec![0; full])].concat())]
                    .concat(),
            ),
        ),
    ];
    for (path, what, body) in rows {
        let heard = house.ask(request(path, &[("content-type", "application/x-protobuf")], body)).await;
        assert_eq!(heard.status, StatusCode::PAYLOAD_TOO_LARGE, "{what}: {heard:?}", heard = heard.body);
    }
    assert_eq!((house.refused("too_large"), house.budget.used()), (5, 0));
}

#[tokio::test]
async fn what_is_nested_without_end_is_refused() {
    let house = house();
    let deep = nested(&[[1, 2, 2, 5].as_slice(), &[5, 1].repeat(5_000)].concat(), vec![]);
    let heard = house.ask(request("/v1/logs", &[("content-type", "application/x-protobuf")], deep)).await;
    assert_eq!(heard.status, StatusCode::BAD_REQUEST);
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(50_000)
    );
    let heard = house.ask(request("/v1/logs", &[("content-type", "application/json")], deep)).await;
    assert_eq!(heard.status, StatusCode::BAD_REQUEST);
    assert!(heard.text().contains("recursion limit"), "{}", heard.text());
    let wide = "[".repeat(1 << 20);
    let heard =
        house.ask(request("/v1/logs", &[("content-type", "application/json")], format!(r#"{{"unknown":{wide}"#))).await;
    assert_eq!(heard.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lengths_that_lie_are_refused_and_nothing_is_allocated_for_them() {
    let house = house();
    for length in [
        &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0xff; 10],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    ] {
        for path in ["/v1/metrics", "/v1/logs", "/v1/traces"] {
            let body = [&[0x0a][..], length, b"x"].concat();
            let heard = house.ask(request(path, &[("content-type", "application/x-protobuf")], body)).await;
            assert_eq!(heard.status, StatusCode::BAD_REQUEST);
        }
    }
}

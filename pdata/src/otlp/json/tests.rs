//! JSON as senders write it, held against the generated types and their serde form.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::super::tests::strategies::{logs, requests, traces};
use super::*;

fn metrics_to_json(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    super::metrics_to_json(request, usize::MAX)
}

fn logs_to_json(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    super::logs_to_json(request, usize::MAX)
}

fn traces_to_json(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    super::traces_to_json(request, usize::MAX)
}

/// The request with ones in place of infinities, which the judge writes as null: their bytes are exchanged on the wire.
fn finite<T: prost::Message + Default>(request: &T) -> T {
    let mut bytes = request.encode_to_vec();
    let infinity = f64::INFINITY.to_le_bytes();
    let places: Vec<_> = (0..bytes.len().saturating_sub(7)).filter(|at| bytes[*at..].starts_with(&infinity)).collect();
    places.into_iter().for_each(|at| bytes[at..at + 8].copy_from_slice(&1_f64.to_le_bytes()));
    T::decode(&*bytes).expect("as long as it was")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_serde_writes_is_what_prost_would_have_written(metrics in requests(), logs in logs(), traces in traces()) {
        let metrics = finite(&metrics);
        let text = serde_json::to_vec(&metrics).unwrap();
        prop_assert_eq!(ExportMetricsServiceRequest::decode(&*metrics_from_json(&text).unwrap()), Ok(metrics));
        let logs = finite(&logs);
        let text = serde_json::to_vec(&logs).unwrap();
        prop_assert_eq!(ExportLogsServiceRequest::decode(&*logs_from_json(&text).unwrap()), Ok(logs));
        let traces = finite(&traces);
        let text = serde_json::to_vec(&traces).unwrap();
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*traces_from_json(&text).unwrap()), Ok(traces));
    }

    #[test]
    fn what_is_written_reads_as_it_was(metrics in requests(), logs in logs(), traces in traces()) {
        let text = metrics_to_json(&metrics.encode_to_vec()).unwrap();
        prop_assert_eq!(ExportMetricsServiceRequest::decode(&*metrics_from_json(&text).unwrap()), Ok(metrics));
        let text = logs_to_json(&logs.encode_to_vec()).unwrap();
        prop_assert_eq!(ExportLogsServiceRequest::decode(&*logs_from_json(&text).unwrap()), Ok(logs));
        let text = traces_to_json(&traces.encode_to_vec()).unwrap();
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*traces_from_json(&text).unwrap()), Ok(traces));
    }

    #[test]
    fn no_bytes_make_the_writer_panic_and_what_it_writes_can_be_read(
        logs in logs(), noise in proptest::collection::vec(any::<u8>(), 0..8), at: prop::sample::Index
    ) {
        let mut bytes = logs.encode_to_vec();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        if let Ok(text) = logs_to_json(&bytes) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_none_grows_without_bound(text in "[\\[\\]{}:,\"a-z0-9.\\-]{0,64}", at: prop::sample::Index) {
        let whole = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#;
        let mut broken = whole.to_owned();
        broken.insert_str(at.index(whole.len()), &text);
        for text in [text, broken] {
            if let Ok(out) = metrics_from_json(text.as_bytes()) {
                prop_assert!(out.len() <= 4 * text.len(), "{} of {}", out.len(), text.len());
            }
        }
    }
}

/// One gauge point with these fields, as prost reads what became of it.
fn point(fields: &str) -> Result<opentelemetry_proto::tonic::metrics::v1::NumberDataPoint, String> {
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
    );
    let bytes = metrics_from_json(text.as_bytes()).map_err(|error| error.to_string())?;
    let request = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
    let metric = request.resource_metrics[0].scope_metrics[0].metrics[0].clone();
    let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Gauge(gauge)) = metric.data else { panic!() };
    Ok(gauge.data_points[0].clone())
}

#[test]
fn a_request_is_written_as_the_specification_has_it() {
    let text = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a \"b\"","value":{"intValue":"-5"}}]},"scopeLogs":[{"scope":{"droppedAttributesCount":3},"logRecords":[{"timeUnixNano":"1544712660300000000","severityNumber":9,"body":{"arrayValue":{"values":[{"bytesValue":"+/8="},{"doubleValue":0.1},{"doubleValue":"NaN"},{"boolValue":true}]}},"flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}]}"#;
    let written = logs_to_json(&logs_from_json(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
    assert_eq!(logs_to_json(b"").unwrap(), br#"{"resourceLogs":[]}"#);
    // Somebody else's reader makes the same of it.
    let text = text.replace(r#"{"doubleValue":"NaN"},"#, "").replace(r#""flags":1"#, r#""flags":1,"eventName":"e""#);
    let judged: ExportLogsServiceRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(judged, ExportLogsServiceRequest::decode(&*logs_from_json(text.as_bytes()).unwrap()).unwrap());
}

#[test]
fn elements_that_stand_apart_come_together_and_what_is_no_request_is_told() {
    // schema_url between two scopes.
    let apart = [0x0a, 11, 0x12, 2, 0x1a, 0, 0x1a, 1, b'u', 0x12, 2, 0x1a, 0];
    let text = metrics_to_json(&apart).unwrap();
    assert_eq!(text, br#"{"resourceMetrics":[{"scopeMetrics":[{"schemaUrl":""},{"schemaUrl":""}],"schemaUrl":"u"}]}"#);
    assert_eq!(metrics_to_json(&[0x0a, 4, 0x0a, 0, 0x0a, 0]), Err(Malformed::Split));
    assert_eq!(metrics_to_json(&[0x0a, 9, 0x0a]), Err(Malformed::Truncated));
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value::Value};
    let list = |values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) };
    let record = |deep| {
        let body = Some((0..deep).fold(list(vec![]), |inner, _| list(vec![inner])));
        let record = opentelemetry_proto::tonic::logs::v1::LogRecord { body, ..Default::default() };
        let scope = opentelemetry_proto::tonic::logs::v1::ScopeLogs { log_records: vec![record], ..Default::default() };
        let resource =
            opentelemetry_proto::tonic::logs::v1::ResourceLogs { scope_logs: vec![scope], ..Default::default() };
        ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
    };
    assert!(logs_to_json(&record(32)).is_ok(), "as deep as values may be");
    assert_eq!(logs_to_json(&record(200)), Err(Malformed::Depth));
}

#[test]
fn a_text_ends_at_its_bound_however_little_stands_on_the_wire() {
    // Each of these points takes two bytes on the wire, and each zero one.
    let empty = [&[0x0a, 6, 0x12, 4, 0x12, 2, 0x2a, 0][..], &[]].concat();
    assert!(super::metrics_to_json(&empty, 1000).is_ok());
    let packed = |count: u8| {
        let buckets = [&[0x12, count][..], &vec![0; usize::from(count)]].concat();
        let wrap = |tag: u8, inner: Vec<u8>| [&[tag, inner.len() as u8][..], &inner].concat();
        wrap(0x0a, wrap(0x12, wrap(0x12, wrap(0x52, wrap(0x0a, wrap(0x42, buckets))))))
    };
    let whole = super::metrics_to_json(&packed(100), usize::MAX).unwrap();
    assert!(whole.len() > 400, "{}", whole.len());
    assert_eq!(super::metrics_to_json(&packed(100), 200), Err(Malformed::TooMuch));
    assert_eq!(super::metrics_to_json(&packed(100), whole.len()), Ok(whole));
    let points = [&[0x0a, 206, 1, 0x12, 203, 1, 0x12, 200, 1][..], &[0x2a, 0].repeat(100)].concat();
    assert_eq!(super::metrics_to_json(&points[..], 500).err(), Some(Malformed::Split), "what is split is told first");
    let scopes = [0x12, 0].repeat(60);
    let scopes = [&[0x0a, 120][..], &scopes].concat();
    let whole = super::metrics_to_json(&scopes, usize::MAX).unwrap();
    assert_eq!(super::metrics_to_json(&scopes, 100), Err(Malformed::TooMuch));
    assert_eq!(super::metrics_to_json(&scopes, whole.len()), Ok(whole));
}

#[test]
fn answers_read_as_the_judge_reads_them() {
    use super::super::{PartialSuccess, RpcStatus, decode_response, decode_status};
    let read = |text: &str| decode_response(&response_from_json(text.as_bytes()).unwrap()).unwrap();
    let partial = |rejected, message: &str| PartialSuccess { rejected, message: message.to_owned() };
    for name in ["rejectedDataPoints", "rejectedLogRecords", "rejectedSpans"] {
        let text = format!(r#"{{"partialSuccess":{{"{name}":"7","errorMessage":"too old","later":[1]}},"more":null}}"#);
        assert_eq!(read(&text), partial(7, "too old"));
        assert_eq!(read(&text.replace("\"7\"", "-7")), partial(0, "too old"), "a negative number was never rejected");
    }
    for nothing in ["{}", r#"{"partialSuccess":null}"#, r#"{"partialSuccess":{}}"#] {
        assert_eq!(read(nothing), partial(0, ""));
    }
    for broken in ["", "[]", "<html>", r#"{"partialSuccess":{"rejectedSpans":"x"}}"#, r#"{"partialSuccess":3}"#, "{}{}"]
    {
        response_from_json(broken.as_bytes()).expect_err(broken);
    }
    let text = r#"{"code":8,"message":"slow down","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3s"}]}"#;
    let status = decode_status(&status_from_json(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(status, RpcStatus { code: 8, message: "slow down".into(), retry_after: None });
    let deep = format!(r#"{{"details":{}}}"#, "[".repeat(1 << 16));
    status_from_json(deep.as_bytes()).expect_err("nested without end");
}

#[test]
fn integers_come_as_numbers_or_as_texts() {
    for text in [r#""timeUnixNano":"1544712660300000000""#, r#""timeUnixNano":1544712660300000000"#] {
        assert_eq!(point(text).unwrap().time_unix_nano, 1_544_712_660_300_000_000);
    }
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    for (text, value) in [("-3", -3), (r#""-3""#, -3), ("3.0", 3), ("3e2", 300), (r#""9223372036854775807""#, i64::MAX)]
    {
        assert_eq!(point(&format!(r#""asInt":{text}"#)).unwrap().value, Some(Value::AsInt(value)), "{text}");
    }
    for text in ["1.5", r#""x""#, r#""9223372036854775808""#, "true", "{}", "[1]"] {
        point(&format!(r#""asInt":{text}"#)).expect_err(text);
    }
}

#[test]
fn doubles_may_be_texts_and_integers() {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    for (text, value) in [("1", 1.0), ("1.5", 1.5), (r#""-Infinity""#, f64::NEG_INFINITY), (r#""2.5e3""#, 2500.0)] {
        assert_eq!(point(&format!(r#""asDouble":{text}"#)).unwrap().value, Some(Value::AsDouble(value)), "{text}");
    }
    let Some(Value::AsDouble(nan)) = point(r#""asDouble":"NaN""#).unwrap().value else { panic!() };
    assert!(nan.is_nan());
    point(r#""asDouble":"inf""#).unwrap_err();
}

#[test]
fn null_is_unset_and_unknown_fields_are_ignored() {
    let got = point(r#""asInt":7,"timeUnixNano":null,"exemplars":null,"future":{"deep":[1,{"x":null}]},"flags":1"#);
    let got = got.unwrap();
    assert_eq!((got.time_unix_nano, got.exemplars.len(), got.flags), (0, 0, 1));
}

#[test]
fn ids_are_hex_bytes_are_base64_and_enums_may_be_named() {
    let text = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
        "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","severityNumber":"SEVERITY_NUMBER_WARN",
        "body":{"arrayValue":{"values":[{"bytesValue":"-_8"},{"bytesValue":"+/8="},null,{"intValue":5}]}}}]}]}]}"#;
    let request = ExportLogsServiceRequest::decode(&*logs_from_json(text).unwrap()).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!((record.trace_id[0], record.span_id[7], record.severity_number), (0x5b, 0x74, 13));
    let body = format!("{:?}", record.body);
    assert_eq!(body.matches("BytesValue([251, 255])").count(), 2, "{body}");
    assert!(body.contains("value: None") && body.contains("IntValue(5)"), "{body}");
}

#[test]
fn an_error_says_which_field_and_where() {
    let told = |text: &str| logs_from_json(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(told(""), "EOF while parsing a value at line 1 column 0");
    assert_eq!(told("[]"), "invalid type: sequence, expected an object at line 1 column 0");
    let told =
        |record: &str| told(&format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[\n{record}]}}]}}]}}"));
    assert_eq!(
        told(r#"{"spanId":"xyz"}"#),
        "invalid value: string \"xyz\", expected hex digits, two for each byte of an id in `spanId` at line 2 column 15"
    );
    assert_eq!(
        told(r#"{"attributes":{}}"#),
        "invalid type: map, expected an array in `attributes` at line 2 column 14"
    );
    assert_eq!(told(r#"{"body":"x"}"#), "invalid type: string \"x\", expected an object at line 2 column 11");
    assert!(told(&format!("{{\"body\":{}", r#"{"arrayValue":{"values":["#.repeat(100))).contains("recursion limit"));
}

//! The codec against prost and the generated types of `opentelemetry-proto`: a judge that shares no code with it.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::SeriesTable;

pub(super) mod strategies;

use strategies::{logs, requests, sorted, traces};

fn decode(body: &[u8]) -> Decoded<crate::Metrics> {
    MetricsDecoder::new(SeriesTable::with_defaults()).decode(body).expect("prost wrote it")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_comes_in_leaves_the_same(request in requests()) {
        let decoded = decode(&request.encode_to_vec());
        prop_assert_eq!(decoded.rejected, 0);
        let mut bytes = Vec::new();
        MetricsEncoder::default().encode(&decoded.data, &mut bytes);
        let again = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("prost can read it");
        prop_assert_eq!(sorted(again), sorted(request));
    }

    #[test]
    fn records_that_come_in_leave_the_same(request in logs()) {
        let decoded = decode_logs(&request.encode_to_vec()).expect("prost wrote it");
        let mut bytes = Vec::new();
        encode_logs(&decoded.data, &mut bytes);
        let again = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("prost can read it");
        prop_assert_eq!(strategies::flat_logs(again), strategies::flat_logs(request));
    }

    #[test]
    fn spans_pass_untouched(request in traces()) {
        let body = bytes::Bytes::from(request.encode_to_vec());
        let decoded = decode_traces(body.clone()).expect("prost wrote it");
        let mut bytes = Vec::new();
        encode_traces(&decoded, &mut bytes);
        prop_assert_eq!(&bytes, &body);
        let spans = || request.resource_spans.iter().flat_map(|rs| &rs.scope_spans).flat_map(|ss| &ss.spans);
        prop_assert_eq!(decoded.spans(), spans().count());
        let (mut shown, mut spans) = (Vec::new(), spans());
        decoded.each_span(|view| shown.push(spans.next().is_some_and(|span| {
            view.name == span.name && view.trace_id == span.trace_id && view.span_id == span.span_id
                && (view.start, view.end) == (span.start_time_unix_nano, span.end_time_unix_nano)
        })));
        prop_assert!(shown.into_iter().all(|same| same));
    }

    #[test]
    fn a_remembered_series_is_the_series_that_was_decoded(request in requests()) {
        let body = request.encode_to_vec();
        let decoder = MetricsDecoder::new(SeriesTable::with_defaults());
        let names = |metrics: &crate::Metrics| -> Vec<String> {
            metrics.points.iter().map(|point| format!("{:?}", metrics.series(point.series))).collect()
        };
        let rounds: Vec<_> = (0..3).map(|_| decoder.decode(&body).unwrap().data).collect();
        prop_assert_eq!(names(&rounds[0]), names(&rounds[1]));
        prop_assert_eq!(names(&rounds[0]), names(&rounds[2]));
        prop_assert!(rounds[2].points.iter().all(|point| !point.series.is_inline()));
    }

    #[test]
    fn a_broken_request_is_an_error_or_a_request_and_never_a_panic(
        request in requests(),
        cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = request.encode_to_vec();
        if body.is_empty() {
            return Ok(());
        }
        for (place, byte) in flips {
            let place = place.index(body.len());
            body[place] ^= byte;
        }
        body.truncate(cut.index(body.len() + 1));
        MetricsDecoder::new(SeriesTable::with_defaults()).decode(&body).ok();
        decode_logs(&body).ok();
        decode_traces(body.into()).ok();
    }
}

#[test]
fn the_first_request_interns_nothing_and_the_second_all() {
    use crate::{Attributes, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, UnixNanos};
    let table = SeriesTable::with_defaults();
    let mut metrics = Metrics::new(table.pin());
    for tenant in ["a", "b"] {
        let identity = Identity {
            origin: Origin::default().into(),
            metric: Metric::new("m", Kind::COUNTER).into(),
            attributes: Attributes::from_pairs([("tenant", tenant)]),
        };
        let series = metrics.adopt(&table.intern(identity));
        let value = PointValue::Int(1);
        metrics.points.push(Point {
            series,
            start: UnixNanos(1),
            time: UnixNanos(2),
            value,
            flags: PointFlags::empty(),
        });
    }
    let mut body = Vec::new();
    MetricsEncoder::default().encode(&metrics, &mut body);

    let (table, mut seen) = (SeriesTable::with_defaults(), Vec::new());
    let decoder = MetricsDecoder::new(table.clone());
    for _ in 0..3 {
        decoder.decode(&body).unwrap();
        seen.push((table.stats().series, decoder.remembered()));
    }
    assert_eq!(seen, [(0, 0), (2, 2), (2, 2)]);
    decoder.turn();
    decoder.turn();
    assert_eq!(decoder.remembered(), 0, "what no request names is forgotten");
}

#[test]
fn points_that_break_their_own_rules_are_rejected_and_the_others_taken() {
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, Sum, metric, number_data_point};
    let good = NumberDataPoint { value: Some(number_data_point::Value::AsInt(1)), ..NumberDataPoint::default() };
    let metric = |name: &str, data| Metric { name: name.into(), data: Some(data), ..Metric::default() };
    let valueless = NumberDataPoint::default();
    let metrics = vec![
        metric("good", metric::Data::Gauge(Gauge { data_points: vec![good.clone(), valueless] })),
        metric("", metric::Data::Gauge(Gauge { data_points: vec![good.clone()] })),
        metric("timeless", metric::Data::Sum(Sum { data_points: vec![good.clone(), good], ..Sum::default() })),
    ];
    let decoded = decode(&strategies::request_of(metrics).encode_to_vec());
    assert_eq!((decoded.data.points.len(), decoded.rejected), (1, 4));
    assert_eq!(decoded.why, Some("a point has no value"));
}

/// A sum whose one point ends with an attribute that holds the text; what stands before and behind the point is given.
fn sum_of(before: &[u8], text: &str, behind: &[u8]) -> Vec<u8> {
    use wire::Write as _;
    let mut data = before.to_vec();
    data.message_field(1, |point| {
        point.fixed64_field(6, 1);
        point.message_field(7, |pair| {
            pair.bytes_field(1, b"k");
            pair.message_field(2, |value| value.bytes_field(1, text.as_bytes()));
        });
    });
    data.extend_from_slice(behind);
    let mut body = Vec::new();
    body.message_field(1, |resource| {
        resource.message_field(2, |scope| {
            scope.message_field(2, |metric| {
                metric.bytes_field(1, b"m");
                metric.bytes_field(7, &data);
            });
        });
    });
    body
}

#[test]
fn the_kind_is_what_the_fields_say_and_not_what_the_last_bytes_look_like() {
    use crate::{Kind, Temporality};
    let (delta, cumulative, monotonic) = ([0x10, 1], [0x10, 2], [0x18, 1]);
    let kind_of = |body: &[u8]| {
        let decoded = decode(body);
        let kinds = decoded.data.points.iter().map(|point| decoded.data.series(point.series).identity().metric.kind);
        (kinds.collect::<Vec<_>>(), decoded.rejected)
    };
    let sum = |temporality, monotonic| (vec![Kind::Sum { monotonic, temporality }], 0);
    let like_cumulative = "\u{10}\u{2}\u{18}\u{1}";
    // As encoders write it, and the same fields before the points, between, and in another order.
    assert_eq!(kind_of(&sum_of(&[], "v", &[cumulative, monotonic].concat())), sum(Temporality::Cumulative, true));
    assert_eq!(kind_of(&sum_of(&[], "v", &delta)), sum(Temporality::Delta, false));
    assert_eq!(kind_of(&sum_of(&delta, like_cumulative, &[])), sum(Temporality::Delta, false));
    assert_eq!(kind_of(&sum_of(&monotonic, like_cumulative, &delta)), sum(Temporality::Delta, true));
    assert_eq!(kind_of(&sum_of(&monotonic, "v", &[cumulative, delta].concat())), sum(Temporality::Delta, true));
    // The last bytes promise what nothing says: the points are rejected once, and nothing of them is left.
    assert_eq!(kind_of(&sum_of(&[], like_cumulative, &[])), (vec![], 1));
}

#[test]
fn what_has_too_many_new_series_is_left_to_who_has_time() {
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, metric, number_data_point};
    let metric = |name: usize| Metric {
        name: name.to_string(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                value: Some(number_data_point::Value::AsInt(1)),
                ..NumberDataPoint::default()
            }],
        })),
        ..Metric::default()
    };
    let body = strategies::request_of((0..3).map(metric).collect()).encode_to_vec();
    let decoder = MetricsDecoder::new(SeriesTable::with_defaults());
    let known =
        |most| decoder.decode_known(&body, most).expect("prost wrote it").map(|decoded| decoded.data.points.len());
    assert_eq!((known(2), known(3)), (None, Some(3)));
    decoder.decode(&body).expect("prost wrote it");
    assert_eq!(known(0), Some(3), "at second sight they were remembered");
}

#[test]
fn values_nested_without_end_are_refused() {
    let mut value = Vec::new();
    for _ in 0..200 {
        let mut outer = Vec::new();
        wire::Write::bytes_field(&mut outer, 1, &value);
        value.clear();
        wire::Write::bytes_field(&mut value, 5, &outer);
    }
    assert_eq!(attributes::value(&value), Err(Malformed::Depth));
}

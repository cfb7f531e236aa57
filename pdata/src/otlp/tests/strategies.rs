//! Requests as senders may make them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Doubles that equal themselves.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![Just(f64::INFINITY), any::<i32>().prop_map(|int| f64::from(int) / 16.0)]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        ".{0,8}".prop_map(any_value::Value::StringValue),
        any::<bool>().prop_map(any_value::Value::BoolValue),
        any::<i64>().prop_map(any_value::Value::IntValue),
        double().prop_map(any_value::Value::DoubleValue),
        vec(any::<u8>(), 0..8).prop_map(any_value::Value::BytesValue),
    ]
    .prop_map(|value| AnyValue { value: Some(value) });
    leaf.prop_recursive(2, 8, 4, |inner| {
        vec(inner, 0..4)
            .prop_map(|values| AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values })) })
    })
}

/// Attributes in byte order with unique keys: the order they leave in.
fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    btree_map("[a-z.]{1,6}", value(), 0..5).prop_map(|map| {
        map.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() }).collect()
    })
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let exemplar = (attributes(), any::<u64>(), double(), any::<[u8; 16]>(), any::<[u8; 8]>());
    let exemplar = exemplar.prop_map(|(filtered_attributes, time_unix_nano, value, trace_id, span_id)| Exemplar {
        filtered_attributes,
        time_unix_nano,
        value: Some(exemplar::Value::AsDouble(value)),
        trace_id: if trace_id == [0; 16] { vec![] } else { trace_id.to_vec() },
        span_id: if span_id == [0; 8] { vec![] } else { span_id.to_vec() },
    });
    vec(exemplar, 0..2)
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        any::<i64>().prop_map(number_data_point::Value::AsInt),
        double().prop_map(number_data_point::Value::AsDouble),
    ];
    (attributes(), any::<u64>(), any::<u64>(), value, exemplars(), any::<bool>()).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, value, exemplars, end)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            flags: u32::from(end),
            value: (!end).then_some(value),
        },
    )
}

fn histogram() -> impl Strategy<Value = HistogramDataPoint> {
    let buckets = btree_map(-100_i32..100, any::<u64>(), 0..5);
    (attributes(), any::<u64>(), any::<u64>(), buckets, proptest::option::of(double()), exemplars()).prop_map(
        |(attributes, time_unix_nano, count, buckets, sum, exemplars)| HistogramDataPoint {
            attributes,
            time_unix_nano,
            count,
            sum,
            min: sum,
            explicit_bounds: buckets.keys().map(|bound| f64::from(*bound)).collect(),
            bucket_counts: if buckets.is_empty() { vec![] } else { buckets.values().copied().chain([7]).collect() },
            exemplars,
            ..HistogramDataPoint::default()
        },
    )
}

fn exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        (any::<i32>(), vec(any::<u64>(), 1..5)).prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts })
    };
    (attributes(), any::<u64>(), -10_i32..20, proptest::option::of(buckets()), proptest::option::of(buckets()))
        .prop_map(|(attributes, count, scale, positive, negative)| ExponentialHistogramDataPoint {
            attributes,
            count,
            scale,
            zero_count: count / 2,
            positive,
            negative,
            zero_threshold: 0.5,
            max: Some(2.0),
            ..ExponentialHistogramDataPoint::default()
        })
}

fn summary() -> impl Strategy<Value = SummaryDataPoint> {
    (attributes(), any::<u64>(), double(), vec((0.0..=1.0, double()), 0..3)).prop_map(
        |(attributes, count, sum, quantiles)| SummaryDataPoint {
            attributes,
            count,
            sum,
            quantile_values: quantiles
                .into_iter()
                .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                .collect(),
            ..SummaryDataPoint::default()
        },
    )
}

fn data() -> impl Strategy<Value = metric::Data> {
    let temporality = || 1..=2_i32;
    prop_oneof![
        vec(number(), 1..4).prop_map(|data_points| metric::Data::Gauge(Gauge { data_points })),
        (vec(number(), 1..4), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| {
                metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
            }
        ),
        (vec(histogram(), 1..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(exponential(), 1..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(summary(), 1..4).prop_map(|data_points| metric::Data::Summary(Summary { data_points })),
    ]
}

/// Requests with one or two resources whose metrics have names of their own, so that nesting is unique.
pub(crate) fn requests() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric = ("[a-z]{1,4}", ".{0,8}", "[a-zA-Z/]{0,4}", data());
    let metric = metric.prop_map(|(name, description, unit, data)| Metric {
        name,
        description,
        unit,
        data: Some(data),
        metadata: vec![],
    });
    let scope = ("[a-z]{0,4}", "[0-9.]{0,4}", attributes());
    let scope = scope.prop_map(|(name, version, attributes)| InstrumentationScope {
        name,
        version,
        attributes,
        ..InstrumentationScope::default()
    });
    let resource = (attributes(), scope, vec(metric, 1..4), "[a-z:/]{0,6}");
    vec(resource, 0..3).prop_map(|resources| {
        let resources = resources.into_iter().enumerate().map(|(index, (attributes, scope, mut metrics, url))| {
            metrics
                .iter_mut()
                .enumerate()
                .for_each(|(place, metric)| metric.name.push_str(&format!("_{index}_{place}")));
            let scope_metrics =
                vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: format!("scope{index}{url}") }];
            ResourceMetrics {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_metrics,
                schema_url: url,
            }
        });
        ExportMetricsServiceRequest { resource_metrics: resources.collect() }
    })
}

pub(crate) fn request_of(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Resources by schema URL of their scope (unique), metrics by name (unique): the order on the wire means nothing.
pub(crate) fn sorted(mut request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for resource in &mut request.resource_metrics {
        resource.scope_metrics.iter_mut().for_each(|scope| scope.metrics.sort_by(|a, b| a.name.cmp(&b.name)));
    }
    request.resource_metrics.sort_by(|a, b| a.scope_metrics[0].schema_url.cmp(&b.scope_metrics[0].schema_url));
    request
}

pub(crate) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (attributes(), any::<u64>(), 0..=24_i32, ".{0,6}", proptest::option::of(value()), any::<[u8; 16]>());
    let record = record.prop_map(|(attributes, time_unix_nano, severity_number, text, body, trace_id)| LogRecord {
        attributes,
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano / 2,
        severity_number,
        severity_text: text.clone(),
        event_name: text,
        body,
        trace_id: if trace_id == [0; 16] { vec![] } else { trace_id.to_vec() },
        flags: 1,
        ..LogRecord::default()
    });
    let resource = (attributes(), vec(record, 1..4)).prop_map(|(attributes, log_records)| ResourceLogs {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope::default()),
            log_records,
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    });
    vec(resource, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// Records with their resource, in order: equal neighbours may share an envelope.
pub(crate) fn flat_logs(request: ExportLogsServiceRequest) -> Vec<(Option<Resource>, LogRecord)> {
    let each = request.resource_logs.into_iter().flat_map(|resource| {
        let above = resource.resource;
        resource.scope_logs.into_iter().flat_map(|scope| scope.log_records).map(move |record| (above.clone(), record))
    });
    each.collect()
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), ".{0,8}", attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| span::Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (any::<[u8; 16]>(), any::<[u8; 8]>(), ".{0,4}", attributes()).prop_map(
        |(trace_id, span_id, trace_state, attributes)| span::Link {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            trace_state,
            attributes,
            ..span::Link::default()
        },
    );
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u64>(), any::<u64>());
    let status = (".{0,4}", 0..3).prop_map(|(message, code)| Status { message, code });
    (ids, ".{0,8}", 0..6, attributes(), vec(event, 0..3), vec(link, 0..2), proptest::option::of(status), any::<u32>())
        .prop_map(|((trace_id, span_id, start, end), name, kind, attributes, events, links, status, flags)| Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events,
            links,
            status,
            flags,
            ..Span::default()
        })
}

/// Requests with spans as senders may make them.
pub(crate) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = vec(span(), 0..4).prop_map(|spans| ScopeSpans { spans, ..ScopeSpans::default() });
    let resource = (vec(scope, 0..3), attributes()).prop_map(|(scope_spans, attributes)| ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans,
        schema_url: "https://example.com/schema".to_owned(),
    });
    vec(resource, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

//! Telemetry with something of everything, made of the generated types of `opentelemetry-proto`, which also judge what arrives.

use std::io::Read as _;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point::Value,
    summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pdata::SeriesTable;
use pdata::otlp::{MetricsDecoder, decode_logs, decode_traces};
use pipeline::Batch;
use prost::Message as _;

use super::NOW;

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn number(tenant: &str, value: Option<Value>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![text("tenant", tenant)],
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        flags: u32::from(value.is_none()),
        value,
        exemplars: vec![],
    }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![text("service.name", "shop \"é\"")], ..Resource::default() })
}

/// Every shape of a metric, in the order in which points leave: by metric.
pub(super) fn metrics() -> ExportMetricsServiceRequest {
    let exemplar = Exemplar {
        filtered_attributes: vec![text("user", "7")],
        time_unix_nano: 3,
        value: Some(exemplar::Value::AsInt(9)),
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
    };
    let with_exemplar = NumberDataPoint { exemplars: vec![exemplar], ..number("a", Some(Value::AsInt(i64::MAX))) };
    let histogram = HistogramDataPoint {
        time_unix_nano: 2,
        count: 6,
        sum: Some(1.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 1.0],
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano: 2,
        count: 4,
        scale: 3,
        zero_count: 1,
        positive: Some(Buckets { offset: -2, bucket_counts: vec![1, 2] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: 2,
        count: 3,
        sum: 1.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 0.25 }],
        ..SummaryDataPoint::default()
    };
    let cumulative = 2;
    let datas = [
        Data::Sum(Sum {
            data_points: vec![with_exemplar, number("b", Some(Value::AsDouble(0.1))), number("c", None)],
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Data::Gauge(Gauge { data_points: vec![number("a", Some(Value::AsDouble(f64::NEG_INFINITY)))] }),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: cumulative,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metric = |(index, data)| Metric {
        name: format!("metric_{index}_total"),
        description: "what it is".into(),
        unit: "s".into(),
        data: Some(data),
        metadata: vec![],
    };
    let metrics = datas.into_iter().enumerate().map(metric).collect();
    let scope =
        Some(InstrumentationScope { name: "scope".into(), version: "1".into(), ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics, schema_url: "https://schema".into() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: resource(), scope_metrics, schema_url: String::new() }],
    }
}

pub(super) fn logs() -> ExportLogsServiceRequest {
    let record = |body: &str| LogRecord {
        time_unix_nano: 5,
        observed_time_unix_nano: 6,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(body.into())) }),
        attributes: vec![attribute("n", any_value::Value::IntValue(3)), text("tenant", "a")],
        trace_id: vec![3; 16],
        span_id: vec![4; 8],
        flags: 1,
        event_name: "job.finished".into(),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        scope: Some(InstrumentationScope::default()),
        log_records: vec![record("one"), record("two\n")],
        schema_url: String::new(),
    }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(), scope_logs, schema_url: String::new() }],
    }
}

/// Seven points.
pub(super) fn metrics_batch() -> Batch {
    let body = metrics().encode_to_vec();
    Batch::new(MetricsDecoder::new(SeriesTable::with_defaults()).decode(&body).unwrap().data, NOW)
}

/// Two records.
pub(super) fn logs_batch() -> Batch {
    Batch::new(decode_logs(&logs().encode_to_vec()).unwrap().data, NOW)
}

/// One span, beside a field that no version of OTLP knows.
pub(super) fn traces_batch() -> Batch {
    let body: &[u8] = b"\x0a\x19\x12\x17\x12\x11\x12\x08\x01\x02\x03\x04\x05\x06\x07\xff\x2a\x05check\xfa\x3f\x01x";
    Batch::new(decode_traces(body.into()).unwrap(), NOW)
}

type Unpack = fn(&[u8]) -> Vec<u8>;

/// Settings of compression, the encoding that a body then has, and how it is read.
pub(super) const COMPRESSIONS: [(&str, Option<&str>, Unpack); 4] = [
    ("", Some("gzip"), gunzip),
    ("compression: gzip\ncompression_params: {level: 9}", Some("gzip"), gunzip),
    ("compression: zstd", Some("zstd"), unzstd),
    ("compression: none", None, <[u8]>::to_vec),
];

pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).expect("a whole gzip member");
    plain
}

pub(super) fn unzstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(bytes).expect("a whole zstd frame")
}

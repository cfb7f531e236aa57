//! What must hold for any bytes that come as OTLP. Shared by the fuzz targets and by the test that replays the stored inputs.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use pdata::SeriesTable;
use pdata::otlp::{
    Malformed, MetricsDecoder, MetricsEncoder, decode_logs, decode_traces, encode_logs, logs_from_json,
    metrics_from_json, traces_from_json,
};
use prost::Message;

/// Metrics: what prost reads we read, each point is taken or rejected, and what we write prost reads, with the points that we took.
pub fn metrics(bytes: &[u8]) {
    let decoder = MetricsDecoder::new(SeriesTable::with_defaults());
    let ours = decoder.decode(bytes);
    let judged = ExportMetricsServiceRequest::decode(bytes);
    if let (Ok(judged), Err(ours)) = (&judged, &ours) {
        assert!(deliberate(*ours), "prost reads {judged:?}, and we say {ours}");
    }
    let Ok(ours) = ours else { return };
    if let Ok(judged) = judged {
        let told = points(&judged);
        assert_eq!(told, ours.data.points.len() + ours.rejected as usize, "of {judged:?}");
    }
    let mut written = Vec::new();
    MetricsEncoder::default().encode(&ours.data, &mut written);
    let again = ExportMetricsServiceRequest::decode(&*written).expect("what we write is valid");
    assert_eq!(points(&again), ours.data.points.len());
    // A second look finds the same series by their bytes.
    let second = decoder.decode(bytes).expect("it was read before");
    assert_eq!(second.data.points.len(), ours.data.points.len());
}

/// Log records: the same.
pub fn logs(bytes: &[u8]) {
    let ours = decode_logs(bytes);
    let judged = ExportLogsServiceRequest::decode(bytes);
    if let (Ok(judged), Err(ours)) = (&judged, &ours) {
        assert!(deliberate(*ours), "prost reads {judged:?}, and we say {ours}");
    }
    let Ok(ours) = ours else { return };
    if let Ok(judged) = judged {
        let told: usize = judged.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
        assert_eq!(told, ours.data.records.len());
    }
    let mut written = Vec::new();
    encode_logs(&ours.data, &mut written);
    ExportLogsServiceRequest::decode(&*written).expect("what we write is valid");
    assert_eq!(decode_logs(&written).expect("we read it too").data.records.len(), ours.data.records.len());
}

/// Spans: counted as prost counts them, and kept to the byte.
pub fn traces(bytes: &[u8]) {
    let ours = decode_traces(bytes.to_vec().into());
    let Ok(judged) = ExportTraceServiceRequest::decode(bytes) else { return };
    let told: usize = judged.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
    let ours = match ours {
        Ok(ours) => ours,
        Err(error) => return assert!(deliberate(error), "prost reads {judged:?}, and we say {error}"),
    };
    assert_eq!((ours.spans(), &ours.body()[..]), (told, bytes));
    ours.each_span(|_| ());
}

/// JSON: an error, or protobuf that prost reads and that is not much longer.
pub fn json(text: &[u8]) {
    let within = |out: &[u8]| assert!(out.len() <= 4 * text.len() + 16, "{} bytes of {}", out.len(), text.len());
    if let Ok(out) = metrics_from_json(text) {
        within(&out);
        ExportMetricsServiceRequest::decode(&*out).expect("what we write is valid");
        metrics(&out);
    }
    if let Ok(out) = logs_from_json(text) {
        within(&out);
        ExportLogsServiceRequest::decode(&*out).expect("what we write is valid");
        logs(&out);
    }
    if let Ok(out) = traces_from_json(text) {
        within(&out);
        ExportTraceServiceRequest::decode(&*out).expect("what we write is valid");
        traces(&out);
    }
}

/// What we refuse on purpose and prost reads: what unfolds or nests out of proportion, messages in parts, and groups, which OTLP has
/// none of.
fn deliberate(error: Malformed) -> bool {
    matches!(error, Malformed::TooMuch | Malformed::Depth | Malformed::Split | Malformed::Tag)
}

fn points(request: &ExportMetricsServiceRequest) -> usize {
    let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let of = |data: &Data| match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    };
    metrics.filter_map(|metric| metric.data.as_ref()).map(of).sum()
}

//! What OTLP's messages are called in JSON, and where their fields stand in protobuf.
//!
//! From opentelemetry-proto 1.x. Names are the lowerCamelCase ones, the only ones that OTLP/JSON knows; what is missing here is
//! ignored as an unknown field.

/// A message by its fields.
#[derive(Debug)]
pub(super) struct Message(pub(super) &'static [Field]);

/// A field in both forms.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Message(&'static Message),
    Text,
    /// Bytes as base64.
    Bytes,
    /// An id: bytes as hex digits, which is OTLP's own.
    Id,
    Bool,
    Double,
    Fixed64,
    Sfixed64,
    Fixed32,
    // One on the wire; in JSON those of 64 bits are texts.
    Uint32,
    Int64,
    Uint64,
    Sint32,
    /// A number, or tolerated: the name of a value.
    Enum(&'static [(&'static str, u64)]),
}

impl Message {
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.0.iter().find(|field| field.name == name)
    }
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int64, Message as Sub, Sfixed64, Sint32, Text, Uint32, Uint64,
};

/// `ExportMetricsServiceRequest`.
pub(super) static METRICS: Message = Message(&[many("resourceMetrics", 1, Sub(&RESOURCE_METRICS))]);
/// `ExportLogsServiceRequest`.
pub(super) static LOGS: Message = Message(&[many("resourceLogs", 1, Sub(&RESOURCE_LOGS))]);
/// `ExportTraceServiceRequest`.
pub(super) static TRACES: Message = Message(&[many("resourceSpans", 1, Sub(&RESOURCE_SPANS))]);
/// `Export…ServiceResponse` of any signal: they differ in one name.
pub(super) static RESPONSE: Message = Message(&[one("partialSuccess", 1, Sub(&PARTIAL_SUCCESS))]);
/// `google.rpc.Status`; its details are of types that are not OTLP's.
pub(super) static RPC_STATUS: Message = Message(&[one("code", 1, Int64), one("message", 2, Text)]);

static PARTIAL_SUCCESS: Message = Message(&[
    one("rejectedDataPoints", 1, Int64),
    one("rejectedLogRecords", 1, Int64),
    one("rejectedSpans", 1, Int64),
    one("errorMessage", 2, Text),
]);

// Common.

static RESOURCE: Message = Message(&[
    many("attributes", 1, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 2, Uint32),
    many("entityRefs", 3, Sub(&ENTITY_REF)),
]);

static ENTITY_REF: Message = Message(&[
    one("schemaUrl", 1, Text),
    one("type", 2, Text),
    many("idKeys", 3, Text),
    many("descriptionKeys", 4, Text),
]);

static SCOPE: Message = Message(&[
    one("name", 1, Text),
    one("version", 2, Text),
    many("attributes", 3, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Uint32),
]);

static KEY_VALUE: Message = Message(&[one("key", 1, Text), one("value", 2, Sub(&ANY_VALUE))]);

static ANY_VALUE: Message = Message(&[
    one("stringValue", 1, Text),
    one("boolValue", 2, Bool),
    one("intValue", 3, Int64),
    one("doubleValue", 4, Double),
    one("arrayValue", 5, Sub(&ARRAY_VALUE)),
    one("kvlistValue", 6, Sub(&KEY_VALUE_LIST)),
    one("bytesValue", 7, Bytes),
]);

static ARRAY_VALUE: Message = Message(&[many("values", 1, Sub(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message(&[many("values", 1, Sub(&KEY_VALUE))]);

// Metrics.

static RESOURCE_METRICS: Message = Message(&[
    one("resource", 1, Sub(&RESOURCE)),
    many("scopeMetrics", 2, Sub(&SCOPE_METRICS)),
    one("schemaUrl", 3, Text),
]);

static SCOPE_METRICS: Message =
    Message(&[one("scope", 1, Sub(&SCOPE)), many("metrics", 2, Sub(&METRIC)), one("schemaUrl", 3, Text)]);

static METRIC: Message = Message(&[
    one("name", 1, Text),
    one("description", 2, Text),
    one("unit", 3, Text),
    one("gauge", 5, Sub(&GAUGE)),
    one("sum", 7, Sub(&SUM)),
    one("histogram", 9, Sub(&HISTOGRAM)),
    one("exponentialHistogram", 10, Sub(&EXPONENTIAL_HISTOGRAM)),
    one("summary", 11, Sub(&SUMMARY)),
    many("metadata", 12, Sub(&KEY_VALUE)),
]);

const TEMPORALITY: Kind = Enum(&[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
]);

static GAUGE: Message = Message(&[many("dataPoints", 1, Sub(&NUMBER_POINT))]);
static SUM: Message = Message(&[
    many("dataPoints", 1, Sub(&NUMBER_POINT)),
    one("aggregationTemporality", 2, TEMPORALITY),
    one("isMonotonic", 3, Bool),
]);
static HISTOGRAM: Message =
    Message(&[many("dataPoints", 1, Sub(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, TEMPORALITY)]);
static EXPONENTIAL_HISTOGRAM: Message =
    Message(&[many("dataPoints", 1, Sub(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, TEMPORALITY)]);
static SUMMARY: Message = Message(&[many("dataPoints", 1, Sub(&SUMMARY_POINT))]);

static NUMBER_POINT: Message = Message(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("asDouble", 4, Double),
    many("exemplars", 5, Sub(&EXEMPLAR)),
    one("asInt", 6, Sfixed64),
    many("attributes", 7, Sub(&KEY_VALUE)),
    one("flags", 8, Uint32),
]);

static HISTOGRAM_POINT: Message = Message(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("bucketCounts", 6, Fixed64),
    many("explicitBounds", 7, Double),
    many("exemplars", 8, Sub(&EXEMPLAR)),
    many("attributes", 9, Sub(&KEY_VALUE)),
    one("flags", 10, Uint32),
    one("min", 11, Double),
    one("max", 12, Double),
]);

static EXPONENTIAL_POINT: Message = Message(&[
    many("attributes", 1, Sub(&KEY_VALUE)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    one("scale", 6, Sint32),
    one("zeroCount", 7, Fixed64),
    one("positive", 8, Sub(&BUCKETS)),
    one("negative", 9, Sub(&BUCKETS)),
    one("flags", 10, Uint32),
    many("exemplars", 11, Sub(&EXEMPLAR)),
    one("min", 12, Double),
    one("max", 13, Double),
    one("zeroThreshold", 14, Double),
]);

static BUCKETS: Message = Message(&[one("offset", 1, Sint32), many("bucketCounts", 2, Uint64)]);

static SUMMARY_POINT: Message = Message(&[
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("quantileValues", 6, Sub(&QUANTILE)),
    many("attributes", 7, Sub(&KEY_VALUE)),
    one("flags", 8, Uint32),
]);

static QUANTILE: Message = Message(&[one("quantile", 1, Double), one("value", 2, Double)]);

static EXEMPLAR: Message = Message(&[
    one("timeUnixNano", 2, Fixed64),
    one("asDouble", 3, Double),
    one("spanId", 4, Id),
    one("traceId", 5, Id),
    one("asInt", 6, Sfixed64),
    many("filteredAttributes", 7, Sub(&KEY_VALUE)),
]);

// Logs.

static RESOURCE_LOGS: Message =
    Message(&[one("resource", 1, Sub(&RESOURCE)), many("scopeLogs", 2, Sub(&SCOPE_LOGS)), one("schemaUrl", 3, Text)]);

static SCOPE_LOGS: Message =
    Message(&[one("scope", 1, Sub(&SCOPE)), many("logRecords", 2, Sub(&LOG_RECORD)), one("schemaUrl", 3, Text)]);

static LOG_RECORD: Message = Message(&[
    one("timeUnixNano", 1, Fixed64),
    one("severityNumber", 2, SEVERITY),
    one("severityText", 3, Text),
    one("body", 5, Sub(&ANY_VALUE)),
    many("attributes", 6, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 7, Uint32),
    one("flags", 8, Fixed32),
    one("traceId", 9, Id),
    one("spanId", 10, Id),
    one("observedTimeUnixNano", 11, Fixed64),
    one("eventName", 12, Text),
]);

const SEVERITY: Kind = Enum(&[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
]);

// Traces.

static RESOURCE_SPANS: Message =
    Message(&[one("resource", 1, Sub(&RESOURCE)), many("scopeSpans", 2, Sub(&SCOPE_SPANS)), one("schemaUrl", 3, Text)]);

static SCOPE_SPANS: Message =
    Message(&[one("scope", 1, Sub(&SCOPE)), many("spans", 2, Sub(&SPAN)), one("schemaUrl", 3, Text)]);

static SPAN: Message = Message(&[
    one("traceId", 1, Id),
    one("spanId", 2, Id),
    one("traceState", 3, Text),
    one("parentSpanId", 4, Id),
    one("name", 5, Text),
    one("kind", 6, SPAN_KIND),
    one("startTimeUnixNano", 7, Fixed64),
    one("endTimeUnixNano", 8, Fixed64),
    many("attributes", 9, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 10, Uint32),
    many("events", 11, Sub(&EVENT)),
    one("droppedEventsCount", 12, Uint32),
    many("links", 13, Sub(&LINK)),
    one("droppedLinksCount", 14, Uint32),
    one("status", 15, Sub(&STATUS)),
    one("flags", 16, Fixed32),
]);

const SPAN_KIND: Kind = Enum(&[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
]);

static EVENT: Message = Message(&[
    one("timeUnixNano", 1, Fixed64),
    one("name", 2, Text),
    many("attributes", 3, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Uint32),
]);

static LINK: Message = Message(&[
    one("traceId", 1, Id),
    one("spanId", 2, Id),
    one("traceState", 3, Text),
    many("attributes", 4, Sub(&KEY_VALUE)),
    one("droppedAttributesCount", 5, Uint32),
    one("flags", 6, Fixed32),
]);

static STATUS: Message = Message(&[one("message", 2, Text), one("code", 3, STATUS_CODE)]);

const STATUS_CODE: Kind = Enum(&[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)]);

//! OTLP's protobuf form (opentelemetry-proto 1.x), straight to and from the data model: no tree of generated structs between.
//!
//! Decoding finds a point's series by the fingerprint of its identity's *bytes on the wire*: in the steady state no attribute text is
//! decoded and nothing is allocated per point. Encoding writes points behind attribute bytes that were encoded once per series.

mod attributes;
mod decode;
mod encode;
mod histograms;
mod json;
mod logs;
mod memo;
mod points;
mod reply;
mod room;
mod traces;
mod wire;
mod wire_id;

pub use decode::{Decoded, MetricsDecoder};
pub use encode::MetricsEncoder;
pub use json::{
    NotJson, logs_from_json, logs_to_json, metrics_from_json, metrics_to_json, response_from_json, status_from_json,
    traces_from_json, traces_to_json,
};
pub use logs::{decode_logs, encode_logs};
pub use reply::{
    PartialSuccess, RETRY_INFO, RpcStatus, decode_response, decode_status, encode_response, encode_status,
};
pub use traces::{decode_traces, encode_traces};
pub use wire::Malformed;

/// How deep attribute values may nest; OTLP/JSON libraries allow 32 to 128, real telemetry nests 3.
const VALUE_DEPTH_MAX: usize = 32;

/// Values in one nested value at most: an empty one is two bytes on the wire and 32 in memory.
const VALUES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;

//! OTLP's JSON form → its protobuf form, in one pass and without a tree, so that one decoder serves both; and back.
//!
//! OTLP/JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>) is ProtoJSON with two differences: trace and span
//! ids are hex digits, and enum values are numbers (names are tolerated here). Integers may be numbers or strings, doubles may be
//! the strings `NaN`, `Infinity` and `-Infinity`, `null` means unset, unknown fields are ignored.

mod scalar;
mod schema;
mod transcode;
mod write;

use self::schema::Message;
use super::Malformed;

/// Why a text is no OTLP request: what is wrong with it, and at which line and column.
#[derive(Debug)]
pub struct NotJson(serde_json::Error);

/// An `ExportMetricsServiceRequest` in protobuf.
///
/// # Errors
/// When the text is not one in JSON.
pub fn metrics_from_json(text: &[u8]) -> Result<Vec<u8>, NotJson> {
    from_json(text, &schema::METRICS)
}

/// An `ExportLogsServiceRequest` in protobuf.
///
/// # Errors
/// When the text is not one in JSON.
pub fn logs_from_json(text: &[u8]) -> Result<Vec<u8>, NotJson> {
    from_json(text, &schema::LOGS)
}

/// An `ExportTraceServiceRequest` in protobuf.
///
/// # Errors
/// When the text is not one in JSON.
pub fn traces_from_json(text: &[u8]) -> Result<Vec<u8>, NotJson> {
    from_json(text, &schema::TRACES)
}

/// An `ExportMetricsServiceRequest` in JSON, on one line, of about `most` bytes at most.
///
/// # Errors
/// When the bytes are not one in protobuf, or make a longer text.
pub fn metrics_to_json(request: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    to_json(request, &schema::METRICS, most)
}

/// An `ExportLogsServiceRequest` in JSON, on one line, of about `most` bytes at most.
///
/// # Errors
/// When the bytes are not one in protobuf, or make a longer text.
pub fn logs_to_json(request: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    to_json(request, &schema::LOGS, most)
}

/// An `ExportTraceServiceRequest` in JSON, on one line, of about `most` bytes at most.
///
/// # Errors
/// When the bytes are not one in protobuf, or make a longer text.
pub fn traces_to_json(request: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    to_json(request, &schema::TRACES, most)
}

/// The response to an export of any signal, in protobuf.
///
/// # Errors
/// When the text is not one in JSON.
pub fn response_from_json(text: &[u8]) -> Result<Vec<u8>, NotJson> {
    from_json(text, &schema::RESPONSE)
}

/// A `google.rpc.Status` in protobuf, without its details: over HTTP a delay stands in a header.
///
/// # Errors
/// When the text is not one in JSON.
pub fn status_from_json(text: &[u8]) -> Result<Vec<u8>, NotJson> {
    from_json(text, &schema::RPC_STATUS)
}

fn to_json(request: &[u8], message: &'static Message, most: usize) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(request.len().saturating_mul(2).min(most));
    write::message(request, message, most, &mut out)?;
    Ok(out)
}

fn from_json(text: &[u8], message: &'static Message) -> Result<Vec<u8>, NotJson> {
    // JSON spends two to three bytes on what takes one in protobuf. An empty object of two bytes takes seven, which is the most that
    // the output can grow.
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(text);
    transcode::message(&mut json, message, &mut out).and_then(|()| json.end()).map_err(NotJson)?;
    Ok(out)
}

impl std::fmt::Display for NotJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotJson {}

#[cfg(test)]
mod tests;

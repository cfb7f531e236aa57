//! What a server says, read and written: partial success, and `google.rpc.Status` with its retry delay.

use std::time::Duration;

use super::attributes::write_text;
use super::wire::{Fields, Malformed, Write as _};

/// What stands in an `Export…ServiceResponse` of any signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Points or records that were not taken; 0 when all were.
    pub rejected: u64,
    /// Why, or a warning when all were taken; empty when there is nothing to say.
    pub message: String,
}

/// A `google.rpc.Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcStatus {
    /// A gRPC code; 0 is OK.
    pub code: i32,
    /// What went wrong, in the server's words.
    pub message: String,
    /// The delay of its `RetryInfo`, if it has one. Negative delays are read as none at all: now.
    pub retry_after: Option<Duration>,
}

/// Reads the response to an export.
///
/// # Errors
/// When the bytes are no valid message.
pub fn decode_response(body: &[u8]) -> Result<PartialSuccess, Malformed> {
    let mut partial = PartialSuccess::default();
    let mut fields = Fields::of(body);
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            continue;
        }
        let mut inner = Fields::of(field.payload.bytes()?);
        while let Some(field) = inner.next()? {
            match field.number {
                // An int64: a negative number of points was never rejected.
                1 => partial.rejected = (field.payload.varint()? as i64).max(0) as u64,
                2 => partial.message = String::from_utf8_lossy(field.payload.bytes()?).into_owned(),
                _ => {}
            }
        }
    }
    Ok(partial)
}

/// Reads a status.
///
/// # Errors
/// When the bytes are no valid message.
pub fn decode_status(body: &[u8]) -> Result<RpcStatus, Malformed> {
    let mut status = RpcStatus::default();
    let mut fields = Fields::of(body);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => status.code = field.payload.varint()? as i32,
            2 => status.message = String::from_utf8_lossy(field.payload.bytes()?).into_owned(),
            3 => status.retry_after = retry_info(field.payload.bytes()?)?.or(status.retry_after),
            _ => {}
        }
    }
    Ok(status)
}

/// The delay in a `google.protobuf.Any`, when it holds a `google.rpc.RetryInfo`.
fn retry_info(any: &[u8]) -> Result<Option<Duration>, Malformed> {
    let (mut type_url, mut value) = (&[][..], &[][..]);
    let mut fields = Fields::of(any);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => type_url = field.payload.bytes()?,
            2 => value = field.payload.bytes()?,
            _ => {}
        }
    }
    if !type_url.ends_with(b"/google.rpc.RetryInfo") {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields::of(value);
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            continue;
        }
        let mut delay = Fields::of(field.payload.bytes()?);
        while let Some(field) = delay.next()? {
            match field.number {
                1 => seconds = field.payload.varint()? as i64,
                2 => nanos = field.payload.varint()? as i64,
                _ => {}
            }
        }
    }
    let nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
    Ok(Some(u64::try_from(seconds).map_or(Duration::ZERO, |seconds| Duration::new(seconds, nanos))))
}

/// Writes the response to an export; nothing when all was taken and there is nothing to say.
#[must_use]
pub fn encode_response(partial: &PartialSuccess) -> Vec<u8> {
    let mut out = Vec::new();
    if *partial != PartialSuccess::default() {
        out.message_field(1, |out| {
            if partial.rejected > 0 {
                out.varint_field(1, partial.rejected);
            }
            write_text(out, 2, &partial.message);
        });
    }
    out
}

/// Writes a status; its delay becomes a `RetryInfo`.
#[must_use]
pub fn encode_status(status: &RpcStatus) -> Vec<u8> {
    let mut out = Vec::new();
    out.varint_field(1, i64::from(status.code) as u64);
    write_text(&mut out, 2, &status.message);
    if let Some(after) = status.retry_after {
        out.message_field(3, |out| {
            write_text(out, 1, RETRY_INFO);
            out.message_field(2, |out| {
                out.message_field(1, |out| {
                    out.varint_field(1, after.as_secs());
                    if after.subsec_nanos() > 0 {
                        out.varint_field(2, u64::from(after.subsec_nanos()));
                    }
                });
            });
        });
    }
    out
}

/// What a `google.protobuf.Any` is called that holds a delay.
pub const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[cfg(test)]
mod tests {
    use super::super::wire::Write as _;
    use super::*;

    fn status(seconds: u64, nanos: u64, type_url: &str) -> Vec<u8> {
        let mut out = Vec::new();
        out.varint_field(1, 8);
        out.bytes_field(2, b"slow down");
        out.message_field(3, |any| {
            any.bytes_field(1, type_url.as_bytes());
            any.message_field(2, |info| {
                info.message_field(1, |delay| {
                    delay.varint_field(1, seconds);
                    delay.varint_field(2, nanos);
                });
            });
        });
        out
    }

    #[test]
    fn a_status_tells_its_retry_delay() {
        let read = decode_status(&status(3, 500_000_000, "type.googleapis.com/google.rpc.RetryInfo")).unwrap();
        assert_eq!((read.code, read.message.as_str()), (8, "slow down"));
        assert_eq!(read.retry_after, Some(Duration::from_millis(3_500)));
        let other = decode_status(&status(3, 0, "type.googleapis.com/google.rpc.DebugInfo")).unwrap();
        assert_eq!(other.retry_after, None);
        let negative = status(-5_i64 as u64, 0, "type.googleapis.com/google.rpc.RetryInfo");
        assert_eq!(decode_status(&negative).unwrap().retry_after, Some(Duration::ZERO));
    }

    #[test]
    fn prost_and_we_read_the_same_partial_success() {
        use opentelemetry_proto::tonic::collector::metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
        };
        use prost::Message as _;
        let partial = |rejected_data_points, error_message: &str| ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message: error_message.into(),
            }),
        };
        for (rejected, message, read) in [(7, "too old", 7), (0, "old SDK", 0), (-1, "", 0)] {
            let body = partial(rejected, message).encode_to_vec();
            let expected = PartialSuccess { rejected: read, message: message.into() };
            assert_eq!(decode_response(&body), Ok(expected));
        }
        assert_eq!(decode_response(&[]), Ok(PartialSuccess::default()));
        assert!(decode_response(b"<html>").is_err());
    }

    #[test]
    fn what_we_write_is_what_we_and_prost_read() {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
        use prost::Message as _;
        for (rejected, message) in [(0, ""), (3, "a point has no value"), (0, "a warning")] {
            let partial = PartialSuccess { rejected, message: message.to_owned() };
            let body = encode_response(&partial);
            assert_eq!(decode_response(&body).unwrap(), partial);
            let judged = ExportLogsServiceResponse::decode(&*body).unwrap().partial_success;
            assert_eq!(
                judged.map(|p| (p.rejected_log_records as u64, p.error_message)),
                (!body.is_empty()).then(|| (rejected, message.to_owned()))
            );
        }
        for retry_after in [None, Some(Duration::from_secs(1)), Some(Duration::from_millis(2_500))] {
            let status = RpcStatus { code: 14, message: "later".to_owned(), retry_after };
            assert_eq!(decode_status(&encode_status(&status)).unwrap(), status);
        }
    }
}

//! What senders are told, in the words of both protocols.

use std::time::Duration;

use config::Signal;
use http::StatusCode;
use pdata::otlp::{PartialSuccess, RETRY_INFO, RpcStatus, encode_response, encode_status};
use serde_json::json;
use tonic::Code;

/// Why nothing of a request was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It is larger than what is taken, and will be the next time too.
    TooLarge(String),
    /// It is no OTLP.
    Bad(String),
    /// It came too slowly.
    Slow,
    /// Not now.
    Busy {
        /// How long to wait.
        after: Duration,
        /// What is in the way.
        why: String,
    },
    /// A destination will never take it.
    Refused,
    /// No pipeline of this receiver carries the signal.
    NotCarried(Signal),
}

/// In which form a request came, and its answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// How long senders are asked to wait. Short: what is in the way here is a queue that moves, and senders double it by themselves.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl No {
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::Bad(why.into())
    }

    /// A word for counters.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Bad(_) => "malformed",
            Self::Slow => "slow",
            Self::Busy { .. } => "busy",
            Self::Refused => "refused",
            Self::NotCarried(_) => "not_carried",
        }
    }

    /// All words, for counters.
    pub(super) const WORDS: [&str; 6] = ["too_large", "malformed", "slow", "busy", "refused", "not_carried"];

    pub(super) const fn code(&self) -> Code {
        match self {
            // Without RetryInfo it means: never. Not OUT_OF_RANGE, which senders try again.
            Self::TooLarge(_) => Code::ResourceExhausted,
            Self::Bad(_) | Self::Refused => Code::InvalidArgument,
            Self::Slow => Code::DeadlineExceeded,
            Self::Busy { .. } => Code::Unavailable,
            Self::NotCarried(_) => Code::Unimplemented,
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Bad(_) | Self::Refused => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotCarried(_) => StatusCode::NOT_FOUND,
        }
    }

    /// How long the sender should wait before it sends the same again; none when it should not.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// As `google.rpc.Status`.
    pub(super) fn rpc(&self) -> RpcStatus {
        RpcStatus { code: self.code() as i32, message: self.to_string(), retry_after: self.retry_after() }
    }
}

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(why) | Self::Bad(why) | Self::Busy { why, .. } => f.write_str(why),
            Self::Slow => f.write_str("the request's body comes too slowly"),
            Self::Refused => f.write_str("a destination has refused the request for good"),
            Self::NotCarried(signal) => write!(f, "no pipeline of this receiver carries {}", signal.as_str()),
        }
    }
}

impl Form {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The response to a request that was taken.
    pub(super) fn success(self, signal: Signal, partial: &PartialSuccess) -> Vec<u8> {
        if self == Self::Protobuf {
            return encode_response(partial);
        }
        if *partial == PartialSuccess::default() {
            return b"{}".to_vec();
        }
        let rejected = match signal {
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Traces => "rejectedSpans",
        };
        // An int64 is a text in ProtoJSON.
        let told = json!({rejected: partial.rejected.to_string(), "errorMessage": partial.message});
        json!({"partialSuccess": told}).to_string().into_bytes()
    }

    /// The body of an answer that says no.
    pub(super) fn failure(self, status: &RpcStatus) -> Vec<u8> {
        if self == Self::Protobuf {
            return encode_status(status);
        }
        let mut told = json!({"code": status.code, "message": status.message});
        if let Some(after) = status.retry_after {
            told["details"] = json!([{"@type": RETRY_INFO, "retryDelay": format!("{}s", after.as_secs_f64())}]);
        }
        told.to_string().into_bytes()
    }
}

//! One unary call: a frame out, a frame and trailers back (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration as Span;

use bytes::Bytes;
use config::Signal;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use pdata::otlp::{decode_response, decode_status};
use pipeline::BoxFuture;
use tonic::{Code, Status};
use tower::Service;

use super::super::AuthErrors;
use super::super::pack::name;
use crate::delivery::{Miss, Parcel, Reason, Taken, short};
use pipeline::net::client::{Answer, Client, HeaderSource};

/// What codes mean, besides the specification.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) also: Vec<Code>,
    pub(super) auth_errors: AuthErrors,
}

/// Makes tries.
#[derive(Clone)]
pub(super) struct Send(Arc<Sender>);

struct Sender {
    client: Client,
    metrics: Uri,
    logs: Uri,
    traces: Uri,
    base: HeaderMap,
    headers: HeaderSource,
    rules: Rules,
}

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The most bytes of a status' details that are looked at (rule S2 of the project's security rules): a RetryInfo has some dozen.
const DETAILS_MAX: usize = 8 << 10;

impl Send {
    /// Calls over `client`, under the scheme and authority of `to`.
    pub(super) fn new(client: Client, to: &Uri, base: HeaderMap, headers: HeaderSource, rules: Rules) -> Self {
        let [metrics, logs, traces] = [METRICS, LOGS, TRACES].map(|path| path_under(to, path));
        Self(Arc::new(Sender { client, metrics, logs, traces, base, headers, rules }))
    }
}

/// What every call carries.
pub(super) fn base_headers(user_agent: HeaderValue, timeout: Span) -> HeaderMap {
    let mut base = HeaderMap::new();
    base.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    base.insert(TE, HeaderValue::from_static("trailers"));
    base.insert(USER_AGENT, user_agent);
    // Answers are a few bytes: nothing is gained by their compression, and bombs are lost.
    base.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    // Eight digits at most.
    let millis = timeout.as_millis().clamp(1, 99_999_999);
    base.insert("grpc-timeout", HeaderValue::from_str(&format!("{millis}m")).expect("digits and a letter"));
    base
}

fn path_under(base: &Uri, path: &'static str) -> Uri {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    Uri::from_parts(parts).expect("a whole URI with another path is whole")
}

impl Service<Parcel> for Send {
    type Response = Taken;
    type Error = Miss;
    type Future = BoxFuture<'static, Result<Taken, Miss>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, parcel: Parcel) -> Self::Future {
        let sender = self.0.clone();
        Box::pin(async move { sender.send(parcel).await })
    }
}

impl Sender {
    async fn send(&self, parcel: Parcel) -> Result<Taken, Miss> {
        let uri = match parcel.signal {
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
            Signal::Traces => &self.traces,
        };
        let mut request = Request::new(Full::<Bytes>::new(parcel.body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.base.clone();
        if let Some(name) = name(parcel.encoding) {
            request.headers_mut().insert("grpc-encoding", HeaderValue::from_static(name));
        }
        self.headers.put(request.headers_mut());
        self.rules.judge(self.client.send(request).await.map_err(Miss::broken)?)
    }
}

impl Rules {
    /// What an answer means (OTLP/gRPC, "Failures").
    fn judge(&self, mut answer: Answer) -> Result<Taken, Miss> {
        if answer.too_large {
            return Err(Miss::Reject { why: "the answer has more than 4 MiB".to_owned() });
        }
        let Some((status, after)) = status_of(&mut answer) else {
            // A stream that ends without a status: whoever sent it went away in the middle.
            return Err(Miss::retry(Reason::Connection, None, "the server ended the call without a status"));
        };
        let why = || format!("rpc error: code = {}: {}", word(status.code()), short(status.message()));
        match status.code() {
            Code::Ok => Ok(taken(&answer)),
            Code::Unauthenticated | Code::PermissionDenied if self.auth_errors == AuthErrors::Hold => {
                Err(Miss::Held { why: why() })
            }
            Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange | Code::DataLoss => {
                Err(Miss::retry(Reason::Unavailable, after, why()))
            }
            Code::Unavailable => {
                let reason = if after.is_some() { Reason::Throttled } else { Reason::Unavailable };
                Err(Miss::retry(reason, after, why()))
            }
            // Without RetryInfo it says that the request is too large, and will be the next time too.
            Code::ResourceExhausted if after.is_some() => Err(Miss::retry(Reason::Throttled, after, why())),
            code if self.also.contains(&code) => Err(Miss::retry(Reason::Unavailable, after, why())),
            _ => Err(Miss::Reject { why: why() }),
        }
    }
}

/// The status of a call, and the delay in its details; from the trailers, or from the headers of a call that ended at once.
fn status_of(answer: &mut Answer) -> Option<(Status, Option<Span>)> {
    let in_headers = answer.headers.contains_key(GRPC_STATUS);
    let headers = if in_headers { &mut answer.headers } else { answer.trailers.get_or_insert_default() };
    // Base64 is a third longer.
    if headers.get(GRPC_DETAILS).is_some_and(|details| details.len() > DETAILS_MAX * 4 / 3) {
        headers.remove(GRPC_DETAILS);
    }
    match Status::from_header_map(headers) {
        Some(status) => {
            let after = decode_status(status.details()).ok().and_then(|details| details.retry_after);
            Some((status, after))
        }
        None if answer.status == StatusCode::OK => None,
        None => {
            let code = code_of(answer.status);
            let message = format!("HTTP status {} in place of a gRPC status", answer.status.as_u16());
            Some((Status::new(code, message), None))
        }
    }
}

/// What a proxy's answer means that speaks no gRPC
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// What a server that took the request says of it: one frame, not compressed, because we said that we take no other.
fn taken(answer: &Answer) -> Taken {
    let [0, a, b, c, d, message @ ..] = answer.kept.as_slice() else { return Taken::default() };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    let partial = message.get(..length).and_then(|message| decode_response(message).ok()).unwrap_or_default();
    Taken { rejected: partial.rejected, message: partial.message }
}

/// A code's name as the specification writes it.
pub(super) const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

//! OTLP/gRPC: unary calls, a message each way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::Signal;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use pdata::otlp::{PartialSuccess, encode_response, encode_status};
use pipeline::net::{BoxError, Coding, RequestBody, ResponseBody, full, text};
use tonic::Status;

use super::answer::Form;
use super::body::{FRAME, message};
use super::intake::Intake;
use super::settings::GrpcPlan;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const ENCODING: &str = "grpc-encoding";
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: &str = "grpc-timeout";

/// The calls that are served.
const PATHS: [(&str, Signal); 3] = [
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Signal::Metrics),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Signal::Logs),
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Signal::Traces),
];

/// The answer to a call that was taken. It tells nobody its length: for that hyper would write a header that no gRPC client reads.
struct Unary {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// Answers one call.
pub(super) async fn answer(
    intake: &Arc<Intake>,
    plan: GrpcPlan,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return unknown_protocol();
    }
    let Some((_, signal)) = PATHS.iter().find(|(path, _)| *path == head.uri.path()) else {
        return refuse(&Status::unimplemented("this service has no such method"));
    };
    let encoding = head.headers.get(ENCODING).map_or(Ok(""), |name| name.to_str());
    let Some(coding) = encoding.ok().and_then(Coding::named) else {
        // The specification wants what would be taken beside it; senders choose that the next time.
        return refuse(&Status::unimplemented("the message's compression is not known here"));
    };
    let deadline = intake.deadline(patience(&head.headers));
    let took = async {
        intake.carries(*signal)?;
        let whole = message(body, coding, plan.most, &intake.budget).await?;
        intake.take(*signal, Form::Protobuf, whole, deadline).await
    };
    match took.await {
        Ok(partial) => success(&partial),
        Err(no) => {
            intake.count(&no);
            let status = no.rpc();
            refuse(&Status::with_details(no.code(), &*status.message, Bytes::from(encode_status(&status))))
        }
    }
}

/// The answer to what is no gRPC where only gRPC is spoken.
pub(super) fn unknown_protocol() -> Response<ResponseBody> {
    text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only gRPC is spoken here")
}

fn success(partial: &PartialSuccess) -> Response<ResponseBody> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    with_headers(Unary { message: Some(framed(partial)), trailers: Some(trailers) }.boxed_unsync())
}

fn framed(partial: &PartialSuccess) -> Bytes {
    let message = encode_response(partial);
    if message.is_empty() {
        return Bytes::from_static(&[0; FRAME]);
    }
    let length = u32::try_from(message.len()).expect("a partial success is a line of text");
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

/// A call that ends with a status and nothing else: its trailers are its headers.
fn refuse(status: &Status) -> Response<ResponseBody> {
    let mut response = with_headers(full(Bytes::new()));
    if status.add_header(response.headers_mut()).is_err() {
        // A message that no header can hold; the code can.
        response.headers_mut().insert(STATUS, HeaderValue::from(status.code() as i32));
    }
    response
}

fn with_headers(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response.headers_mut().insert(ACCEPTED, HeaderValue::from_static(Coding::NAMES));
    response
}

impl Body for Unary {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = this.message.take().map(Frame::data);
        Poll::Ready(frame.or_else(|| this.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none()
    }
}

/// How long the sender waits, as it says: up to eight digits and a unit.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

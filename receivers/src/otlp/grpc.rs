//! OTLP/gRPC: unary calls, a message each way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::Signal;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
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
    let message = encode_response(partial);
    let length = u32::try_from(message.len()).expect("a partial success is a line of text");
    let mut framed = Vec::with_capacity(FRAME + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let body = body.map_err(|never| -> BoxError { match never {} }).boxed_unsync();
    with_headers(body)
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

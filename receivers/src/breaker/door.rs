//! Requests and answers.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use pipeline::net::{Gates, RequestBody, ResponseBody, Service, full, text};
use serde::Serialize;

use super::counter::{Counter, NotNow, Outcome};
use super::signal::{BadBody, RefusedSignal};

/// What a sender is told.
#[derive(Serialize)]
struct Answer<'a> {
    accepted: usize,
    duplicates: usize,
    refused: &'a [RefusedSignal],
    /// Why nothing of the body could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The service for a server: one path and no other; who may not enter hears of nothing else.
pub(super) fn service(counter: Arc<Counter>, path: String, gates: &Gates) -> Service {
    let find = move |asked: &str| (asked == path).then(|| counter.clone());
    gates.door(find, |counter, request| async move { answer(&counter, request).await })
}

async fn answer(counter: &Counter, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    if let Some(refusal) = refusal(&head) {
        return refusal;
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return error.response(),
    };
    let signals = match counter.read(&body) {
        Ok(signals) => signals,
        Err(bad) => return unreadable(bad),
    };
    match counter.count(signals).await {
        Ok(outcome) => told(&outcome),
        Err(NotNow { after }) => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot be written now; send it again");
            let seconds = HeaderValue::from(after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            response
        }
    }
}

/// What can be said before the body is read.
fn refusal(head: &Parts) -> Option<Response<ResponseBody>> {
    if head.method != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    let coding = head.headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Some(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a compressed body is not taken here"));
    }
    if !is_json(&head.headers) {
        let what = "signals are sent as application/json or application/x-ndjson";
        return Some(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    None
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json") || essence.eq_ignore_ascii_case(b"application/x-ndjson")
}

fn told(outcome: &Outcome) -> Response<ResponseBody> {
    let Outcome { accepted, duplicates, refused } = outcome;
    let status = if accepted + duplicates == 0 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    json(status, &Answer { accepted: *accepted, duplicates: *duplicates, refused, error: None })
}

fn unreadable(bad: BadBody) -> Response<ResponseBody> {
    let status = if bad == BadBody::TooMany { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    json(status, &Answer { accepted: 0, duplicates: 0, refused: &[], error: Some(&bad.to_string()) })
}

fn json(status: StatusCode, answer: &Answer<'_>) -> Response<ResponseBody> {
    let body = serde_json::to_vec(answer).expect("numbers and texts are always written");
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

//! Small answers.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a service answers with: any body, behind one type.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body that is already whole.
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// One line of plain text with a status.
#[must_use]
pub fn text(status: StatusCode, line: &str) -> Response<ResponseBody> {
    let mut response = Response::new(full(format!("{line}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // An answer that quotes what was asked must not be read as a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer for a path that is not there; a route that is closed off by its gates gives the same, to the byte.
#[must_use]
pub fn unknown_path() -> Response<ResponseBody> {
    text(StatusCode::NOT_FOUND, "404 page not found")
}

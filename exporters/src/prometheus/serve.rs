//! Answers scrapes.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use pipeline::net::{Gates, RequestBody, ResponseBody, Service, full, text};
use pipeline::{Clock, Count, Meters};

use super::body::ScrapeBody;
use super::fresh::{Upstream, deadline};
use super::kind::Format;
use super::negotiate::Answer;
use super::stream::{Shared, View};

/// The endpoint.
pub(super) struct Endpoint {
    pub(super) path: String,
    pub(super) open_metrics: bool,
    pub(super) timestamps: bool,
    pub(super) shared: Shared,
    pub(super) upstream: Upstream,
    pub(super) clock: Clock,
    pub(super) counts: ScrapeCounts,
}

/// Scrapes by how they were answered.
pub(super) struct ScrapeCounts {
    text: Count,
    open_metrics: Count,
    starting: Count,
    failed: Count,
}

impl ScrapeCounts {
    pub(super) fn new(meters: &Meters, exporter: &str) -> Self {
        let count = |answer: &str| {
            meters.count(
                "weir_prometheus_scrapes",
                "Scrapes of a prometheus exporter, by answer: a format, or why there was none.",
                "{scrapes}",
                vec![("exporter", exporter.to_owned()), ("answer", answer.to_owned())],
            )
        };
        Self {
            text: count("text"),
            open_metrics: count("openmetrics"),
            starting: count("starting"),
            failed: count("failed_source"),
        }
    }
}

/// The service for a server: this path and no other; who may not enter hears of nothing else.
pub(super) fn service(endpoint: Arc<Endpoint>, gates: &Gates) -> Service {
    let find = move |path: &str| (path == endpoint.path).then(|| endpoint.clone());
    gates.door(find, |endpoint, request| async move { endpoint.answer(request).await })
}

impl Endpoint {
    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => return not_allowed(),
        };
        let now = self.clock.now();
        if !self.upstream.is_ready(&self.shared, now) {
            self.counts.starting.add(1);
            return unavailable("starting: not all receivers have read their sources once");
        }
        if !head {
            self.upstream.refresh(&self.shared, deadline(request.headers(), now)).await;
        }
        if let Some(source) = self.shared.with(|table| table.failing().cloned()) {
            self.counts.failed.add(1);
            return unavailable(&format!("the last read of {source} failed"));
        }
        let answer = Answer::to(request.headers(), self.open_metrics);
        self.counts.of(answer.format).add(1);
        let body = if head { full("") } else { self.body(answer) };
        respond(answer, body)
    }

    fn body(&self, answer: Answer) -> ResponseBody {
        let Answer { format, escaping, gzip } = answer;
        let stream = self.shared.stream(View { format, escaping, timestamps: self.timestamps });
        ScrapeBody::new(stream, gzip).boxed_unsync()
    }
}

impl ScrapeCounts {
    fn of(&self, format: Format) -> &Count {
        match format {
            Format::Text => &self.text,
            Format::OpenMetrics => &self.open_metrics,
        }
    }
}

fn respond(answer: Answer, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let content_type = HeaderValue::try_from(answer.content_type()).expect("content types are ASCII");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn not_allowed() -> Response<ResponseBody> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn unavailable(why: &str) -> Response<ResponseBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

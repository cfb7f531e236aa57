//! Requests and answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use pipeline::net::{RequestBody, ResponseBody, Service, full, text, unknown_path};
use pipeline::{Batch, Budget, Clock, Count, Meters, Outlet, Receipt, Verdict};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::record::{self, NoRecords};
use super::settings::Checked;
use crate::webhook::unpack::Coding;
use crate::webhook::verify::Refused;

/// Takes bodies and hands them on.
#[derive(Debug)]
pub(super) struct Door {
    checked: Checked,
    id: String,
    outlet: Outlet,
    clock: Clock,
    budget: Budget,
    accepted: Count,
    refused: Count,
}

/// How long a sender waits for its verdict.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);

impl Door {
    pub(super) fn new(checked: Checked, id: String, outlet: Outlet, ways: (Clock, Budget), meters: &Meters) -> Self {
        let count = |outcome: &str| {
            let labels = vec![("receiver", id.clone()), ("outcome", outcome.to_owned())];
            meters.count(
                "weir_webhook_event_requests",
                "Requests with bodies, by how they ended.",
                "{requests}",
                labels,
            )
        };
        let (accepted, refused) = (count("accepted"), count("refused"));
        let (clock, budget) = ways;
        Self { checked, id, outlet, clock, budget, accepted, refused }
    }

    /// The service for a server. Gates stand before the path for bodies; whether somebody listens may be asked by everybody.
    pub(super) fn service(self) -> Service {
        let (gates, path) = (self.checked.gates.clone(), self.checked.settings.path.clone());
        let health = self.checked.settings.health_path.clone();
        let door = Arc::new(self);
        let inside = Service::new(tower::service_fn(move |request: Request<RequestBody>| {
            let door = door.clone();
            async move {
                let response = door.answer(request).await;
                let count = if response.status() == StatusCode::OK { &door.accepted } else { &door.refused };
                count.add(1);
                Ok::<_, Infallible>(response)
            }
        }));
        let guarded = gates.guard(inside);
        Service::new(tower::service_fn(move |request: Request<RequestBody>| {
            let (here, asked) = (request.uri().path() == path, request.uri().path() == health);
            let guarded = guarded.clone();
            async move {
                match (here, asked, request.method()) {
                    (true, ..) => tower::ServiceExt::oneshot(guarded, request).await,
                    (_, true, &Method::GET) => Ok(healthy()),
                    (_, true, _) => Ok(only("GET")),
                    _ => Ok(unknown_path()),
                }
            }
        }))
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return only("POST");
        }
        if !self.has_required(&head.headers) {
            return text(StatusCode::UNAUTHORIZED, "the required header is missing, or has another value");
        }
        let Ok(coding) = Coding::of(&head.headers) else {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip, deflate and zstd are taken, one of them");
        };
        let raw = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return error.response(),
        };
        let now = self.clock.wall();
        match self.checked.verifier.as_ref().map(|verifier| verifier.verify(&head.headers, &raw, now)) {
            Some(Err(Refused::Unready)) => return later("the secret cannot be read now"),
            Some(Err(refused)) => return text(StatusCode::UNAUTHORIZED, refused.word()),
            None | Some(Ok(_)) => {}
        }
        let limit = usize::try_from(self.checked.settings.max_request_body_size.get()).unwrap_or(usize::MAX);
        let body = match coding.unpack(raw, limit) {
            Ok(body) => body,
            Err(reason) => return text(reason.status(), reason.word()),
        };
        match record::records(&self.checked, &self.id, &head, &body, now) {
            Ok(logs) => self.hand_on(logs).await,
            Err(NoRecords::Empty) => text(StatusCode::BAD_REQUEST, "the body is empty"),
            Err(NoRecords::NotJson) => text(StatusCode::BAD_REQUEST, "the body is no row of JSON documents"),
            Err(NoRecords::TooMany) => {
                text(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {} records", record::RECORDS_MAX))
            }
        }
    }

    /// Sends records and waits for what becomes of them: 200 is only said when they are where they were to go.
    async fn hand_on(&self, logs: pdata::Logs) -> Response<ResponseBody> {
        let Ok(permit) = self.budget.take(logs.heap_bytes()) else {
            return later("there is no room in memory now");
        };
        let (receipt, waiter) = Receipt::pair();
        let batch = Batch::new(logs, self.clock.wall()).with_permit(permit).with_receipt(receipt);
        let ended = tokio::time::timeout(VERDICT_WITHIN, async {
            self.outlet.send(batch).await;
            waiter.verdict().await
        });
        match ended.await {
            Ok(Verdict::Delivered | Verdict::Discarded) => Response::new(full("")),
            Ok(Verdict::Rejected) => text(StatusCode::BAD_REQUEST, "the destination does not take it"),
            Ok(Verdict::Lost) | Err(_) => later("it could not be handed on; send it again"),
        }
    }

    fn has_required(&self, headers: &http::HeaderMap) -> bool {
        let Some((name, value)) = &self.checked.required else { return true };
        let mut given = headers.get_all(name).iter();
        let (first, second) = (given.next(), given.next());
        let digest = |bytes: &[u8]| Sha256::digest(bytes);
        let wanted = digest(value.expose().as_bytes());
        second.is_none() && first.is_some_and(|first| bool::from(digest(first.as_bytes()).ct_eq(&wanted)))
    }
}

fn healthy() -> Response<ResponseBody> {
    let mut response = Response::new(full("{\"text\": \"the receiver listens\"}"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn only(method: &'static str) -> Response<ResponseBody> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method} is served here"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method));
    response
}

fn later(why: &str) -> Response<ResponseBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

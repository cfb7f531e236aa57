//! Requests and answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pipeline::net::{RequestBody, ResponseBody, Service, full, text, unknown_path};
use pipeline::{Batch, Budget, Clock, Count, Meters, Outlet, Receipt, Verdict};

use super::record::{self, NoRecords};
use super::settings::Checked;
use crate::webhook::body;
use crate::webhook::reason::Reason;
use crate::webhook::verify::same;

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
        match self.records(&head, body).await {
            Ok(Ok(logs)) => self.hand_on(logs).await,
            Ok(Err(NoRecords::Empty)) => text(StatusCode::BAD_REQUEST, "the body is empty"),
            Ok(Err(NoRecords::NotJson)) => text(StatusCode::BAD_REQUEST, "the body is no row of JSON documents"),
            Ok(Err(NoRecords::TooMany)) => {
                text(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {} records", record::RECORDS_MAX))
            }
            Err(reason) if reason.status() == StatusCode::SERVICE_UNAVAILABLE => later(reason.word()),
            Err(reason) => text(reason.status(), reason.word()),
        }
    }

    /// The records of a body that is believed. The body is gone when this ends, before anybody waits for their verdict.
    async fn records(&self, head: &Parts, body: RequestBody) -> Result<Result<pdata::Logs, NoRecords>, Reason> {
        let coding = body::coding(&head.headers)?;
        let limit = usize::try_from(self.checked.settings.max_request_body_size.get()).unwrap_or(usize::MAX);
        let (raw, _held) = body::read_within(body, limit, &self.budget).await?;
        let now = self.clock.wall();
        if let Some(verifier) = &self.checked.verifier {
            verifier.verify(&head.headers, &raw, now)?;
        }
        let permit = self.budget.take(0).map_err(|_| Reason::Overloaded)?;
        let (body, _unpacked) = body::unpack(coding, raw, limit, permit)?;
        Ok(record::records(&self.checked, &self.id, head, &body, now))
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
        second.is_none() && first.is_some_and(|first| same(value.expose().as_bytes(), first.as_bytes()))
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

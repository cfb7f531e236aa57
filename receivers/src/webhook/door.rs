//! Requests and answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pipeline::Clock;
use pipeline::net::{Gates, RequestBody, ResponseBody, Service, full};
use serde::Serialize;

use super::document::decoded;
use super::reason::Reason;
use super::settings::Challenge;
use super::source::{Outcome, Source, Taken, Turned, fit_to_echo};
use super::verify::same;

/// What a sender is told.
#[derive(Default, Serialize)]
struct Answer {
    accepted: usize,
    duplicates: usize,
    /// Whether nothing of it was new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// Events that were not counted, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<&'static str, usize>,
    /// Why the request was refused as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// The usual answers, as [`Answer`] would write them.
const ONE_ACCEPTED: &str = r#"{"accepted":1,"duplicates":0}"#;
const ONE_DUPLICATE: &str = r#"{"accepted":0,"duplicates":1,"duplicate":true}"#;

/// The sources of a receiver, by path.
pub(super) type Routes = HashMap<String, Arc<Source>>;

/// The service for a server: the sources' paths and no other; who may not enter hears of nothing else.
pub(super) fn service(routes: Routes, clock: Clock, gates: &Gates) -> Service {
    let find = move |path: &str| routes.get(path).cloned();
    gates.door(find, move |source, request| {
        let clock = clock.clone();
        // Moved once: what an async function is given stands in its future twice, and a large future costs malloc more than two
        // small pieces.
        let request = Box::new(request);
        async move {
            let began = clock.now();
            let response = answer(&source, request).await;
            source.counts.answered(clock.now().saturating_duration_since(began));
            response
        }
    })
}

async fn answer(source: &Source, request: Box<Request<RequestBody>>) -> Response<ResponseBody> {
    source.counts.requests.add(1);
    let verb = source.plan.settings.method.method();
    if request.method() == Method::GET
        && let Some(challenge) = &source.plan.settings.challenge
        && let Some(query) = &challenge.query
    {
        return match echo(challenge, query, request.uri().query().unwrap_or_default()) {
            Some(text) => plain(text),
            None => refused(source, Reason::Challenge, None),
        };
    }
    if request.method() != verb {
        let mut response = refused(source, Reason::Method, None);
        let asks = source.plan.settings.challenge.as_ref().is_some_and(|challenge| challenge.query.is_some());
        let allowed = if asks { format!("{verb}, GET") } else { verb.to_string() };
        let allowed = HeaderValue::from_str(&allowed).expect("names of methods fit a header");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    match source.take(request).await {
        Ok(Outcome::Taken(taken)) => told(source, &taken),
        Ok(Outcome::Echo(text)) => plain(text),
        Err(Turned { why, after }) => refused(source, why, after),
    }
}

fn told(source: &Source, taken: &Taken) -> Response<ResponseBody> {
    taken.unusable.iter().for_each(|(why, count)| source.counts.refused(*why, *count));
    let Taken { accepted, duplicates, .. } = *taken;
    match (accepted, duplicates, &*taken.unusable) {
        (1, 0, []) => return said(StatusCode::OK, "application/json", ONE_ACCEPTED),
        (0, 1, []) => return said(StatusCode::OK, "application/json", ONE_DUPLICATE),
        _ => {}
    }
    let refused: BTreeMap<_, _> = taken.unusable.iter().map(|(why, count)| (why.word(), *count)).collect();
    let duplicate = accepted == 0 && duplicates > 0;
    json(StatusCode::OK, &Answer { accepted, duplicates, duplicate, refused, error: None })
}

fn refused(source: &Source, why: Reason, after: Option<Duration>) -> Response<ResponseBody> {
    source.counts.refused(why, 1);
    let status = match why {
        Reason::Stale if source.plan.settings.stale == 401 => StatusCode::UNAUTHORIZED,
        why => why.status(),
    };
    let mut answer = Answer::default();
    if status == StatusCode::OK {
        answer.refused.insert(why.word(), 1);
    } else {
        answer.error = Some(why.word());
    }
    let mut response = json(status, &answer);
    if let Some(after) = after {
        let seconds = HeaderValue::from(after.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// What a GET wants to hear; `None` when it may not, or has not asked.
fn echo(challenge: &Challenge, wanted: &str, query: &str) -> Option<String> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (decoded(key)? == name).then(|| decoded(value))
        });
        // Of two values nobody knows which was meant.
        let first = pairs.next()?;
        if pairs.next().is_some() { None } else { first }
    };
    if let Some(name) = &challenge.token_query
        && !same(challenge.token.expose().as_bytes(), value(name)?.as_bytes())
    {
        return None;
    }
    value(wanted).filter(|text| fit_to_echo(text))
}

/// An echo, to the byte: senders compare it.
fn plain(text: String) -> Response<ResponseBody> {
    said(StatusCode::OK, "text/plain; charset=utf-8", text)
}

fn json(status: StatusCode, answer: &Answer) -> Response<ResponseBody> {
    said(status, "application/json", serde_json::to_vec(answer).expect("numbers and words are always written"))
}

fn said(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // What quotes its asker must not be read as a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

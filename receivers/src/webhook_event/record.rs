//! From a request to log records, as the Collector makes them.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use pdata::{Attributes, AttributesBuilder, LogRecord, Logs, Origin, Scope, UnixNanos, Value};
use serde_json::value::RawValue;

use super::settings::Checked;
use crate::webhook::document::decoded;

/// Records of one request at most: a body of line breaks alone would make 20 million.
pub(super) const RECORDS_MAX: usize = 100_000;
/// Parameters of a URL that become attributes of the resource, at most, and the longest of their names and values in bytes.
const PARAMETERS_MAX: usize = 32;
const PARAMETER_BYTES: usize = 256;

/// Why a body makes no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRecords {
    Empty,
    TooMany,
    /// It should be JSON documents, and is not.
    NotJson,
}

/// The records of a request.
pub(super) fn records(
    checked: &Checked,
    id: &str,
    head: &Parts,
    body: &[u8],
    now: UnixNanos,
) -> Result<Logs, NoRecords> {
    // Log bodies are text; what is no UTF-8 is replaced, as everywhere.
    let text = String::from_utf8_lossy(body);
    let pieces = pieces(checked, &text)?;
    let origin = Arc::new(origin(checked, id, head));
    let attributes = attributes(checked, &head.headers);
    let records = pieces.into_iter().map(|piece| LogRecord {
        origin: origin.clone(),
        observed_time: now,
        body: Value::from(piece),
        attributes: attributes.clone(),
        ..LogRecord::default()
    });
    Ok(Logs { records: records.collect() })
}

fn pieces<'a>(checked: &Checked, text: &'a str) -> Result<Vec<&'a str>, NoRecords> {
    let mut pieces = Vec::new();
    if checked.settings.split_logs_at_newline {
        let lines = text.lines().filter(|line| !line.is_empty());
        pieces.extend(lines.take(RECORDS_MAX + 1));
    } else if checked.settings.split_logs_at_json_boundary {
        let documents = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        for document in documents.take(RECORDS_MAX + 1) {
            pieces.push(document.map_err(|_| NoRecords::NotJson)?.get());
        }
    } else if !text.is_empty() {
        pieces.push(text);
    }
    match pieces.len() {
        0 => Err(NoRecords::Empty),
        1..=RECORDS_MAX => Ok(pieces),
        _ => Err(NoRecords::TooMany),
    }
}

fn origin(checked: &Checked, id: &str, head: &Parts) -> Origin {
    let mut resource = AttributesBuilder::default();
    if let (true, Some(query)) = (checked.settings.convert_query_to_resource, head.uri.query()) {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX);
        for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let pair = decoded(name).zip(decoded(value));
            let fits = |text: &String| text.len() <= PARAMETER_BYTES;
            if let Some((name, value)) = pair.filter(|(name, value)| !name.is_empty() && fits(name) && fits(value)) {
                resource.push(&name, &*value);
            }
        }
    }
    let scope = Scope {
        name: "weir/webhook_event".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        attributes: Attributes::from_pairs([("receiver", "webhook_event"), ("source", id)]),
        ..Scope::default()
    };
    Origin { resource: resource.finish(), scope, ..Origin::default() }
}

/// Headers as attributes, each a list of its values. The required one and the signature stay out: they are secrets, or as good as.
fn attributes(checked: &Checked, headers: &HeaderMap) -> Attributes {
    let Some(regex) = &checked.headers else { return Attributes::empty() };
    let signature = checked.settings.hmac_signature.as_ref().map(|hmac| hmac.header.as_str());
    let required = checked.required.as_ref().map(|(name, _)| name.as_str());
    let hidden = |name: &str| {
        name == "authorization" || [required, signature].iter().flatten().any(|other| other.eq_ignore_ascii_case(name))
    };
    let mut builder = AttributesBuilder::default();
    for name in headers.keys().filter(|name| !hidden(name.as_str()) && regex.is_match(name.as_str())) {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| Value::from(&*String::from_utf8_lossy(value.as_bytes()))).collect();
        builder.push(&format!("header.{}", canonical(name.as_str())), &Value::Array(values));
    }
    builder.finish()
}

/// A header's name as Go writes it, which is what the Collector's users know: `X-Event-Id`.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

//! From a body to the JSON documents in it, one for each event.

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::field::trusts;
use super::reason::Reason;
use super::settings::Format;
use crate::events::items;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One JSON document, or an array of them.
    Json,
    /// One a line.
    Lines,
    /// `a=b&c=d`.
    Form,
    /// One event whose attributes stand in headers (CloudEvents, binary mode).
    Binary,
}

/// The documents of a body, in their order.
pub(super) type Documents<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// Events in one request at most.
pub(super) const EVENTS_MAX: usize = 10_000;

/// Pairs of a form at most.
const PAIRS_MAX: usize = 1_000;

impl Kind {
    /// What the body of a request is, by its source's format and its Content-Type.
    pub(super) fn of(format: Format, headers: &HeaderMap) -> Result<Self, Reason> {
        let given = headers.get(header::CONTENT_TYPE).map(|given| given.as_bytes()).unwrap_or_default();
        let essence = given.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match format {
            Format::Json => Ok(Self::Json),
            Format::Ndjson => Ok(Self::Lines),
            Format::Form => Ok(Self::Form),
            Format::Cloudevents if essence.starts_with(b"application/cloudevents") => Ok(Self::Json),
            Format::Cloudevents => Ok(Self::Binary),
            Format::Auto => match &*essence {
                b"" | b"application/json" | b"text/json" => Ok(Self::Json),
                json if json.starts_with(b"application/") && json.ends_with(b"+json") => Ok(Self::Json),
                b"application/x-ndjson" | b"application/ndjson" | b"application/jsonl" => Ok(Self::Lines),
                b"application/x-www-form-urlencoded" => Ok(Self::Form),
                _ => Err(Reason::MediaType),
            },
        }
    }

    /// The documents of a body.
    ///
    /// # Errors
    /// [`Reason::Malformed`], and [`Reason::TooLarge`] for too many.
    pub(super) fn documents<'a>(
        self,
        body: &'a [u8],
        headers: &HeaderMap,
        rules: Rules<'_>,
    ) -> Result<Documents<'a>, Reason> {
        let text = std::str::from_utf8(body).map_err(|_| Reason::Malformed)?.trim_ascii();
        let documents: Documents<'a> = match self {
            Self::Json if text.starts_with('[') => {
                let items = items(text, EVENTS_MAX).map_err(|_| Reason::Malformed)?;
                items.into_iter().map(|item| Cow::Borrowed(item.get())).collect()
            }
            Self::Json => smallvec![Cow::Borrowed(text)],
            Self::Lines => {
                let lines = text.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
                lines.map(Cow::Borrowed).take(EVENTS_MAX + 1).collect()
            }
            Self::Form => smallvec![Cow::Owned(form(text, rules.json_fields)?)],
            Self::Binary => smallvec![Cow::Owned(envelope(text, headers, rules.trusted)?)],
        };
        match documents.len() {
            0 => Err(Reason::Malformed),
            1..=EVENTS_MAX => Ok(documents),
            _ => Err(Reason::TooLarge),
        }
    }
}

/// What a source says about how its bodies are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// Fields of a form that hold JSON.
    pub(super) json_fields: &'a [String],
    /// Headers that may be believed.
    pub(super) trusted: &'a [String],
}

/// A form as a JSON object; a name that stands more than once becomes an array.
fn form(text: &str, json_fields: &[String]) -> Result<String, Reason> {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or(Reason::Malformed)?;
        let value = decoded(value).ok_or(Reason::Malformed)?;
        match pairs.iter().position(|(known, _)| *known == name) {
            Some(at) => pairs[at].1.push(value),
            None if pairs.len() < PAIRS_MAX => pairs.push((name, vec![value])),
            None => return Err(Reason::TooLarge),
        }
    }
    let mut object = String::from("{");
    for (name, values) in &pairs {
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&quoted(name));
        object.push(':');
        match &**values {
            [json] if json_fields.contains(name) => {
                let json: &RawValue = serde_json::from_str(json).map_err(|_| Reason::Malformed)?;
                object.push_str(json.get());
            }
            [value] => object.push_str(&quoted(value)),
            values => {
                let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
                object.push_str(&format!("[{}]", values.join(",")));
            }
        }
    }
    object.push('}');
    Ok(object)
}

/// A CloudEvent in binary mode as it would be in structured mode. Of its attributes only those are taken whose headers are
/// trusted: unlike the body, nobody has signed them.
fn envelope(body: &str, headers: &HeaderMap, trusted: &[String]) -> Result<String, Reason> {
    let mut object = String::from("{");
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        if let (Some(value), None, true) = (value, values.next(), trusts(trusted, name.as_str())) {
            let value = percent_decoded(value, Plus::Stays).ok_or(Reason::Malformed)?;
            object.push_str(&format!("{}:{},", quoted(attribute), quoted(&value)));
        }
    }
    let data: Option<&RawValue> = if body.is_empty() { None } else { serde_json::from_str(body).ok() };
    let data = data.map_or_else(|| quoted(body), |json| json.get().to_owned());
    object.push_str(&format!("\"data\":{data}}}"));
    Ok(object)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a `+` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// A blank, as in forms and queries.
    IsBlank,
    /// Itself.
    Stays,
}

/// A name or value of a form or query. `None` when it is not UTF-8 or has half an escape.
pub(crate) fn decoded(text: &str) -> Option<String> {
    percent_decoded(text, Plus::IsBlank)
}

fn percent_decoded(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus == Plus::IsBlank => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, body: &str) -> Result<Vec<String>, Reason> {
        let json_fields = ["payload".to_owned()];
        let rules = Rules { json_fields: &json_fields, trusted: &[] };
        let documents = kind.documents(body.as_bytes(), &HeaderMap::new(), rules)?;
        Ok(documents.into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn one_document_an_array_and_lines_are_told_apart() {
        assert_eq!(read(Kind::Json, " {\"a\":1}\n").unwrap(), ["{\"a\":1}"]);
        assert_eq!(read(Kind::Json, "[{\"a\":1}, {\"a\":2}]").unwrap(), ["{\"a\":1}", "{\"a\":2}"]);
        assert_eq!(read(Kind::Lines, "{\"a\":1}\r\n\n{\"a\":2}").unwrap(), ["{\"a\":1}", "{\"a\":2}"]);
        for (kind, body) in [(Kind::Json, "[1,"), (Kind::Json, "[]"), (Kind::Lines, "\n\n")] {
            assert_eq!(read(kind, body), Err(Reason::Malformed), "{body:?}");
        }
        assert_eq!(
            Kind::Json.documents(b"\xff", &HeaderMap::new(), Rules { json_fields: &[], trusted: &[] }),
            Err(Reason::Malformed)
        );
    }

    #[test]
    fn too_many_events_are_too_large() {
        let many = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(read(Kind::Json, &many(EVENTS_MAX)).unwrap().len(), EVENTS_MAX);
        assert_eq!(read(Kind::Json, &many(EVENTS_MAX + 1)), Err(Reason::TooLarge));
        assert_eq!(read(Kind::Lines, &"1\n".repeat(EVENTS_MAX + 1)), Err(Reason::TooLarge));
    }

    #[test]
    fn a_form_is_an_object_of_texts() {
        let body = "a=1+2&b=%C3%A9%22&a=3&c&payload=%7B%22x%22%3A1%7D";
        assert_eq!(read(Kind::Form, body).unwrap(), [r#"{"a":["1 2","3"],"b":"é\"","c":"","payload":{"x":1}}"#]);
        for wrong in ["a=%", "a=%4", "a=%zz", "a=%ff", "payload={"] {
            assert_eq!(read(Kind::Form, wrong), Err(Reason::Malformed), "{wrong}");
        }
        let pairs: Vec<_> = (0..=PAIRS_MAX).map(|n| format!("n{n}=1")).collect();
        assert_eq!(read(Kind::Form, &pairs.join("&")), Err(Reason::TooLarge));
    }

    #[test]
    fn of_a_binary_cloud_event_only_trusted_headers_are_taken() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("ce-id", "7"), ("ce-type", "a%20b"), ("ce-source", "/x"), ("other", "y")] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("ce-twice", "1".parse().unwrap());
        headers.append("ce-twice", "2".parse().unwrap());
        let read = |trusted: &str, body: &str| {
            let trusted = [trusted.to_owned()];
            let rules = Rules { json_fields: &[], trusted: &trusted };
            Kind::Binary.documents(body.as_bytes(), &headers, rules).unwrap()[0].clone().into_owned()
        };
        let all: serde_json::Value = serde_json::from_str(&read("ce-*", "{\"n\":1}")).unwrap();
        assert_eq!(all, serde_json::json!({"id": "7", "type": "a b", "source": "/x", "data": {"n": 1}}));
        assert_eq!(read("CE-Id", "plain"), r#"{"id":"7","data":"plain"}"#);
        assert_eq!(read("x", ""), r#"{"data":""}"#);
    }

    #[test]
    fn a_body_is_what_its_content_type_says_unless_the_source_says_more() {
        let of = |format, given: &str| {
            let mut headers = HeaderMap::new();
            if !given.is_empty() {
                headers.insert(header::CONTENT_TYPE, given.parse().unwrap());
            }
            Kind::of(format, &headers)
        };
        assert_eq!(of(Format::Auto, ""), Ok(Kind::Json));
        assert_eq!(of(Format::Auto, "Application/JSON; charset=utf-8"), Ok(Kind::Json));
        assert_eq!(of(Format::Auto, "application/vnd.github+json"), Ok(Kind::Json));
        assert_eq!(of(Format::Auto, "application/x-ndjson"), Ok(Kind::Lines));
        assert_eq!(of(Format::Auto, "application/x-www-form-urlencoded"), Ok(Kind::Form));
        assert_eq!(of(Format::Auto, "text/plain"), Err(Reason::MediaType));
        assert_eq!(of(Format::Json, "text/plain"), Ok(Kind::Json));
        assert_eq!(of(Format::Cloudevents, "application/cloudevents-batch+json"), Ok(Kind::Json));
        assert_eq!(of(Format::Cloudevents, "application/json"), Ok(Kind::Binary));
    }
}

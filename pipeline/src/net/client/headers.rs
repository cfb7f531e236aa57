//! Headers (gRPC: metadata) that go with every request; their values are secrets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use config::{Problems, Secret, Section};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::net::pem::read_bounded;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use tokio::time::Instant;

/// The key `headers`: a map of names and values, or a list of `{name, value}` or `{name, value_file}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(Vec<(Spot, Header)>);

/// Where an entry stands under `headers`.
#[derive(Clone, Debug, PartialEq)]
enum Spot {
    Key,
    Item(usize),
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The header's name.
    name: String,
    /// Its value.
    value: Option<Secret>,
    /// A file with its value, which is read again when it changes; a line end at its end is left out.
    value_file: Option<String>,
}

/// Headers that are ready to be sent.
#[derive(Debug, Default)]
pub struct HeaderSource {
    fixed: Vec<(HeaderName, HeaderValue)>,
    files: Vec<HeaderFile>,
}

#[derive(Debug)]
struct HeaderFile {
    name: HeaderName,
    path: PathBuf,
    /// Never held over an await.
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    value: HeaderValue,
    looked_at: Instant,
    /// Whether the last look found something that could not be used, so that it is told once.
    broken: bool,
}

/// How often at most a file is looked at: a token that was changed is in use within a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most bytes of a header's value in a file; servers take 8 to 64 KiB of all headers together.
const VALUE_MAX: u64 = 64 << 10;

/// What a request's headers are that no user may set: they say how the body is written and where it ends.
const OWN: [&str; 8] = [
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "grpc-encoding",
    "grpc-timeout",
];

impl Headers {
    /// Makes them ready. `path` is where they stand in the section.
    ///
    /// # Errors
    /// Names and values that cannot be sent, files that cannot be read.
    pub fn plan(&self, section: &Section, path: &str) -> Result<HeaderSource, Problems> {
        let (mut source, mut problems) = (HeaderSource::default(), Problems::new());
        for (spot, header) in &self.0 {
            let spot = match spot {
                Spot::Key => format!("{path}[{}]", header.name),
                Spot::Item(index) => format!("{path}[{index}]"),
            };
            if let Err(what) = source.add(header) {
                problems.push(section.error(&spot, what));
            }
        }
        problems.into_result().map(|()| source)
    }
}

impl HeaderSource {
    fn add(&mut self, header: &Header) -> Result<(), String> {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| format!("invalid header name {:?}", header.name))?;
        if OWN.contains(&name.as_str()) {
            return Err(format!("the header {name:?} is set by weir itself"));
        }
        match (&header.value, &header.value_file) {
            (Some(value), None) => self.fixed.push((name, value_of(value.expose())?)),
            (None, Some(path)) => {
                let value = read(Path::new(path))?;
                let current = Mutex::new(Current { value, looked_at: Instant::now(), broken: false });
                self.files.push(HeaderFile { name, path: path.into(), current });
            }
            (Some(_), Some(_)) => return Err(format!("the header {name:?} has both `value` and `value_file`")),
            (None, None) => return Err(format!("the header {name:?} has neither `value` nor `value_file`")),
        }
        Ok(())
    }

    /// Puts them into a request's headers; what was there under the same name is replaced.
    pub fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fixed {
            headers.insert(name, value.clone());
        }
        for file in &self.files {
            headers.insert(&file.name, file.value());
        }
    }
}

impl HeaderFile {
    /// The value as it is on disk. What cannot be read or sent leaves the old one in place, with a warning.
    fn value(&self) -> HeaderValue {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= LOOK_EVERY {
            current.looked_at = Instant::now();
            match read(&self.path) {
                Ok(value) => {
                    current.value = value;
                    current.broken = false;
                }
                Err(reason) if !std::mem::replace(&mut current.broken, true) => {
                    tracing::warn!(header = %self.name, %reason, "header not read again, the old value stays");
                }
                Err(_) => {}
            }
        }
        current.value.clone()
    }
}

fn value_of(text: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "the value holds characters that no header may hold".to_owned())?;
    // Keeps it out of debug output, and out of HTTP/2's compression tables.
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: String| format!("{}: {what}", path.display());
    let bytes = read_bounded(path, VALUE_MAX).map_err(|error| wrong(format!("cannot read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    value_of(text).map_err(wrong)
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of headers, or a list of `{name, value}`")
    }

    fn visit_unit<E>(self) -> Result<Headers, E> {
        Ok(Headers::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some((name, value)) = map.next_entry::<String, Secret>()? {
            headers.0.push((Spot::Key, Header { name, value: Some(value), value_file: None }));
        }
        Ok(headers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some(header) = list.next_element::<Header>()? {
            headers.0.push((Spot::Item(headers.0.len()), header));
        }
        Ok(headers)
    }
}

impl JsonSchema for Headers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        let header = generator.subschema_for::<Header>();
        json_schema!({
            "description": "Headers of every request: a map of names and values, or a list.",
            "anyOf": [
                {"type": "object", "additionalProperties": secret},
                {"type": "array", "items": header},
            ],
        })
    }
}

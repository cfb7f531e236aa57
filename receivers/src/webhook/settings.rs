//! What the user writes, but for metrics and logs.

use std::collections::BTreeMap;

use config::{ByteSize, Duration, Optional, Secret, StringList};
use pipeline::net::{GatesConfig, LimitsConfig, TlsServerConfig};
use pipeline::state::LedgerOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::metric::{Metric, Unit};
use super::term::{Attribute, When};
use super::verify::VerifySettings;
use crate::events::settings::{Dedup, DurabilityWord};

/// Receiver `webhook`: takes events that other systems send over HTTP and counts each of them once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Where to listen, `host:port`. Required.
    pub(super) endpoint: String,
    /// The extension `file_storage` that keeps counters, seen ids and records that wait. Required, unless `durability` is `memory`.
    pub(super) storage: String,
    /// Who sends. At least one.
    pub(super) sources: Vec<Source>,
    /// How repeated events are recognised.
    pub(super) dedup: Dedup,
    /// What a 2xx promises: `durable` (default) survives a power failure, `relaxed` the end of the process, `memory`
    /// neither; it needs no `storage`.
    pub(super) durability: DurabilityWord,
    /// Series at most, 100,000 by default; past it counters and histograms count into one overflow series each.
    pub(super) max_series: usize,
    /// Log records that wait for their export.
    pub(super) spool: Spool,
    /// The name of a counter of what was refused, by `source` and `reason`, beside the events' own metrics. None by default. It
    /// lives in memory: a request that anybody may send costs no write, and a restart begins it anew.
    pub(super) refused_metric: Option<String>,
    /// Attributes of the resource of all series and log records.
    pub(super) resource_attributes: BTreeMap<String, String>,
    /// How often changes are sent to destinations that do not ask, 5s by default. Scrapes ask.
    pub(super) flush_interval: Duration,
    /// Serves HTTPS.
    pub(super) tls: Optional<TlsServerConfig>,
    /// Who may send, for all sources, before anything else is looked at.
    pub(super) gates: Option<GatesConfig>,
    /// How many may connect.
    pub(super) limits: LimitsConfig,
}

/// The key `spool`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Spool {
    /// Bytes that waiting records may take on disk, 64MiB by default; when they do, senders are answered 503.
    pub(super) max_bytes: ByteSize,
}

/// One element of `sources`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Source {
    /// What it is called in telemetry and in the ledger. Required, and never to be changed: ids are kept under it.
    pub(super) name: String,
    /// The path that takes its requests; `/` and the name by default.
    pub(super) path: Option<String>,
    /// The method of its requests, `POST` by default.
    pub(super) method: Verb,
    /// How requests are verified. Only on a loopback endpoint may it be left out.
    pub(super) verify: Option<VerifySettings>,
    /// What a body is; by its Content-Type when left out.
    pub(super) format: Format,
    /// `form`: fields whose text is JSON and is read as such, such as `payload`.
    pub(super) json_fields: StringList,
    /// The largest body, packed and unpacked, 256KiB by default.
    pub(super) max_request_body_size: ByteSize,
    /// Headers that may be used as `header:name` although nobody has signed them. `ce-*` names all that begin so.
    pub(super) trusted_headers: StringList,
    /// The field that an event is known by, or several that are it together. By default the id that the scheme signs; without one
    /// the SHA-256 of the body.
    pub(super) id: StringList,
    /// Sources with the same scope share their ids, so an event that comes through two of them counts once. The name by default.
    pub(super) dedup_scope: Option<String>,
    /// The field that says when an event happened. By default the time that the scheme signs.
    pub(super) time: Option<String>,
    /// What a number in `time` counts: `s` (default), `ms`, `us` or `ns` since 1970. Text may be RFC 3339.
    pub(super) time_unit: Unit,
    /// How far from now an event's time may be. Any by default.
    pub(super) max_age: Option<Duration>,
    /// What a request is answered whose time is too far off: 200 (default), which ends the sender's tries, or 401.
    pub(super) stale: u16,
    /// Requests a second, with a burst of as many; past it 429. No limit by default.
    pub(super) requests_per_second: Option<u32>,
    /// How the sender is shown that somebody listens, when it asks.
    pub(super) challenge: Option<Challenge>,
    /// What is counted.
    pub(super) metrics: Vec<Metric>,
    /// Events as log records. None by default.
    pub(super) logs: Option<Logs>,
}

/// The key `challenge`: `query` or `field`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Challenge {
    /// GET requests are answered with the value of this query parameter, such as `hub.challenge`.
    pub(super) query: Option<String>,
    /// With `query`: the parameter that must hold `token`, such as `hub.verify_token`.
    pub(super) token_query: Option<String>,
    /// With `token_query`: the token that was agreed on with the sender.
    pub(super) token: Secret,
    /// Verified events with this field, and for which `when` holds, are answered with its text and not counted.
    pub(super) field: Option<String>,
    /// With `field`: conditions that must all hold.
    pub(super) when: Vec<When>,
}

/// The key `logs`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Logs {
    /// Conditions that must all hold for a record to be made.
    pub(super) when: Vec<When>,
    /// The field that becomes the body; the whole event by default.
    pub(super) body: Option<String>,
    /// The field with the record's time; the event's time by default.
    pub(super) timestamp: Option<String>,
    /// What a number in `timestamp` counts: `s` (default), `ms`, `us` or `ns` since 1970.
    pub(super) time_unit: Unit,
    /// The field with the severity: `trace`, `debug`, `info`, `notice`, `warn`, `error`, `fatal` and their kin, in any case.
    pub(super) severity: Option<String>,
    /// The field with the event's name.
    pub(super) event_name: Option<String>,
    /// Fields that become attributes.
    pub(super) attributes: Vec<Attribute>,
    /// Attributes that every record gets.
    pub(super) static_attributes: BTreeMap<String, String>,
}

/// The key `method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verb {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
}

/// The key `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// By the request's Content-Type; JSON when it has none.
    #[default]
    Auto,
    /// One JSON object, or an array of them, whatever the Content-Type says.
    Json,
    /// A JSON object a line.
    Ndjson,
    /// `a=b&c=d`, read as an object of texts.
    Form,
    /// CloudEvents 1.0: structured, batched or binary.
    Cloudevents,
}

/// Largest body of a request unless a source says otherwise: Standard Webhooks advises senders to stay below 20 KB.
const BODY_BYTES: u64 = 256 << 10;

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            storage: String::new(),
            sources: Vec::new(),
            dedup: Dedup::default(),
            durability: DurabilityWord::default(),
            max_series: LedgerOptions::default().max_series,
            spool: Spool::default(),
            refused_metric: None,
            resource_attributes: BTreeMap::new(),
            flush_interval: Duration::from_secs(5),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_bytes: ByteSize::from_bytes(64 << 20) }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: None,
            method: Verb::default(),
            verify: None,
            format: Format::default(),
            json_fields: StringList::default(),
            max_request_body_size: ByteSize::from_bytes(BODY_BYTES),
            trusted_headers: StringList::default(),
            id: StringList::default(),
            dedup_scope: None,
            time: None,
            time_unit: Unit::default(),
            max_age: None,
            stale: 200,
            requests_per_second: None,
            challenge: None,
            metrics: Vec::new(),
            logs: None,
        }
    }
}

impl Verb {
    pub(super) const fn method(self) -> http::Method {
        match self {
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
        }
    }
}

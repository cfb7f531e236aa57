//! What the user writes under `pull`.

use std::collections::BTreeMap;

use config::{ByteSize, Duration};
use pipeline::net::client::{Headers, TlsClientConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::preset::Preset;

/// The key `pull`: breakers that do not send, and are asked for their states.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::breaker) struct Pull {
    /// When to ask: by an `interval` (default), or `on_scrape`.
    pub(super) collection: When,
    /// How often each target is asked, 15s by default. Not with `collection: on_scrape`.
    pub(super) collection_interval: Duration,
    /// How long one target may take to answer, 5s by default.
    pub(super) timeout: Duration,
    /// The largest answer, 1MiB by default.
    pub(super) max_response_body_size: ByteSize,
    /// Circuits of one target at most, 1,000 by default; past it the poll fails.
    pub(super) max_circuits: usize,
    /// What an endpoint shows of a target that did not answer: nothing (`omit`, default), or the `last` states.
    pub(super) on_failure: Failure,
    /// Who is asked.
    pub(super) targets: Vec<TargetSettings>,
}

/// One who is asked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TargetSettings {
    /// What `weir_breaker_up{target}` and logs call it; host and port of its `url` by default.
    pub(super) name: String,
    /// What is asked: http:// or https://. Required.
    pub(super) url: String,
    /// What is answered: resilience4j's `actuator` endpoint (default), or `json` of another shape.
    pub(super) format: Format,
    /// Whether transitions are counted: `none` (default), those `observed` between two polls, or the `events` that the actuator keeps.
    pub(super) transitions: Transitions,
    /// Where the actuator keeps events; by default beside `url`.
    pub(super) events_url: String,
    /// Whose states are named; `resilience4j` by default for `actuator`, the receiver's for `json`.
    pub(super) preset: Option<Preset>,
    /// The names of all states, when no preset has them.
    pub(super) states: Vec<String>,
    /// `json`: where names and states stand.
    pub(super) fields: Fields,
    /// `json`: the states that other values stand for, such as `{"true": open, "false": closed}`.
    pub(super) values: BTreeMap<String, String>,
    /// Attributes of all series of this target.
    pub(super) attributes: BTreeMap<String, String>,
    /// Headers of each request, such as Authorization.
    pub(super) headers: Headers,
    /// TLS towards https targets.
    pub(super) tls: TlsClientConfig,
    /// Whether link-local addresses, on which clouds answer the host itself, may be asked.
    pub(super) allow_link_local: bool,
}

/// Where things stand in a document: JSON pointers (`/a/b`) or dotted paths (`a.b`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fields {
    /// The list, or the object, of circuits; empty (default): the whole document.
    pub(super) list: String,
    /// A circuit's name, `name` by default. Empty: its key, in an object of circuits.
    pub(super) name: String,
    /// Its state, `state` by default. Empty: the entry itself.
    pub(super) state: String,
    /// When it entered the state, in seconds or milliseconds since 1970, or as a date. Empty (default): when it was asked.
    pub(super) time: String,
    /// Which process it stands in. Empty (default): none.
    pub(super) instance: String,
}

/// When to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// By an interval of its own.
    #[default]
    Interval,
    /// When an endpoint is scraped.
    OnScrape,
}

/// What is shown of a target that did not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    /// Nothing.
    #[default]
    Omit,
    /// The last states.
    Last,
}

/// What is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// `/actuator/circuitbreakers` of resilience4j in Spring Boot 2 and later.
    #[default]
    Actuator,
    /// Any other document.
    Json,
}

/// Which transitions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transitions {
    /// None.
    #[default]
    None,
    /// A state that is another than at the poll before; what happened between two polls is missed.
    Observed,
    /// The actuator's events of type `STATE_TRANSITION`.
    Events,
}

impl Default for Pull {
    fn default() -> Self {
        Self {
            collection: When::default(),
            collection_interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            max_response_body_size: ByteSize::from_bytes(1 << 20),
            max_circuits: 1000,
            on_failure: Failure::default(),
            targets: Vec::new(),
        }
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            list: String::new(),
            name: "name".to_owned(),
            state: "state".to_owned(),
            time: String::new(),
            instance: String::new(),
        }
    }
}

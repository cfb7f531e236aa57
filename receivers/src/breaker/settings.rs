//! What the user writes.

use config::{ByteSize, Duration, Optional};
use pipeline::net::{GatesConfig, LimitsConfig, TlsServerConfig};
use pipeline::state::LedgerOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::preset::Preset;
use super::pull::Pull;
use crate::events::settings::{Dedup, DurabilityWord};

/// Receiver `breaker`: takes signals of circuit breakers by HTTP and counts each of them once; asks for the states of others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Where to listen, `host:port`. Required without `pull`.
    pub(super) endpoint: String,
    /// The path that takes signals, `/signals` by default.
    pub(super) path: String,
    /// Breakers that do not send and are asked.
    pub(super) pull: Option<Pull>,
    /// The extension `file_storage` that keeps the counters. Required where something is counted, unless `durability` is
    /// `memory`.
    pub(super) storage: String,
    /// Whose states the signals name; `fluxgate` by default. Excludes `states`.
    pub(super) preset: Preset,
    /// The names of all states, when no preset has them.
    pub(super) states: Vec<String>,
    /// How labels name states: as the `library` does (default), or by the `common` names of a preset.
    pub(super) state_names: StateNames,
    /// The circuit of signals that name none.
    pub(super) circuit_name: Option<String>,
    /// Whether series carry the label `instance`. Off by default: one circuit in many processes is one circuit.
    pub(super) instance_label: bool,
    /// How repeated signals are recognised.
    pub(super) dedup: Dedup,
    /// What a 2xx promises: `durable` (default) survives a power failure, `relaxed` the end of the process, `memory`
    /// neither; it needs no `storage`.
    pub(super) durability: DurabilityWord,
    /// Series at most, 100,000 by default; past it transitions count into one overflow series.
    pub(super) max_series: usize,
    /// Whether the time in each state is counted. Off by default.
    pub(super) time_in_state: bool,
    /// Whether the time of the newest transition is shown. Off by default.
    pub(super) last_transition: bool,
    /// Shows how many transitions a circuit has made of late. Off by default.
    pub(super) flapping: Option<Flapping>,
    /// The metrics' names.
    pub(super) metrics: MetricNames,
    /// How often changes are sent to destinations that do not ask, 5s by default. Scrapes ask.
    pub(super) flush_interval: Duration,
    /// The largest body of a request, 1MiB by default.
    pub(super) max_request_body_size: ByteSize,
    /// Serves HTTPS.
    pub(super) tls: Optional<TlsServerConfig>,
    /// Who may send. Without this key everybody may.
    pub(super) gates: Option<GatesConfig>,
    /// How many may connect.
    pub(super) limits: LimitsConfig,
}

/// The key `state_names`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateNames {
    /// The library's own.
    #[default]
    Library,
    /// `closed`, `open`, `half_open`, `metrics_only`, `disabled`, `forced_open`.
    Common,
}

/// The key `flapping`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Flapping {
    /// How far back transitions are counted, 10m by default.
    pub(super) window: Duration,
}

/// The key `metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricNames {
    /// The gauge, `circuit_breaker_state` by default.
    pub(super) state: String,
    /// The counter, `circuit_breaker_state_transition` by default; endpoints for Prometheus append `_total`.
    pub(super) transitions: String,
    /// The counter of seconds, `circuit_breaker_time_in_state` by default; endpoints for Prometheus append `_seconds_total`.
    pub(super) time_in_state: String,
    /// The gauge, `circuit_breaker_last_transition_timestamp` by default; endpoints for Prometheus append `_seconds`.
    pub(super) last_transition: String,
    /// The gauge, `circuit_breaker_recent_transitions` by default.
    pub(super) recent_transitions: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            path: "/signals".to_owned(),
            pull: None,
            storage: String::new(),
            preset: Preset::default(),
            states: Vec::new(),
            state_names: StateNames::default(),
            circuit_name: None,
            instance_label: false,
            dedup: Dedup::default(),
            durability: DurabilityWord::default(),
            max_series: LedgerOptions::default().max_series,
            time_in_state: false,
            last_transition: false,
            flapping: None,
            metrics: MetricNames::default(),
            flush_interval: Duration::from_secs(5),
            max_request_body_size: ByteSize::from_bytes(1 << 20),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for Flapping {
    fn default() -> Self {
        Self { window: Duration::from_secs(600) }
    }
}

impl Default for MetricNames {
    fn default() -> Self {
        let name = |end: &str| format!("circuit_breaker_{end}");
        Self {
            state: name("state"),
            transitions: name("state_transition"),
            time_in_state: name("time_in_state"),
            last_transition: name("last_transition_timestamp"),
            recent_transitions: name("recent_transitions"),
        }
    }
}

//! What the user writes, and what becomes of it.

use std::time::Duration as Span;

use config::{ByteSize, ComponentId, Duration, Optional, Problem, Problems, Section};
use pipeline::net::{Endpoint, Gates, GatesConfig, LimitsConfig, TlsServerConfig};
use pipeline::state::{Durability, LedgerOptions};
use schemars::JsonSchema;
use serde::Deserialize;

use super::preset::Preset;
use super::signal::NAME_BYTES_MAX;

/// Receiver `breaker`: takes signals of circuit breakers by HTTP and counts each of them once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Where to listen, `host:port`. Required.
    pub(super) endpoint: String,
    /// The path that takes signals, `/signals` by default.
    pub(super) path: String,
    /// The extension `file_storage` that keeps the counters. Required.
    pub(super) storage: String,
    /// Whose states the signals name; `fluxgate` by default. Excludes `states`.
    pub(super) preset: Preset,
    /// The names of all states, when no preset has them.
    pub(super) states: Vec<String>,
    /// The circuit of signals that name none.
    pub(super) circuit_name: Option<String>,
    /// Whether series carry the label `instance`. Off by default: one circuit in many processes is one circuit.
    pub(super) instance_label: bool,
    /// How repeated signals are recognised.
    pub(super) dedup: Dedup,
    /// What a 2xx promises: `durable` (default) survives a power failure, `relaxed` the end of the process.
    pub(super) durability: DurabilityWord,
    /// Series at most, 100,000 by default; past it transitions count into one overflow series.
    pub(super) max_series: usize,
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

/// The key `dedup`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dedup {
    /// How long a signal is remembered, 96h by default.
    pub(super) window: Duration,
    /// Bytes that remembered signals may take, 256MiB by default; past it the window shortens.
    pub(super) max_bytes: ByteSize,
}

/// The key `durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DurabilityWord {
    /// An fsync before each answer.
    #[default]
    Durable,
    /// No fsync.
    Relaxed,
}

/// The key `metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricNames {
    /// The gauge, `circuit_breaker_state` by default.
    pub(super) state: String,
    /// The counter, `circuit_breaker_state_transition` by default; endpoints for Prometheus append `_total`.
    pub(super) transitions: String,
}

/// A section that holds together.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) settings: Settings,
    pub(super) storage: ComponentId,
    pub(super) states: Vec<String>,
    pub(super) gates: Gates,
    pub(super) warnings: Problems,
}

/// States at most: each circuit has a series for every state, and may have one for every pair.
const STATES_MAX: usize = 64;

/// The smallest `dedup.max_bytes`: below it the window would be a few seconds under any load.
const DEDUP_BYTES_MIN: u64 = 64 << 10;

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            path: "/signals".to_owned(),
            storage: String::new(),
            preset: Preset::default(),
            states: Vec::new(),
            circuit_name: None,
            instance_label: false,
            dedup: Dedup::default(),
            durability: DurabilityWord::default(),
            max_series: LedgerOptions::default().max_series,
            metrics: MetricNames::default(),
            flush_interval: Duration::from_secs(5),
            max_request_body_size: ByteSize::from_bytes(1 << 20),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for Dedup {
    fn default() -> Self {
        let LedgerOptions { window, max_bytes, .. } = LedgerOptions::default();
        Self { window: Duration::from_secs(window.as_secs()), max_bytes: ByteSize::from_bytes(max_bytes) }
    }
}

impl Default for MetricNames {
    fn default() -> Self {
        Self { state: "circuit_breaker_state".to_owned(), transitions: "circuit_breaker_state_transition".to_owned() }
    }
}

impl Checked {
    /// Decodes and checks a section.
    ///
    /// # Errors
    /// All problems that can be found.
    pub(super) fn of(section: &Section) -> Result<Self, Problems> {
        let settings: Settings = section.decode()?;
        let mut problems = Problems::new();
        settings.check_door(section, &mut problems);
        settings.check_names(section, &mut problems);
        settings.check_bounds(section, &mut problems);
        let states = settings.states(section, &mut problems);
        let storage = settings.storage(section).map_err(|problem| problems.push(problem)).ok();
        let endpoint = settings.endpoint(section).map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, "gates", settings.gates.as_ref());
        let gates = gates.map_err(|more| problems.extend(more)).ok();
        let (Some(storage), Some(endpoint), Some(gates)) = (storage, endpoint, gates) else { return Err(problems) };
        problems.extend(gates.review(section, &endpoint, settings.tls.as_ref()));
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Self { settings, storage, states, gates, warnings: problems })
    }

    pub(super) fn ledger_options(&self) -> LedgerOptions {
        let Settings { durability, dedup, max_series, .. } = &self.settings;
        LedgerOptions {
            durability: match durability {
                DurabilityWord::Durable => Durability::Full,
                DurabilityWord::Relaxed => Durability::Relaxed,
            },
            window: dedup.window.get(),
            max_bytes: dedup.max_bytes.get(),
            max_series: *max_series,
            ..LedgerOptions::default()
        }
    }
}

impl Settings {
    fn endpoint(&self, section: &Section) -> Result<Endpoint, Problem> {
        if self.endpoint.trim().is_empty() {
            return Err(section
                .error("endpoint", "'endpoint' is missing: signals are sent to an address")
                .with_help("write host:port, such as endpoint: localhost:9464"));
        }
        self.endpoint.parse().map_err(|what: String| section.error("endpoint", what))
    }

    fn storage(&self, section: &Section) -> Result<ComponentId, Problem> {
        if self.storage.is_empty() {
            let help = "configure an extension file_storage, list it under service::extensions, and write storage: file_storage";
            let what = "'storage' is missing: counters that are exact need a place on disk";
            return Err(section.error("storage", what).with_help(help));
        }
        self.storage.parse().map_err(|error| section.error("storage", format!("{error}")))
    }

    fn states(&self, section: &Section, problems: &mut Problems) -> Vec<String> {
        if !section.has("states") {
            return self.preset.states().iter().map(|state| (*state).to_owned()).collect();
        }
        if section.has("preset") {
            problems.push(
                section.error("states", "'states' and 'preset' exclude each other: both say which states there are"),
            );
        }
        if !(1..=STATES_MAX).contains(&self.states.len()) {
            let what = format!("'states' has {} names; 1 to {STATES_MAX} would do", self.states.len());
            problems.push(section.error("states", what));
        }
        for (at, state) in self.states.iter().enumerate() {
            let what = match state.as_str() {
                "" => "a state's name is empty".to_owned(),
                long if long.len() > NAME_BYTES_MAX => format!("a state's name is longer than {NAME_BYTES_MAX} bytes"),
                _ if self.states[..at].contains(state) => format!("the state {state:?} is named twice"),
                _ => continue,
            };
            problems.push(section.error(&format!("states.{at}"), what));
        }
        self.states.clone()
    }

    fn check_door(&self, section: &Section, problems: &mut Problems) {
        let clean = self.path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !self.path.starts_with('/') || !clean {
            let what = format!("'path' must be a path that begins with '/', got {:?}", self.path);
            problems.push(section.error("path", what).with_help("such as /signals"));
        }
        problems.extend(self.limits.problems(section, "limits"));
        if let Some(tls) = self.tls.as_ref() {
            problems.extend(tls.problems(section, "tls"));
        }
    }

    fn check_names(&self, section: &Section, problems: &mut Problems) {
        let MetricNames { state, transitions } = &self.metrics;
        for (key, name) in [("metrics.state", state), ("metrics.transitions", transitions)] {
            if name.is_empty() {
                problems.push(section.error(key, "a metric's name must not be empty"));
            }
        }
        if state == transitions {
            problems.push(section.error("metrics", "the gauge and the counter need different names"));
        }
        let fits = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
        if !self.circuit_name.as_ref().is_none_or(fits) {
            let what = format!("'circuit_name' must have 1 to {NAME_BYTES_MAX} bytes");
            problems.push(
                section.error("circuit_name", what).with_help("leave it out when all signals name their circuit"),
            );
        }
    }

    fn check_bounds(&self, section: &Section, problems: &mut Problems) {
        let mut wrong = |key: &str, what: String| problems.push(section.error(key, what));
        if self.dedup.window.is_zero() {
            wrong("dedup.window", "'window' must be longer than 0: every repeated signal would count again".to_owned());
        }
        if self.dedup.max_bytes.get() < DEDUP_BYTES_MIN {
            wrong("dedup.max_bytes", format!("'max_bytes' must be at least {}KiB", DEDUP_BYTES_MIN >> 10));
        }
        if self.max_series == 0 {
            wrong("max_series", "'max_series' must be at least 1: nothing could be counted".to_owned());
        }
        if self.max_request_body_size.get() == 0 {
            wrong(
                "max_request_body_size",
                "'max_request_body_size' must be at least 1: nothing could be sent".to_owned(),
            );
        }
        if self.flush_interval.get() < Span::from_millis(100) {
            wrong("flush_interval", "'flush_interval' must be at least 100ms".to_owned());
        }
    }
}

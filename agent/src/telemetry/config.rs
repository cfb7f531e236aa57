//! The section `service.telemetry` as users write it. Keys and defaults are the Collector's.

use std::collections::BTreeMap;

use config::{Duration, StringList};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The agent's own telemetry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The agent's own logs.
    pub logs: Logs,
    /// The agent's own metrics.
    pub metrics: Metrics,
    /// Accepted for configurations of the Collector; the agent makes no spans.
    pub traces: Option<Value>,
    /// What the agent is called: attributes by name, or `attributes: [{name, value}]`. A null takes a default away.
    pub resource: BTreeMap<String, Value>,
}

/// The agent's own logs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// The least severe level that is shown. Default `info`.
    pub level: LogLevel,
    /// How a line looks. Default `console`.
    pub encoding: Encoding,
    /// Leaves out where in the source a line was written.
    pub disable_caller: bool,
    /// Limits how often the same line is shown.
    pub sampling: Sampling,
    /// `stderr`, `stdout` or files. Default `[stderr]`.
    pub output_paths: StringList,
    /// Fields that every line has.
    pub initial_fields: BTreeMap<String, Value>,
    /// Has no effect.
    pub development: Option<bool>,
    /// Has no effect.
    pub disable_stacktrace: Option<bool>,
    /// Has no effect.
    pub disable_zap_resource: Option<bool>,
    /// Has no effect.
    pub error_output_paths: Option<StringList>,
    /// Has no effect.
    pub processors: Option<Vec<Value>>,
}

/// A level of severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For developers.
    #[serde(alias = "DEBUG", alias = "Debug")]
    Debug,
    /// Life cycle.
    #[default]
    #[serde(alias = "INFO", alias = "Info")]
    Info,
    /// Data may be lost.
    #[serde(alias = "WARN", alias = "Warn")]
    Warn,
    /// Data is being lost.
    #[serde(alias = "ERROR", alias = "Error")]
    Error,
    /// Levels of the Collector above `error`: the agent has nothing to say there.
    #[serde(alias = "DPANIC", alias = "panic", alias = "PANIC", alias = "fatal", alias = "FATAL")]
    Dpanic,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Time, level, caller, message and fields, with tabs between.
    #[default]
    Console,
    /// One JSON object.
    Json,
}

/// How often the same line of one component is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Whether lines are left out at all. Default true.
    pub enabled: bool,
    /// The span in which lines are counted. Default 10s.
    pub tick: Duration,
    /// How many are shown in a span before any is left out. Default 10.
    pub initial: u64,
    /// After that every so many-th is shown; 0 shows none. Default 100.
    pub thereafter: u64,
}

/// The agent's own metrics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `none` switches them off; all other levels show the same. Default `normal`.
    pub level: MetricsLevel,
    /// Where they are shown. Default one Prometheus endpoint at localhost:8888.
    pub readers: Option<Vec<Reader>>,
    /// Short for one Prometheus endpoint: `host:port`.
    pub address: Option<String>,
    /// Accepted at level `detailed`; has no effect.
    pub views: Option<Vec<Value>>,
}

/// How much is shown of the agent's own metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricsLevel {
    /// Nothing.
    #[serde(alias = "None", alias = "NONE")]
    None,
    /// Everything.
    #[serde(alias = "Basic", alias = "BASIC")]
    Basic,
    /// Everything.
    #[default]
    #[serde(alias = "Normal", alias = "NORMAL")]
    Normal,
    /// Everything.
    #[serde(alias = "Detailed", alias = "DETAILED")]
    Detailed,
}

/// One way to read the agent's own metrics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reader {
    /// An endpoint that is scraped.
    pub pull: Option<Pull>,
    /// Not supported: the agent does not push its own metrics.
    pub periodic: Option<Value>,
}

/// An endpoint that is scraped.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pull {
    /// What is served.
    pub exporter: PullExporter,
}

/// What an endpoint serves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullExporter {
    /// The Prometheus text format at `/metrics`.
    pub prometheus: Option<Prometheus>,
}

/// A Prometheus endpoint for the agent's own metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Where to listen. Default localhost.
    pub host: String,
    /// Where to listen. Default 8888.
    pub port: u16,
    /// Leaves out `otel_scope_*` labels. Default true.
    pub without_scope_info: bool,
    /// Leaves out `_total` behind the names of counters. Default true.
    pub without_type_suffix: bool,
    /// Leaves out units behind names. Default true.
    pub without_units: bool,
    /// Attributes of the resource that become labels of every metric. `*` stands for any text.
    pub with_resource_constant_labels: Option<ConstantLabels>,
}

/// Which attributes of the resource become labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConstantLabels {
    /// Names that are taken.
    pub included: Vec<String>,
    /// Names that are not, whatever `included` says.
    pub excluded: Vec<String>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            level: LogLevel::default(),
            encoding: Encoding::default(),
            disable_caller: false,
            sampling: Sampling::default(),
            output_paths: StringList(vec!["stderr".to_owned()]),
            initial_fields: BTreeMap::new(),
            development: None,
            disable_stacktrace: None,
            disable_zap_resource: None,
            error_output_paths: None,
            processors: None,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self { enabled: true, tick: Duration::from_secs(10), initial: 10, thereafter: 100 }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 8888,
            without_scope_info: true,
            without_type_suffix: true,
            without_units: true,
            with_resource_constant_labels: None,
        }
    }
}

//! The section of the configuration, decoded and checked.

use std::collections::BTreeMap;
use std::time::Duration as Span;

use config::{Duration, Optional, Problems, Section};
use pdata::prom::{MetricNamer, Strategy, is_legal_label};
use pipeline::net::{Endpoint, Gates, GatesConfig, LimitsConfig, Timeouts, TlsServerConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::glob::Globs;
use super::labels::LabelRules;
use super::table::{MAX_SERIES, TableRules};

/// Exporter `prometheus`: an endpoint that Prometheus scrapes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen, `host:port`. Required.
    pub endpoint: String,
    /// The path that is served, `/metrics` by default.
    pub path: String,
    /// Put before every metric's name, with an underscore. Empty by default.
    pub namespace: String,
    /// Labels that every series gets, unless it has one of that name.
    pub const_labels: BTreeMap<String, String>,
    /// Whether samples carry the time of their points. Off by default: Prometheus then sees at once when a series has gone.
    pub send_timestamps: bool,
    /// How long a series stays without a new point, 5m by default. Series that a receiver holds stay until it ends them.
    pub metric_expiration: Duration,
    /// Deprecated: resource attributes as labels, all or none. Use `resource_constant_labels`.
    pub resource_to_telemetry_conversion: ResourceConversion,
    /// Which resource attributes become labels of every series. None by default.
    pub resource_constant_labels: Option<ResourceLabels>,
    /// Whether scrapers that ask for OpenMetrics 1.0 get it. On by default; the Collector's default is off.
    pub enable_open_metrics: bool,
    /// Whether to leave out the `otel_scope_…` labels. Off by default.
    pub without_scope_info: bool,
    /// Deprecated: whether names get their unit and type. On by default; ignored beside `translation_strategy`.
    pub add_metric_suffixes: bool,
    /// How names are translated; `UnderscoreEscapingWithSuffixes` by default.
    pub translation_strategy: Option<TranslationStrategy>,
    /// Series at most, 2 million by default. New ones past it are dropped and counted.
    pub max_series: usize,
    /// How long after the start scrapes are answered 503 while a receiver that reads by its own clock has not read once; 10s by
    /// default. A restart then never shows an empty page, on which Prometheus would end all series.
    pub startup_grace: Duration,
    /// Serves HTTPS.
    pub tls: Optional<TlsServerConfig>,
    /// Who may scrape. Without this key everybody may.
    pub gates: Option<GatesConfig>,
    /// How many may connect.
    pub limits: LimitsConfig,
    /// For a request's head, 5s by default.
    pub read_header_timeout: Option<Duration>,
    /// For a request's body, 10s by default.
    pub read_timeout: Option<Duration>,
    /// How long a scraper may take nothing of an answer that waits for it, 30s by default.
    pub write_timeout: Option<Duration>,
    /// How long a connection may stay open between two scrapes. The default is 5m rather than the agent's usual 60s, so that a scraper with
    /// an interval of a minute or more keeps its connection.
    pub idle_timeout: Option<Duration>,
}

/// The key `resource_to_telemetry_conversion`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConversion {
    /// Whether all resource attributes become labels. Off by default.
    pub enabled: bool,
    /// Whether to leave out `service.name`, `service.namespace` and `service.instance.id`, which are in `job` and `instance`
    /// already. Off by default.
    pub exclude_service_attributes: bool,
}

/// The key `resource_constant_labels`. `*` stands for any text, `?` for one character.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceLabels {
    /// Patterns of the attributes to take; all of them when this list is absent or empty.
    pub included: Vec<String>,
    /// Patterns of the attributes to leave out.
    pub excluded: Vec<String>,
}

/// How names are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TranslationStrategy {
    /// Foreign characters become underscores; unit and type are appended.
    UnderscoreEscapingWithSuffixes,
    /// Foreign characters become underscores; nothing is appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names keep their characters; unit and type are appended.
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

/// A section that holds together.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) config: Config,
    pub(super) endpoint: Endpoint,
    pub(super) gates: Gates,
    pub(super) warnings: Problems,
    strategy: Strategy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            path: "/metrics".to_owned(),
            namespace: String::new(),
            const_labels: BTreeMap::new(),
            send_timestamps: false,
            metric_expiration: Duration::from_secs(300),
            resource_to_telemetry_conversion: ResourceConversion::default(),
            resource_constant_labels: None,
            enable_open_metrics: true,
            without_scope_info: false,
            add_metric_suffixes: true,
            translation_strategy: None,
            max_series: MAX_SERIES,
            startup_grace: Duration::from_secs(10),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
            read_header_timeout: None,
            read_timeout: None,
            write_timeout: None,
            idle_timeout: None,
        }
    }
}

impl Checked {
    /// Decodes and checks a section.
    ///
    /// # Errors
    /// All problems that can be found.
    pub(super) fn of(section: &Section) -> Result<Self, Problems> {
        let config: Config = section.decode()?;
        let mut problems = Problems::new();
        let strategy = config.strategy();
        config.check_values(section, strategy, &mut problems);
        problems.extend(config.limits.problems(section, "limits"));
        if let Some(tls) = config.tls.as_ref() {
            problems.extend(tls.problems(section, "tls"));
        }
        let endpoint = config.check_endpoint(section).map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, "gates", config.gates.as_ref());
        let gates = gates.map_err(|more| problems.extend(more)).ok();
        let (Some(endpoint), Some(gates)) = (endpoint, gates) else { return Err(problems) };
        problems.extend(gates.review(section, &endpoint, config.tls.as_ref(), "read what is served there"));
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Self { config, endpoint, gates, warnings: problems, strategy })
    }

    pub(super) fn table_rules(&self) -> TableRules {
        let config = &self.config;
        let expiration = config.metric_expiration.get().as_secs_f64().ceil();
        TableRules {
            namer: MetricNamer::new(self.strategy, &config.namespace),
            labels: LabelRules {
                strategy: self.strategy,
                constants: config.const_labels.clone().into_iter().collect(),
                scope: !config.without_scope_info,
                resource: config.resource_globs(),
            },
            max_series: config.max_series,
            expiration: Some(expiration as u32),
            exemplars: config.enable_open_metrics,
        }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let config = &self.config;
        let or = |written: Option<Duration>, default: Span| written.map_or(default, Duration::get);
        let default = Timeouts::default();
        Timeouts {
            read_header_timeout: or(config.read_header_timeout, default.read_header_timeout),
            read_timeout: or(config.read_timeout, default.read_timeout),
            write_timeout: or(config.write_timeout, default.write_timeout),
            idle_timeout: or(config.idle_timeout, Span::from_secs(300)),
            ..default
        }
    }
}

impl Config {
    fn strategy(&self) -> Strategy {
        match self.translation_strategy {
            Some(TranslationStrategy::UnderscoreEscapingWithSuffixes) => Strategy::UnderscoreEscapingWithSuffixes,
            Some(TranslationStrategy::UnderscoreEscapingWithoutSuffixes) => Strategy::UnderscoreEscapingWithoutSuffixes,
            Some(TranslationStrategy::NoUtf8EscapingWithSuffixes) => Strategy::NoUtf8EscapingWithSuffixes,
            Some(TranslationStrategy::NoTranslation) => Strategy::NoTranslation,
            None if self.add_metric_suffixes => Strategy::UnderscoreEscapingWithSuffixes,
            None => Strategy::UnderscoreEscapingWithoutSuffixes,
        }
    }

    fn resource_globs(&self) -> Globs {
        let all = ["*".to_owned()];
        if let Some(ResourceLabels { included, excluded }) = &self.resource_constant_labels {
            return Globs::new(if included.is_empty() { &all } else { included }, excluded);
        }
        let ResourceConversion { enabled, exclude_service_attributes } = self.resource_to_telemetry_conversion;
        let service = ["service.name", "service.namespace", "service.instance.id"].map(str::to_owned);
        match (enabled, exclude_service_attributes) {
            (false, _) => Globs::default(),
            (true, false) => Globs::new(&all, &[]),
            (true, true) => Globs::new(&all, &service),
        }
    }

    fn check_endpoint(&self, section: &Section) -> Result<Endpoint, config::Problem> {
        if self.endpoint.trim().is_empty() {
            return Err(section
                .error("endpoint", "expecting a non-blank address to run the Prometheus metrics handler")
                .with_help("write host:port, such as endpoint: localhost:9464"));
        }
        self.endpoint.parse().map_err(|what: String| section.error("endpoint", what))
    }

    fn check_values(&self, section: &Section, strategy: Strategy, problems: &mut Problems) {
        let clean_path = self.path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !self.path.starts_with('/') || !clean_path {
            problems.push(
                section
                    .error("path", format!("'path' must be a path that begins with '/', got {:?}", self.path))
                    .with_help("such as /metrics or /api/v1/metrics"),
            );
        }
        if self.max_series == 0 {
            problems.push(section.error("max_series", "'max_series' must be at least 1: nothing could be shown"));
        }
        if self.metric_expiration.is_zero() {
            problems.push(
                section
                    .error(
                        "metric_expiration",
                        "'metric_expiration' must be longer than 0: every series would be gone at once",
                    )
                    .with_help("5m is the default; receivers that hold their series end them themselves"),
            );
        }
        for name in self.const_labels.keys() {
            self.check_const_label(section, strategy, name, problems);
        }
        if section.has("add_metric_suffixes") && self.translation_strategy.is_some() {
            problems.push(section.warning(
                "add_metric_suffixes",
                "'add_metric_suffixes' is deprecated and ignored beside 'translation_strategy'",
            ));
        }
        if section.has("resource_to_telemetry_conversion") && self.resource_constant_labels.is_some() {
            problems.push(section.warning(
                "resource_to_telemetry_conversion",
                "'resource_to_telemetry_conversion' is deprecated and ignored beside 'resource_constant_labels'",
            ));
        }
    }

    fn check_const_label(&self, section: &Section, strategy: Strategy, name: &str, problems: &mut Problems) {
        let path = format!("const_labels.{name}");
        if name.is_empty() || (strategy.escapes() && !is_legal_label(name)) {
            problems.push(
                section
                    .error(&path, format!("{name:?} is not a valid label name"))
                    .with_help("letters, digits and underscores, not beginning with a digit"),
            );
        } else if name.starts_with("__") || matches!(name, "le" | "quantile") {
            problems.push(section.error(
                &path,
                format!("the label name {name:?} is reserved: Prometheus gives it a meaning of its own"),
            ));
        }
    }
}

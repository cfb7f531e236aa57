//! `service.telemetry`, checked.

use config::{Problem, Problems, Section};
use pipeline::Claim;
use serde_json::Value;

use super::config::{Config, Encoding, LogLevel, Logs, Metrics, MetricsLevel, Prometheus, Reader, Sampling};
use crate::plan::Held;

/// The agent's own telemetry, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Logs.
    pub logs: LogSettings,
    /// Where metrics are shown; none at level `none`.
    pub endpoints: Vec<Endpoint>,
    /// What the agent is called: attributes by name.
    pub resource: Vec<(String, String)>,
}

/// How the agent's own logs look and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// The least severe level that is shown; none shows nothing.
    pub level: Option<tracing::Level>,
    /// How a line looks.
    pub encoding: Encoding,
    /// Whether a line says where in the source it was written.
    pub caller: bool,
    /// How often the same line is shown.
    pub sampling: Sampling,
    /// `stderr`, `stdout` or files.
    pub outputs: Vec<String>,
    /// Fields that every line has.
    pub fields: Vec<(String, Value)>,
}

/// A Prometheus endpoint for the agent's own metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// How names and labels look.
    pub style: Prometheus,
    /// The key of the configuration that it comes from, such as `metrics.readers[0]`; empty for the default.
    key: String,
}

impl Settings {
    /// Checks the section. Gives warnings beside the settings.
    ///
    /// # Errors
    /// All problems of the section.
    pub fn plan(section: &Section) -> Result<(Self, Problems), Problems> {
        let config: Config = section.decode()?;
        let mut problems = Problems::default();
        no_effect(section, &config, &mut problems);
        let resource = resource(section, &config, &mut problems);
        let endpoints = endpoints(section, &config.metrics, &mut problems);
        let logs = log_settings(section, config.logs, &mut problems);
        if problems.has_errors() { Err(problems) } else { Ok((Self { logs, endpoints, resource }, problems)) }
    }

    /// The addresses that own telemetry listens on.
    pub(crate) fn claims(&self, section: &Section) -> Vec<Held> {
        let held = |endpoint: &Endpoint| Held {
            claim: Claim::Listen(endpoint.address.clone()),
            place: section.place(&endpoint.key),
            path: section.path().to_owned(),
        };
        self.endpoints.iter().map(held).collect()
    }
}

fn log_settings(section: &Section, logs: Logs, problems: &mut Problems) -> LogSettings {
    if logs.sampling.enabled && logs.sampling.tick.is_zero() {
        problems.push(section.error("logs.sampling.tick", "tick must be longer than 0s"));
    }
    if logs.output_paths.0.is_empty() {
        let problem = section.warning("logs.output_paths", "no output paths: the agent's logs go nowhere");
        problems.push(problem.with_help("the default is [stderr]"));
    }
    let level = match logs.level {
        LogLevel::Debug => Some(tracing::Level::DEBUG),
        LogLevel::Info => Some(tracing::Level::INFO),
        LogLevel::Warn => Some(tracing::Level::WARN),
        LogLevel::Error => Some(tracing::Level::ERROR),
        LogLevel::Dpanic => None,
    };
    LogSettings {
        level,
        encoding: logs.encoding,
        caller: !logs.disable_caller,
        sampling: logs.sampling,
        outputs: logs.output_paths.0,
        fields: logs.initial_fields.into_iter().collect(),
    }
}

/// What is accepted for configurations of the Collector and does nothing here.
fn no_effect(section: &Section, config: &Config, problems: &mut Problems) {
    let logs = &config.logs;
    let keys = [
        ("logs.development", logs.development == Some(true)),
        ("logs.disable_stacktrace", logs.disable_stacktrace == Some(false)),
        ("logs.disable_zap_resource", logs.disable_zap_resource == Some(false)),
        ("logs.error_output_paths", logs.error_output_paths.is_some()),
        ("logs.processors", logs.processors.as_ref().is_some_and(|list| !list.is_empty())),
        ("traces", config.traces.as_ref().is_some_and(|value| !value.is_null())),
        ("resource.schema_url", config.resource.contains_key("schema_url")),
        ("resource.detection/development", config.resource.contains_key("detection/development")),
    ];
    for (key, _) in keys.iter().filter(|(_, written)| *written) {
        problems.push(section.warning(key, format!("{key} has no effect in weir")));
    }
}

fn endpoints(section: &Section, metrics: &Metrics, problems: &mut Problems) -> Vec<Endpoint> {
    if metrics.views.is_some() {
        match metrics.level {
            MetricsLevel::Detailed => problems.push(section.warning("metrics.views", "views have no effect in weir")),
            _ => problems.push(section.error(
                "metrics.views",
                "service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed",
            )),
        }
    }
    if metrics.level == MetricsLevel::None {
        return Vec::new();
    }
    let mut endpoints = Vec::new();
    if let Some(address) = &metrics.address {
        match address_of(address) {
            Ok(address) => endpoints.push(Endpoint::new(address, Prometheus::default(), "metrics.address")),
            Err(message) => problems
                .push(section.error("metrics.address", message).with_help("write host:port, such as localhost:8888")),
        }
    }
    match &metrics.readers {
        None if metrics.address.is_none() => {
            let style = Prometheus::default();
            endpoints.push(Endpoint::new(join(&style.host, style.port), style, ""));
        }
        None => {}
        Some(readers) if readers.is_empty() && metrics.address.is_none() => {
            problems.push(section.error(
                "metrics.readers",
                "collector telemetry metrics reader should exist when metric level is not none",
            ))
        }
        Some(readers) => {
            for (index, reader) in readers.iter().enumerate() {
                match endpoint(section, &format!("metrics.readers[{index}]"), reader) {
                    Ok(endpoint) => endpoints.push(endpoint),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
    endpoints
}

fn endpoint(section: &Section, key: &str, reader: &Reader) -> Result<Endpoint, Problem> {
    if reader.periodic.is_some() {
        let problem = section.error(&format!("{key}.periodic"), "periodic readers are not supported");
        return Err(problem.with_help("scrape the endpoint of a pull reader instead"));
    }
    let prometheus = reader.pull.as_ref().and_then(|pull| pull.exporter.prometheus.as_ref());
    let Some(style) = prometheus else {
        let problem = section.error(key, "a reader needs an exporter");
        return Err(problem.with_help("write pull: {exporter: {prometheus: {host: localhost, port: 8888}}}"));
    };
    Ok(Endpoint::new(join(&style.host, style.port), style.clone(), key))
}

impl Endpoint {
    fn new(address: String, style: Prometheus, key: &str) -> Self {
        Self { address, style, key: key.to_owned() }
    }
}

fn address_of(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("address {text}: missing port in address"))?;
    let port: u16 = port.parse().map_err(|_| format!("address {text}: invalid port {port:?}"))?;
    Ok(join(host.trim_start_matches('[').trim_end_matches(']'), port))
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The attributes of the agent's resource: defaults, then what was written.
fn resource(section: &Section, config: &Config, problems: &mut Problems) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("service.instance.id".to_owned(), instance_id()),
        ("service.name".to_owned(), "weir".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let mut set = |path: &str, name: &str, value: &Value, problems: &mut Problems| {
        attributes.retain(|(known, _)| known != name);
        match value {
            Value::Null => {}
            Value::String(text) => attributes.push((name.to_owned(), text.clone())),
            Value::Bool(_) | Value::Number(_) => attributes.push((name.to_owned(), value.to_string())),
            Value::Array(_) | Value::Object(_) => {
                problems.push(section.error(path, format!("attribute {name:?} must be one value")));
            }
        }
    };
    for (name, value) in &config.resource {
        match (name.as_str(), value) {
            ("schema_url" | "detection/development", _) => {}
            ("attributes", Value::Array(list)) => {
                for (index, item) in list.iter().enumerate() {
                    let path = format!("resource.attributes[{index}]");
                    match item.get("name").and_then(Value::as_str) {
                        Some(name) => set(&path, name, item.get("value").unwrap_or(&Value::Null), problems),
                        None => problems.push(section.error(&path, "an attribute needs a name")),
                    }
                }
            }
            // Names hold dots, so they cannot be walked to: the place is that of the whole resource.
            _ => set("resource", name, value, problems),
        }
    }
    attributes.sort();
    attributes
}

/// A random UUID (version 4), new at each start.
fn instance_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(0_u8);
    let bits = (u128::from(random()) << 64) | u128::from(random());
    let bits = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests;

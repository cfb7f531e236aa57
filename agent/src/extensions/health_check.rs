//! Extension `health_check`: tells orchestrators whether the agent lives and whether it does its work.
//!
//! ```yaml
//! extensions:
//!   health_check:
//!     endpoint: localhost:13133
//!     path: /                  # alive; /livez says the same
//!     response_body:           # instead of the JSON of the Collector
//!       healthy: ok
//!       unhealthy: not ok
//! ```
//!
//! *Alive* (`path` and `/livez`) is 200 as long as the agent answers at all: restart it when this fails. *Ready* (`/readyz`) is 503
//! while the agent starts, until each interval receiver has collected once or ten seconds are over, and while it stops.

use std::sync::Arc;
use std::time::Duration;

use config::{Problems, Section};
use http::{HeaderValue, Response, StatusCode, header};
use pipeline::net::{Listeners, ResponseBody, Server, full, unknown_path};
use pipeline::{BoxFuture, BuildContext, Claim, Factory, Fault, Meters, Plan, Planned, Signals, Stop};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Extension;
use crate::telemetry::endpoint::service;
use crate::time::iso8601_millis;
use crate::vitals::{Readiness, Vitals};

pub(crate) const FACTORY: Factory<dyn Extension> = Factory {
    kind: "health_check",
    aliases: &[],
    about: "Serves whether the agent is alive and whether it is ready.",
    plan,
    schema: || schemars::schema_for!(Config),
};

/// Serves whether the agent is alive and whether it is ready.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Where to listen. Default localhost:13133.
    endpoint: String,
    /// Where the agent says that it is alive, besides `/livez`. Default `/`.
    path: String,
    /// What to answer instead of JSON.
    response_body: Option<Bodies>,
    /// Accepted for configurations of the Collector, where it never worked; has no effect.
    check_collector_pipeline: Option<serde_json::Value>,
}

/// Answers in place of JSON.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Bodies {
    /// When all is well.
    healthy: String,
    /// When not.
    unhealthy: String,
}

/// A checked section.
struct HealthCheckPlan {
    config: Config,
    warnings: Problems,
}

/// The running extension.
struct HealthCheck {
    config: Config,
    listeners: Arc<Listeners>,
    meters: Meters,
    id: String,
}

/// Where the agent says whether it is ready.
const READY: &str = "/readyz";
/// Where the agent says that it is alive, whatever `path` is.
const LIVE: &str = "/livez";

fn plan(section: &Section) -> Planned<dyn Extension> {
    let config: Config = section.decode()?;
    let mut problems = Problems::default();
    if !config.path.starts_with('/') {
        problems.push(section.error("path", "path must start with /"));
    }
    if config.path == READY {
        problems.push(section.error("path", format!("{READY} says whether the agent is ready: choose another path")));
    }
    if let Err(message) = config.endpoint.parse::<pipeline::net::Endpoint>() {
        problems.push(section.error("endpoint", message).with_help("write host:port, such as localhost:13133"));
    }
    if section.has("check_collector_pipeline") {
        problems.push(section.warning("check_collector_pipeline", "check_collector_pipeline has no effect"));
    }
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Box::new(HealthCheckPlan { config, warnings: problems }))
}

impl Plan<dyn Extension> for HealthCheckPlan {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.config.endpoint.clone())]
    }

    fn warnings(&self) -> Problems {
        self.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Extension>, Fault> {
        let BuildContext { id, listeners, meters, .. } = context;
        Ok(Box::new(HealthCheck { config: self.config, listeners, meters, id: id.to_string() }))
    }
}

impl Extension for HealthCheck {
    fn run(self: Box<Self>, vitals: Vitals, stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let lent = self.listeners.lend(&self.config.endpoint).await?;
            let server = Server::new(lent).meters(&self.meters, "extension", &self.id);
            let config = Arc::new(self.config);
            let answer = move |request: &http::Request<_>| answer(&config, request.uri().path(), &vitals);
            server.serve(service(answer), stop).await;
            Ok(())
        })
    }
}

fn answer(config: &Config, path: &str, vitals: &Vitals) -> Response<ResponseBody> {
    let readiness = vitals.readiness();
    let well = match path {
        READY => readiness.missing.is_none(),
        _ if path == LIVE || path == config.path => true,
        _ => return unknown_path(),
    };
    let (kind, body) = match &config.response_body {
        Some(bodies) if well => ("text/plain; charset=utf-8", bodies.healthy.clone()),
        Some(bodies) => ("text/plain; charset=utf-8", bodies.unhealthy.clone()),
        None => ("application/json", json(well, &readiness)),
    };
    let mut response = Response::new(full(body));
    *response.status_mut() = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The Collector's body, and why the agent is not ready when it is not.
fn json(well: bool, readiness: &Readiness) -> String {
    // Go's zero time stands for "not up".
    let (since, uptime) = match readiness.up {
        Some((since, span)) => (iso8601_millis(since), go_duration(span)),
        None => ("0001-01-01T00:00:00Z".to_owned(), String::new()),
    };
    let status = if well { "Server available" } else { "Server not available" };
    let reason = readiness.missing.as_ref().filter(|_| !well);
    let reason = reason.map(|reason| format!(r#","reason":{}"#, serde_json::Value::from(reason.as_str())));
    format!(r#"{{"status":"{status}","upSince":"{since}","uptime":"{uptime}"{}}}"#, reason.unwrap_or_default())
}

/// `1h2m3.5s`, as Go prints a span of time.
fn go_duration(span: Duration) -> String {
    let (whole, fraction) = (span.as_secs(), span.subsec_nanos());
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if whole >= 60 {
        text.push_str(&format!("{minutes}m"));
    }
    let mut seconds = format!("{seconds}.{fraction:09}");
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    text + &seconds + "s"
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: "localhost:13133".to_owned(),
            path: "/".to_owned(),
            response_body: None,
            check_collector_pipeline: None,
        }
    }
}

#[cfg(test)]
mod tests;

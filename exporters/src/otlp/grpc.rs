//! `otlp_grpc`: a unary call per batch.
//!
//! The call is written here, over hyper's HTTP/2, with tonic's statuses: tonic's own client would copy and compress the message again
//! for every try, at its one level.

mod call;
mod endpoint;

use std::sync::Arc;
use std::time::Duration as Span;

use config::{ComponentId, Duration, Optional, Problems, Section, Unsupported};
use http::{HeaderValue, Uri};
use pipeline::{BuildContext, Exporter, Fault, Plan, Planned, Signals};
use schemars::JsonSchema;
use serde::Deserialize;
use tonic::Code;

use self::call::{Rules, Send, base_headers, word};
use self::endpoint::Endpoint;
use super::pack::{Compression, CompressionParams, Form, Packer};
use super::{AuthErrors, KEEP_MAX, Otlp, READ_MAX, guarded, no_compression, tls_warnings};
use crate::delivery::{BreakerSettings, Delivery, DeliverySettings, QueueSettings, RetrySettings};
use pipeline::net::client::{
    Client, ClientSettings, Connector, Dial, HeaderSource, Headers, Pings, Tls, TlsClientConfig, Version, tcp,
};

/// The section of `otlp_grpc`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Where to push, `host:port`. With TLS unless `tls::insecure` is set; `https://` before it forces TLS, `http://` means nothing.
    endpoint: String,
    /// The name to ask for instead of the endpoint's (HTTP/2 `:authority`, and the name in the server's certificate).
    authority: String,
    /// Metadata of every call.
    headers: Headers,
    /// What we are called.
    user_agent: String,
    /// gzip (default), zstd or none.
    compression: Compression,
    /// How hard to compress.
    compression_params: CompressionParams,
    /// How long a try may take, connecting included; 0 means a day. Default 5s.
    timeout: Duration,
    /// TLS towards the server.
    tls: TlsClientConfig,
    /// Pings that find out whether a connection still leads somewhere.
    keepalive: Optional<KeepaliveSettings>,
    /// Which codes are tried again besides those of OTLP, by name, such as INTERNAL.
    retry_codes: Vec<String>,
    /// What becomes of data when the server answers UNAUTHENTICATED or PERMISSION_DENIED: hold (default) or drop.
    auth_errors: AuthErrors,
    /// Whether link-local addresses, on which clouds answer the host itself, may be pushed to.
    allow_link_local: bool,
    /// When a batch is tried again.
    retry_on_failure: RetrySettings,
    /// Where batches wait.
    sending_queue: Optional<QueueSettings>,
    /// The breaker in front of the server.
    circuit_breaker: BreakerSettings,
    #[schemars(skip)]
    balancer_name: Option<String>,
    #[schemars(skip)]
    auth: Unsupported,
    #[schemars(skip)]
    middlewares: Unsupported,
    #[schemars(skip)]
    wait_for_ready: Unsupported,
    #[schemars(skip)]
    read_buffer_size: Unsupported,
    #[schemars(skip)]
    write_buffer_size: Unsupported,
}

/// Keys of the Collector that are told apart from typing mistakes.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("auth", "give the credentials under `headers`; a `value_file` is read again when it changes"),
    ("middlewares", "remove it"),
    ("wait_for_ready", "remove it; a batch waits for a connection as long as `timeout`, and is tried again"),
    ("read_buffer_size", "remove it; buffers are sized by the answer"),
    ("write_buffer_size", "remove it; a request is written from the memory it stands in"),
];

/// The key `keepalive`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct KeepaliveSettings {
    /// After how long without a sign of life a ping is sent. Default 10s, and not less: servers close connections of who pings
    /// more often.
    time: Duration,
    /// How long its answer may take before the connection is closed. Default 10s.
    timeout: Duration,
    /// Whether to ping while no call is on its way. Default false; many servers mind it.
    permit_without_stream: bool,
}

/// A checked section.
pub(super) struct GrpcPlan {
    endpoint: Endpoint,
    /// Scheme and authority of requests.
    base: Uri,
    headers: HeaderSource,
    user_agent: HeaderValue,
    compression: Compression,
    compression_params: CompressionParams,
    client: ClientSettings,
    tls: TlsClientConfig,
    rules: Rules,
    pub(super) dial: Dial,
    delivery: DeliverySettings,
    warnings: Problems,
}

/// The shortest ping interval: gRPC clients go no lower, because servers punish it.
const PING_MIN: Duration = Duration::from_secs(10);

impl Default for KeepaliveSettings {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), timeout: Duration::from_secs(10), permit_without_stream: false }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            authority: String::new(),
            headers: Headers::default(),
            user_agent: String::new(),
            compression: Compression::Gzip,
            compression_params: CompressionParams::default(),
            timeout: Duration::from_secs(5),
            tls: TlsClientConfig::default(),
            keepalive: Optional::Absent,
            retry_codes: Vec::new(),
            auth_errors: AuthErrors::Hold,
            allow_link_local: false,
            retry_on_failure: RetrySettings::default(),
            sending_queue: Optional::Absent,
            circuit_breaker: BreakerSettings::default(),
            balancer_name: None,
            auth: Unsupported,
            middlewares: Unsupported,
            wait_for_ready: Unsupported,
            read_buffer_size: Unsupported,
            write_buffer_size: Unsupported,
        }
    }
}

pub(super) fn plan(section: &Section) -> Planned<dyn Exporter> {
    Ok(Box::new(check(section)?))
}

pub(super) fn check(section: &Section) -> Result<GrpcPlan, Problems> {
    let config: Config = section.decode()?;
    let mut problems = Unsupported::problems(section, &UNSUPPORTED);
    problems.extend(config.compression_params.problems(section, config.compression));
    let balancer = config.balancer_problem(section);
    problems.extend(balancer.clone().filter(config::Problem::is_error));
    let also = config.codes(section, &mut problems);
    let pings = config.pings(section, &mut problems);
    let user_agent = config.agent(section, &mut problems);
    let mut take = |found: Problems| problems.extend(found);
    take(config.tls.problems(section, "tls"));
    let endpoint = config.endpoint(section).map_err(&mut take).ok();
    let headers = config.headers.plan(section, "headers").map_err(&mut take).ok();
    let delivery = DeliverySettings::plan(
        section,
        config.timeout,
        &config.retry_on_failure,
        &config.sending_queue,
        &config.circuit_breaker,
    );
    let delivery = delivery.map_err(take).ok();
    let (Some((endpoint, base)), Some(headers), Some(delivery), Some(user_agent), false) =
        (endpoint, headers, delivery, user_agent, problems.has_errors())
    else {
        return Err(problems);
    };
    let mut warnings = tls_warnings(section, config.tls.insecure_skip_verify);
    warnings.extend(balancer);
    if config.tls.insecure && endpoint.forces_tls {
        let what = "`insecure` does not turn TLS off: https:// before the endpoint forces it";
        warnings.push(section.warning("tls.insecure", what));
    }
    Ok(GrpcPlan {
        endpoint,
        base,
        headers,
        user_agent,
        compression: config.compression,
        compression_params: config.compression_params,
        // One connection carries all calls.
        client: ClientSettings {
            version: Version::Http2(pings),
            max_idle: 1,
            idle_timeout: IDLE,
            read_max: READ_MAX,
            keep_max: KEEP_MAX,
        },
        tls: config.tls,
        rules: Rules { also, auth_errors: config.auth_errors },
        dial: tcp(config.allow_link_local),
        delivery,
        warnings,
    })
}

/// How long a connection without calls is kept: what gRPC clients do.
const IDLE: Span = Span::from_secs(30 * 60);

impl Config {
    fn endpoint(&self, section: &Section) -> Result<(Endpoint, Uri), Problems> {
        let endpoint: Endpoint = self.endpoint.parse().map_err(|what: String| {
            section.error("endpoint", what).with_help("write host:port, as in localhost:4317 or otlp.example.com:4317")
        })?;
        if let Some(problem) = guarded(section, "endpoint", &endpoint.host, self.allow_link_local) {
            return Err(problem.into());
        }
        let secure = endpoint.forces_tls || !self.tls.insecure;
        let (key, authority) = if self.authority.is_empty() {
            ("endpoint", endpoint.authority())
        } else {
            ("authority", self.authority.clone())
        };
        let base =
            Uri::builder().scheme(if secure { "https" } else { "http" }).authority(authority).path_and_query("/");
        base.build()
            .map(|base| (endpoint, base))
            .map_err(|_| section.error(key, format!("{key:?} is no name of a host")).into())
    }

    fn balancer_problem(&self, section: &Section) -> Option<config::Problem> {
        match self.balancer_name.as_deref() {
            None | Some("" | "pick_first") => None,
            Some("round_robin") => {
                let what = "`round_robin` is not supported: all calls go to the first address that answers";
                Some(section.warning("balancer_name", what))
            }
            Some(other) => Some(section.error("balancer_name", format!("invalid balancer_name: {other}"))),
        }
    }

    fn codes(&self, section: &Section, problems: &mut Problems) -> Vec<Code> {
        let mut codes = Vec::new();
        for (index, name) in self.retry_codes.iter().enumerate() {
            match (1..=16).map(Code::from_i32).find(|code| word(*code).eq_ignore_ascii_case(name)) {
                Some(code) => codes.push(code),
                None => {
                    let what = format!("{name:?} is no gRPC code of an error");
                    problems.push(
                        section
                            .error(&format!("retry_codes[{index}]"), what)
                            .with_help("write it as in INTERNAL or UNKNOWN"),
                    );
                }
            }
        }
        codes
    }

    fn pings(&self, section: &Section, problems: &mut Problems) -> Option<Pings> {
        let settings = match &self.keepalive {
            Optional::Disabled => return None,
            written => written.as_ref().cloned().unwrap_or_default(),
        };
        if settings.time < PING_MIN {
            problems.push(section.error(
                "keepalive.time",
                "`time` must be at least 10s: servers close connections of who pings more often",
            ));
        }
        if settings.timeout.is_zero() {
            problems.push(section.error("keepalive.timeout", "`timeout` must be positive"));
        }
        Some(Pings {
            every: settings.time.get(),
            timeout: settings.timeout.get(),
            while_idle: settings.permit_without_stream,
        })
    }

    fn agent(&self, section: &Section, problems: &mut Problems) -> Option<HeaderValue> {
        let text = if self.user_agent.is_empty() { super::USER_AGENT } else { &self.user_agent };
        let value = HeaderValue::from_str(text).ok();
        if value.is_none() {
            problems.push(section.error("user_agent", "holds characters that no header may hold"));
        }
        value
    }
}

impl Plan<dyn Exporter> for GrpcPlan {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn storage(&self) -> Option<ComponentId> {
        self.delivery.storage()
    }

    fn warnings(&self) -> Problems {
        self.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Exporter>, Fault> {
        Ok(Box::new(self.ready(&context)?))
    }
}

impl GrpcPlan {
    #[cfg(test)]
    pub(super) fn scheme(&self) -> &str {
        self.base.scheme_str().unwrap_or_default()
    }

    pub(super) fn ready(self, context: &BuildContext) -> Result<Otlp, Fault> {
        let secure = self.base.scheme_str() == Some("https");
        let tls = secure.then(|| Tls::new(&self.tls, b"h2")).transpose();
        let tls = tls.map_err(|wrong| Fault::new("cannot set up TLS").caused_by(wrong))?.map(Arc::new);
        let connector = Connector::new(self.dial, tls).to(&self.endpoint.host, self.endpoint.port);
        let packer = Packer::new(self.compression, &self.compression_params, Form::Message).map_err(no_compression)?;
        let headers = base_headers(self.user_agent, self.delivery.timeout);
        let client = Client::new(connector, self.client);
        let send = Send::new(client, &self.base, headers, self.headers, self.rules);
        let name = context.id.to_string();
        let delivery = Delivery::new(&self.delivery, send, &context.meters, &context.clock, &name);
        Otlp::new(packer, delivery, &self.delivery, context)
    }
}

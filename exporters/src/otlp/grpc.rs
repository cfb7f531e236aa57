//! `otlp_grpc`: a unary call per batch.
//!
//! The call is written here, over hyper's HTTP/2, with tonic's statuses: tonic's own client would copy and compress the message again
//! for every try, at its one level. A unary call is one frame out, one frame and trailers back
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

mod endpoint;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration as Span;

use bytes::Bytes;
use config::{Duration, Optional, Problems, Section, Signal};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use pdata::otlp::{decode_response, decode_status};
use pipeline::{BoxFuture, BuildContext, Exporter, Fault, Plan, Planned, Signals};
use schemars::JsonSchema;
use serde::Deserialize;
use tonic::{Code, Status};
use tower::Service;

use self::endpoint::Endpoint;
use super::pack::{Compression, CompressionParams, Packer};
use super::{AuthErrors, Otlp, guarded, tls_warnings};
use crate::delivery::client::{
    Answer, Client, ClientSettings, Connector, Dial, HeaderSource, Headers, Pings, Tls, TlsClientConfig, Version, tcp,
};
use crate::delivery::{
    BreakerSettings, Delivery, DeliverySettings, Miss, Parcel, QueueSettings, Reason, RetrySettings, Taken,
    Unsupported, short,
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

/// What codes mean, besides the specification.
#[derive(Clone, Debug)]
struct Rules {
    also: Vec<Code>,
    auth_errors: AuthErrors,
}

/// Makes tries.
#[derive(Clone)]
struct Send(Arc<Sender>);

struct Sender {
    client: Client,
    metrics: Uri,
    logs: Uri,
    base: HeaderMap,
    headers: HeaderSource,
    rules: Rules,
}

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The most bytes of a status' details that are looked at (rule S2 of the project's security rules): a RetryInfo has some dozen.
const DETAILS_MAX: usize = 8 << 10;
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
    take(config.tls.problems(section));
    let endpoint = config.endpoint(section).map_err(&mut take).ok();
    let headers = config.headers.plan(section).map_err(&mut take).ok();
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
        client: ClientSettings { version: Version::Http2(pings), max_idle: 1, idle_timeout: IDLE },
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
        let endpoint: Endpoint = self.endpoint.parse().map_err(|what: String| section.error("endpoint", what))?;
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
        Signals::METRICS.with(Signals::LOGS)
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
        let packer = Packer::new(self.compression, &self.compression_params, true)
            .map_err(|error| Fault::new("cannot set up compression").caused_by(error))?;
        let send = Send(Arc::new(Sender {
            client: Client::new(connector, self.client),
            metrics: path_under(&self.base, METRICS),
            logs: path_under(&self.base, LOGS),
            base: base_headers(self.user_agent, self.compression, self.delivery.timeout),
            headers: self.headers,
            rules: self.rules,
        }));
        let intake = self.delivery.intake();
        let name = context.id.to_string();
        let delivery = Delivery::new(&self.delivery, send, &context.meters, &context.clock, &name);
        Ok(Otlp { packer: Arc::new(packer), delivery, intake, clock: context.clock.clone() })
    }
}

/// What every call carries.
fn base_headers(user_agent: HeaderValue, compression: Compression, timeout: Span) -> HeaderMap {
    let mut base = HeaderMap::new();
    base.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    base.insert(TE, HeaderValue::from_static("trailers"));
    base.insert(USER_AGENT, user_agent);
    // Answers are a few bytes: nothing is gained by their compression, and bombs are lost.
    base.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    if let Some(name) = compression.name() {
        base.insert("grpc-encoding", HeaderValue::from_static(name));
    }
    // Eight digits at most.
    let millis = timeout.as_millis().clamp(1, 99_999_999);
    base.insert("grpc-timeout", HeaderValue::from_str(&format!("{millis}m")).expect("digits and a letter"));
    base
}

fn path_under(base: &Uri, path: &'static str) -> Uri {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    Uri::from_parts(parts).expect("a whole URI with another path is whole")
}

impl Service<Parcel> for Send {
    type Response = Taken;
    type Error = Miss;
    type Future = BoxFuture<'static, Result<Taken, Miss>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, parcel: Parcel) -> Self::Future {
        let sender = self.0.clone();
        Box::pin(async move { sender.send(parcel).await })
    }
}

impl Sender {
    async fn send(&self, parcel: Parcel) -> Result<Taken, Miss> {
        let uri = match parcel.signal {
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
            // The plan's signals keep pipelines of traces away.
            Signal::Traces => return Err(Miss::Reject { why: "traces are not carried".to_owned() }),
        };
        let mut request = Request::new(Full::<Bytes>::new(parcel.body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.base.clone();
        self.headers.put(request.headers_mut());
        self.rules.judge(self.client.send(request).await?)
    }
}

impl Rules {
    /// What an answer means (OTLP/gRPC, "Failures").
    fn judge(&self, mut answer: Answer) -> Result<Taken, Miss> {
        if answer.too_large {
            return Err(Miss::Reject { why: "the answer has more than 4 MiB".to_owned() });
        }
        let Some((status, after)) = status_of(&mut answer) else {
            // A stream that ends without a status: whoever sent it went away in the middle.
            return Err(Miss::retry(Reason::Connection, None, "the server ended the call without a status"));
        };
        let why = || format!("rpc error: code = {}: {}", word(status.code()), short(status.message()));
        match status.code() {
            Code::Ok => Ok(taken(&answer)),
            Code::Unauthenticated | Code::PermissionDenied if self.auth_errors == AuthErrors::Hold => {
                Err(Miss::Held { why: why() })
            }
            Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange | Code::DataLoss => {
                Err(Miss::retry(Reason::Unavailable, after, why()))
            }
            Code::Unavailable => {
                let reason = if after.is_some() { Reason::Throttled } else { Reason::Unavailable };
                Err(Miss::retry(reason, after, why()))
            }
            // Without RetryInfo it says that the request is too large, and will be the next time too.
            Code::ResourceExhausted if after.is_some() => Err(Miss::retry(Reason::Throttled, after, why())),
            code if self.also.contains(&code) => Err(Miss::retry(Reason::Unavailable, after, why())),
            _ => Err(Miss::Reject { why: why() }),
        }
    }
}

/// The status of a call, and the delay in its details; from the trailers, or from the headers of a call that ended at once.
fn status_of(answer: &mut Answer) -> Option<(Status, Option<Span>)> {
    let in_headers = answer.headers.contains_key(GRPC_STATUS);
    let headers = if in_headers { &mut answer.headers } else { answer.trailers.get_or_insert_default() };
    // Base64 is a third longer.
    if headers.get(GRPC_DETAILS).is_some_and(|details| details.len() > DETAILS_MAX * 4 / 3) {
        headers.remove(GRPC_DETAILS);
    }
    match Status::from_header_map(headers) {
        Some(status) => {
            let after = decode_status(status.details()).ok().and_then(|details| details.retry_after);
            Some((status, after))
        }
        None if answer.status == StatusCode::OK => None,
        None => {
            let code = code_of(answer.status);
            let message = format!("HTTP status {} in place of a gRPC status", answer.status.as_u16());
            Some((Status::new(code, message), None))
        }
    }
}

/// What a proxy's answer means that speaks no gRPC
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// What a server that took the request says of it: one frame, not compressed, because we said that we take no other.
fn taken(answer: &Answer) -> Taken {
    let [0, a, b, c, d, message @ ..] = answer.kept.as_slice() else { return Taken::default() };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    let partial = message.get(..length).and_then(|message| decode_response(message).ok()).unwrap_or_default();
    Taken { rejected: partial.rejected, message: partial.message }
}

/// A code's name as the specification writes it.
const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

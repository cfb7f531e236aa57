//! `otlp_http`: a POST per batch.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration as Span;

use bytes::Bytes;
use config::{ComponentId, Duration, Optional, Problem, Problems, Section, Signal, Unsupported};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use pdata::UnixNanos;
use pdata::otlp::{NotJson, decode_response, decode_status, response_from_json, status_from_json};
use pipeline::{BoxFuture, BuildContext, Clock, Exporter, Fault, Plan, Planned, Signals};
use schemars::JsonSchema;
use serde::Deserialize;
use tower::Service;

use super::pack::{Compression, CompressionParams, Form, Packer, name};
use super::{AuthErrors, KEEP_MAX, Otlp, READ_MAX, guarded, no_compression, tls_warnings};
use crate::delivery::{
    BreakerSettings, Delivery, DeliverySettings, Miss, Parcel, QueueSettings, Reason, RetrySettings, Taken, short,
};
use pipeline::net::client::{
    Answer, Client, ClientSettings, Connector, Dial, HeaderSource, Headers, Tls, TlsClientConfig, Version, tcp,
};

/// The section of `otlp_http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Where to push; `/v1/metrics`, `/v1/logs` and `/v1/traces` are put behind it.
    endpoint: String,
    /// Where to push metrics, as it stands.
    metrics_endpoint: String,
    /// Where to push logs, as it stands.
    logs_endpoint: String,
    /// Where to push traces, as it stands.
    traces_endpoint: String,
    /// Headers of every request.
    headers: Headers,
    /// In which form: proto (default), or json, for servers and proxies that take nothing else.
    encoding: Option<String>,
    /// gzip (default), zstd or none.
    compression: Compression,
    /// How hard to compress.
    compression_params: CompressionParams,
    /// How long a try may take, connecting and reading the answer included; 0 means a day. Default 30s.
    timeout: Duration,
    /// TLS towards `https` endpoints.
    tls: TlsClientConfig,
    /// How long an idle connection is kept. Default 90s.
    idle_conn_timeout: Duration,
    /// Idle connections that are kept. `num_consumers` by default.
    max_idle_conns_per_host: Option<usize>,
    /// Whether each request gets a connection of its own.
    disable_keep_alives: bool,
    /// Which statuses are tried again besides 429, 502, 503 and 504.
    retry_status_codes: Vec<u16>,
    /// What becomes of data when the destination answers 401 or 403: hold (default) or drop.
    auth_errors: AuthErrors,
    /// Whether link-local addresses, on which clouds answer the host itself, may be pushed to.
    allow_link_local: bool,
    /// When a batch is tried again.
    retry_on_failure: RetrySettings,
    /// Where batches wait.
    sending_queue: Optional<QueueSettings>,
    /// The breaker in front of the destination.
    circuit_breaker: BreakerSettings,
    #[schemars(skip)]
    profiles_endpoint: Unsupported,
    #[schemars(skip)]
    auth: Unsupported,
    #[schemars(skip)]
    proxy_url: Unsupported,
    #[schemars(skip)]
    middlewares: Unsupported,
    #[schemars(skip)]
    cookies: Unsupported,
    #[schemars(skip)]
    read_buffer_size: Unsupported,
    #[schemars(skip)]
    write_buffer_size: Unsupported,
    #[schemars(skip)]
    max_idle_conns: Unsupported,
    #[schemars(skip)]
    max_conns_per_host: Unsupported,
    #[schemars(skip)]
    http2_read_idle_timeout: Unsupported,
    #[schemars(skip)]
    http2_ping_timeout: Unsupported,
    #[schemars(skip)]
    force_attempt_http2: Unsupported,
}

/// Keys of the Collector that are told apart from typing mistakes.
const UNSUPPORTED: [(&str, &str); 12] = [
    ("profiles_endpoint", "profiles are not carried"),
    ("auth", "give the credentials under `headers`; a `value_file` is read again when it changes"),
    ("proxy_url", "connect directly, or through a proxy that needs no client support"),
    ("middlewares", "remove it"),
    ("cookies", "remove it"),
    ("read_buffer_size", "remove it; buffers are sized by the answer"),
    ("write_buffer_size", "remove it; a request is written from the memory it stands in"),
    ("max_idle_conns", "use `max_idle_conns_per_host`"),
    ("max_conns_per_host", "use `sending_queue.num_consumers`: each consumer uses one connection"),
    ("http2_read_idle_timeout", "remove it; HTTP/1.1 is spoken"),
    ("http2_ping_timeout", "remove it; HTTP/1.1 is spoken"),
    ("force_attempt_http2", "remove it; HTTP/1.1 is spoken"),
];

/// A checked section.
pub(super) struct HttpPlan {
    addresses: Addresses,
    headers: HeaderSource,
    form: Form,
    compression: Compression,
    compression_params: CompressionParams,
    client: ClientSettings,
    tls: TlsClientConfig,
    rules: Rules,
    pub(super) dial: Dial,
    delivery: DeliverySettings,
    warnings: Problems,
}

/// Where to push, by signal; nothing for signals without an endpoint.
#[derive(Clone, Debug)]
struct Addresses([Option<Uri>; SIGNALS.len()]);

/// The signals in the order of [`Addresses`].
const SIGNALS: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

/// What answers mean, besides the specification.
#[derive(Clone, Debug)]
struct Rules {
    also: Vec<u16>,
    auth_errors: AuthErrors,
}

/// Makes tries.
#[derive(Clone)]
struct Send(Arc<Sender>);

struct Sender {
    client: Client,
    addresses: Addresses,
    /// What every request carries.
    base: HeaderMap,
    headers: HeaderSource,
    rules: Rules,
    clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            metrics_endpoint: String::new(),
            logs_endpoint: String::new(),
            traces_endpoint: String::new(),
            headers: Headers::default(),
            encoding: None,
            compression: Compression::Gzip,
            compression_params: CompressionParams::default(),
            timeout: Duration::from_secs(30),
            tls: TlsClientConfig::default(),
            idle_conn_timeout: Duration::from_secs(90),
            max_idle_conns_per_host: None,
            disable_keep_alives: false,
            retry_status_codes: Vec::new(),
            auth_errors: AuthErrors::Hold,
            allow_link_local: false,
            retry_on_failure: RetrySettings::default(),
            sending_queue: Optional::Absent,
            circuit_breaker: BreakerSettings::default(),
            profiles_endpoint: Unsupported,
            auth: Unsupported,
            proxy_url: Unsupported,
            middlewares: Unsupported,
            cookies: Unsupported,
            read_buffer_size: Unsupported,
            write_buffer_size: Unsupported,
            max_idle_conns: Unsupported,
            max_conns_per_host: Unsupported,
            http2_read_idle_timeout: Unsupported,
            http2_ping_timeout: Unsupported,
            force_attempt_http2: Unsupported,
        }
    }
}

pub(super) fn plan(section: &Section) -> Planned<dyn Exporter> {
    Ok(Box::new(check(section)?))
}

pub(super) fn check(section: &Section) -> Result<HttpPlan, Problems> {
    let config: Config = section.decode()?;
    let mut problems = Unsupported::problems(section, &UNSUPPORTED);
    let addresses = config.addresses(section, &mut problems);
    problems.extend(config.compression_params.problems(section, config.compression));
    problems.extend(config.tls.problems(section, "tls"));
    let form = config.form(section).map_err(|problem| problems.push(problem)).ok();
    for (index, code) in config.retry_status_codes.iter().enumerate() {
        if !(400..600).contains(code) {
            let what = format!("{code} is no status of an error: write 400 to 599");
            problems.push(section.error(&format!("retry_status_codes[{index}]"), what));
        }
    }
    let mut take = |found: Problems| problems.extend(found);
    let headers = config.headers.plan(section, "headers").map_err(&mut take).ok();
    let delivery = DeliverySettings::plan(
        section,
        config.timeout,
        &config.retry_on_failure,
        &config.sending_queue,
        &config.circuit_breaker,
    );
    let delivery = delivery.map_err(take).ok();
    // Told once for all signals.
    problems.sort();
    let (Some(headers), Some(delivery), Some(form), false) = (headers, delivery, form, problems.has_errors()) else {
        return Err(problems);
    };
    let mut warnings = tls_warnings(section, config.tls.insecure_skip_verify);
    if config.tls.insecure && addresses.secure() {
        let what = "`insecure` does not turn TLS off here: the scheme of the endpoint decides, and it is https";
        warnings.push(section.warning("tls.insecure", what));
    }
    let kept = config.max_idle_conns_per_host.unwrap_or(delivery.queue.num_consumers);
    Ok(HttpPlan {
        addresses,
        headers,
        form,
        compression: config.compression,
        compression_params: config.compression_params,
        client: ClientSettings {
            version: Version::Http1,
            max_idle: if config.disable_keep_alives { 0 } else { kept },
            idle_timeout: config.idle_conn_timeout.get(),
            read_max: READ_MAX,
            keep_max: KEEP_MAX,
        },
        tls: config.tls,
        rules: Rules { also: config.retry_status_codes, auth_errors: config.auth_errors },
        dial: tcp(config.allow_link_local),
        delivery,
        warnings,
    })
}

impl Addresses {
    fn of(&self, signal: Signal) -> Option<&Uri> {
        let at = SIGNALS.iter().position(|known| *known == signal)?;
        self.0[at].as_ref()
    }

    /// Whether TLS is spoken to one of them.
    fn secure(&self) -> bool {
        self.0.iter().flatten().any(|uri| uri.scheme_str() == Some("https"))
    }
}

impl Config {
    fn addresses(&self, section: &Section, problems: &mut Problems) -> Addresses {
        let own = [&self.metrics_endpoint, &self.logs_endpoint, &self.traces_endpoint];
        if self.endpoint.is_empty() && own.iter().all(|written| written.is_empty()) {
            problems.push(section.error("endpoint", "at least one endpoint must be specified"));
        }
        let mut signals = SIGNALS.iter().zip(own);
        Addresses(std::array::from_fn(|_| {
            let (signal, own) = signals.next()?;
            let signal = signal.as_str();
            let found = self.endpoint_of(section, &format!("{signal}_endpoint"), own, signal)?;
            found.map_err(|problem| problems.push(problem)).ok()
        }))
    }

    /// The address for a signal; nothing when none is written.
    fn endpoint_of(&self, section: &Section, key: &str, own: &str, signal: &str) -> Option<Result<Uri, Problem>> {
        let (key, text) = match (own, self.endpoint.as_str()) {
            ("", "") => return None,
            ("", base) => ("endpoint", format!("{}/v1/{signal}", base.trim_end_matches('/'))),
            (own, _) => (key, own.to_owned()),
        };
        Some(self.address(section, key, &text))
    }

    fn address(&self, section: &Section, key: &str, text: &str) -> Result<Uri, Problem> {
        let wrong = |what: &str| section.error(key, format!("{key:?} {what}"));
        let example = "write it as in http://localhost:4318 or https://otlp.example.com";
        let no_scheme = || wrong("must be a URL with a scheme").with_help(example);
        let uri: Uri = text.parse().map_err(|_| match text.contains("://") {
            true => wrong("is no URL").with_help(example),
            false => no_scheme(),
        })?;
        let authority = uri.authority().ok_or_else(no_scheme)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("must begin with http:// or https://").with_help(example));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("holds credentials").with_help("put them under `headers`, where they are kept secret"));
        }
        match guarded(section, key, authority.host(), self.allow_link_local) {
            Some(problem) => Err(problem),
            None => Ok(uri),
        }
    }

    fn form(&self, section: &Section) -> Result<Form, Problem> {
        match self.encoding.as_deref() {
            None | Some("proto") => Ok(Form::Protobuf),
            Some("json") => Ok(Form::Json),
            Some(other) => {
                let what = format!("invalid encoding type: {other}");
                Err(section.error("encoding", what).with_help("write \"proto\" or \"json\""))
            }
        }
    }
}

impl Plan<dyn Exporter> for HttpPlan {
    fn signals(&self) -> Signals {
        let carried = SIGNALS.into_iter().filter(|signal| self.addresses.of(*signal).is_some());
        carried.map(Signals::from).fold(Signals::NONE, Signals::with)
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

impl HttpPlan {
    pub(super) fn ready(self, context: &BuildContext) -> Result<Otlp, Fault> {
        let tls = self.addresses.secure().then(|| Tls::new(&self.tls, b"http/1.1")).transpose();
        let tls = tls.map_err(|wrong| Fault::new("cannot set up TLS").caused_by(wrong))?.map(Arc::new);
        let mut base = HeaderMap::new();
        base.insert(CONTENT_TYPE, HeaderValue::from_static(if self.form == Form::Json { JSON } else { PROTOBUF }));
        base.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        let packer = Packer::new(self.compression, &self.compression_params, self.form).map_err(no_compression)?;
        let send = Send(Arc::new(Sender {
            client: Client::new(Connector::new(self.dial, tls), self.client),
            addresses: self.addresses,
            base,
            headers: self.headers,
            rules: self.rules,
            clock: context.clock.clone(),
        }));
        let name = context.id.to_string();
        let delivery = Delivery::new(&self.delivery, send, &context.meters, &context.clock, &name);
        Otlp::new(packer, delivery, &self.delivery, context)
    }
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
        let Some(uri) = self.addresses.of(parcel.signal) else {
            // The plan's signals keep pipelines of other signals away.
            return Err(Miss::Reject { why: format!("no endpoint for {:?}", parcel.signal) });
        };
        let mut request = Request::new(Full::<Bytes>::new(parcel.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.base.clone();
        if let Some(name) = name(parcel.encoding) {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        self.headers.put(request.headers_mut());
        let answer = self.client.send(request).await.map_err(Miss::broken)?;
        self.rules.judge(&answer, uri, self.clock.wall())
    }
}

/// The media types of requests and answers.
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

impl Rules {
    /// What an answer means (OTLP/HTTP, "Responses").
    fn judge(&self, answer: &Answer, uri: &Uri, now: UnixNanos) -> Result<Taken, Miss> {
        let status = answer.status;
        if answer.too_large {
            return Err(Miss::Reject { why: told(uri, answer, "the answer has more than 4 MiB") });
        }
        if status.is_success() {
            return Ok(taken(answer));
        }
        let why = || told(uri, answer, "");
        match status.as_u16() {
            401 | 403 if self.auth_errors == AuthErrors::Hold => Err(Miss::Held { why: why() }),
            code @ (429 | 502 | 503 | 504) => {
                let reason = if code == 429 { Reason::Throttled } else { Reason::Unavailable };
                Err(Miss::retry(reason, retry_after(&answer.headers, now), why()))
            }
            code if self.also.contains(&code) => {
                Err(Miss::retry(Reason::Unavailable, retry_after(&answer.headers, now), why()))
            }
            300..=399 => {
                let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
                Err(Miss::Reject { why: told(uri, answer, &format!("redirects to {to}, which is not followed")) })
            }
            _ => Err(Miss::Reject { why: why() }),
        }
    }
}

/// What a server that took the request says of it. A body that is none of ours says nothing: the status has said it.
fn taken(answer: &Answer) -> Taken {
    let response = as_protobuf(answer, response_from_json);
    let partial = response.and_then(|response| decode_response(&response).ok()).unwrap_or_default();
    Taken { rejected: partial.rejected, message: partial.message }
}

/// The body of an answer in protobuf. Servers answer in the form that they were asked in, and some in another: the answer says which.
fn as_protobuf(answer: &Answer, from_json: fn(&[u8]) -> Result<Vec<u8>, NotJson>) -> Option<Cow<'_, [u8]>> {
    let kind = answer.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    match kind.split(';').next().unwrap_or_default().trim() {
        kind if kind.eq_ignore_ascii_case(PROTOBUF) => Some(Cow::Borrowed(&answer.kept)),
        kind if kind.eq_ignore_ascii_case(JSON) => from_json(&answer.kept).ok().map(Cow::Owned),
        _ => None,
    }
}

/// What a server says of what it did not take, in a `google.rpc.Status` or in words.
fn message(answer: &Answer) -> String {
    let words = || String::from_utf8_lossy(&answer.kept).into_owned();
    match as_protobuf(answer, status_from_json) {
        Some(status) => {
            let said = decode_status(&status).map(|status| status.message).unwrap_or_default();
            // JSON that is no status, such as a proxy's, can be read as it is.
            if said.is_empty() && matches!(status, Cow::Owned(_)) { words() } else { said }
        }
        None => words(),
    }
}

/// One line about an answer. The query of an address stays out: keys are put there.
fn told(uri: &Uri, answer: &Answer, what: &str) -> String {
    let (scheme, authority) =
        (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |authority| authority.as_str()));
    let mut line = format!(
        "request to {scheme}://{authority}{} responded with HTTP Status Code {}",
        uri.path(),
        answer.status.as_u16()
    );
    for part in [short(what), short(&message(answer))] {
        if !part.is_empty() {
            line.push_str(": ");
            line.push_str(&part);
        }
    }
    line
}

/// Seconds, or a date (RFC 9110 10.2.3).
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Span> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Span::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixNanos::UNSET.plus(since).since(now))
}

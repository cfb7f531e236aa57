//! What the user writes, and what becomes of it.

use std::sync::Arc;
use std::time::Duration as Span;

use config::{ByteSize, Duration, Optional, Problems, Section, Signal, Unsupported};
use pipeline::net::{Endpoint, Gates, GatesConfig, LimitsConfig, Timeouts, TlsServerConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// Receiver `otlp`: takes what OpenTelemetry SDKs and Collectors push.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Which protocols are spoken, and where. At least one.
    pub(super) protocols: Protocols,
    /// When a request is answered: `on_delivery` (default), when the exporters have handed its data over, or `on_enqueue`, when the
    /// pipelines have taken it.
    pub(super) reply: ReplyWord,
    /// How long a sender waits for its answer at most, 8s by default; a sender over gRPC that waits shorter is answered before it
    /// gives up. What is not on its way to a destination by then is withdrawn, and the sender is told to send it again.
    pub(super) reply_timeout: Duration,
}

/// The key `protocols`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Protocols {
    /// OTLP/gRPC.
    pub(super) grpc: Optional<GrpcSettings>,
    /// OTLP/HTTP, in protobuf and JSON.
    pub(super) http: Optional<HttpSettings>,
}

/// The key `protocols::grpc`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GrpcSettings {
    /// Where to listen, `localhost:4317` by default. May be the address of `http`.
    pub(super) endpoint: String,
    /// The largest message in MiB, unpacked; 64 by default.
    pub(super) max_recv_msg_size_mib: u32,
    /// How long a request may take to come, 30s by default.
    pub(super) read_timeout: Duration,
    /// Speaks TLS.
    pub(super) tls: Optional<TlsServerConfig>,
    /// Who may send. Without this key everybody may.
    pub(super) gates: Option<GatesConfig>,
    /// How many may connect.
    pub(super) limits: LimitsConfig,
    #[schemars(skip)]
    transport: Option<String>,
    #[schemars(skip)]
    auth: Unsupported,
    #[schemars(skip)]
    keepalive: Unsupported,
    #[schemars(skip)]
    max_concurrent_streams: Unsupported,
    #[schemars(skip)]
    read_buffer_size: Unsupported,
    #[schemars(skip)]
    write_buffer_size: Unsupported,
    #[schemars(skip)]
    include_metadata: Unsupported,
    #[schemars(skip)]
    middlewares: Unsupported,
}

/// The key `protocols::http`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpSettings {
    /// Where to listen, `localhost:4318` by default. May be the address of `grpc`.
    pub(super) endpoint: String,
    /// The path of metrics, `/v1/metrics` by default.
    pub(super) metrics_url_path: String,
    /// The path of logs, `/v1/logs` by default.
    pub(super) logs_url_path: String,
    /// The path of traces, `/v1/traces` by default.
    pub(super) traces_url_path: String,
    /// The largest body, unpacked; 64MiB by default.
    pub(super) max_request_body_size: ByteSize,
    /// How long a request may take to come, 30s by default.
    pub(super) read_timeout: Duration,
    /// How long the head of a request may take, 5s by default.
    pub(super) read_header_timeout: Duration,
    /// How long a connection may stay open between requests, 60s by default.
    pub(super) idle_timeout: Duration,
    /// Serves HTTPS.
    pub(super) tls: Optional<TlsServerConfig>,
    /// Who may send. Without this key everybody may.
    pub(super) gates: Option<GatesConfig>,
    /// How many may connect.
    pub(super) limits: LimitsConfig,
    /// Which pages of browsers may send.
    pub(super) cors: Optional<CorsSettings>,
    #[schemars(skip)]
    transport: Option<String>,
    #[schemars(skip)]
    auth: Unsupported,
    #[schemars(skip)]
    include_metadata: Unsupported,
    #[schemars(skip)]
    response_headers: Unsupported,
    #[schemars(skip)]
    compression_algorithms: Unsupported,
    #[schemars(skip)]
    write_timeout: Unsupported,
    #[schemars(skip)]
    keep_alives_enabled: Unsupported,
    #[schemars(skip)]
    middlewares: Unsupported,
}

/// The key `protocols::http::cors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CorsSettings {
    /// Origins of pages, such as `https://app.example.com`; one `*` in each stands for anything. Required.
    pub(super) allowed_origins: Vec<String>,
    /// Headers that pages may send besides those that every page may and `Content-Type`.
    pub(super) allowed_headers: Vec<String>,
    /// For how many seconds a browser may remember the permission; its own choice by default.
    pub(super) max_age: u32,
}

/// The key `reply`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplyWord {
    /// When the exporters have handed the data over, or put it on disk.
    #[default]
    OnDelivery,
    /// When the pipelines have taken it.
    OnEnqueue,
}

/// Keys of the Collector that are told apart from typing mistakes.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("protocols.grpc.auth", GATES),
    ("protocols.grpc.keepalive", "remove it: connections are pinged, aged and closed when idle; see docs/security.md"),
    ("protocols.grpc.max_concurrent_streams", "remove it: a connection may have 100"),
    ("protocols.grpc.read_buffer_size", "remove it"),
    ("protocols.grpc.write_buffer_size", "remove it"),
    ("protocols.grpc.include_metadata", "remove it"),
    ("protocols.grpc.middlewares", "remove it"),
    ("protocols.http.auth", GATES),
    ("protocols.http.include_metadata", "remove it"),
    ("protocols.http.response_headers", "remove it"),
    ("protocols.http.compression_algorithms", "remove it: gzip, zstd and deflate are taken"),
    ("protocols.http.write_timeout", "remove it: a client may take nothing of an answer for 30s at most"),
    ("protocols.http.keep_alives_enabled", "remove it"),
    ("protocols.http.middlewares", "remove it"),
];

const GATES: &str = "use `gates` beside it: bearer tokens, networks, client certificates";

/// A section that holds together.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) doors: Vec<DoorPlan>,
    pub(super) reply: Reply,
    pub(super) warnings: Problems,
}

/// When requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) word: ReplyWord,
    pub(super) within: Span,
}

/// One port.
#[derive(Clone, Debug)]
pub(super) struct DoorPlan {
    pub(super) address: String,
    pub(super) tls: Option<TlsServerConfig>,
    pub(super) gates: Gates,
    pub(super) limits: LimitsConfig,
    pub(super) timeouts: Timeouts,
    pub(super) grpc: Option<GrpcPlan>,
    pub(super) http: Option<Arc<HttpPlan>>,
}

/// gRPC behind a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrpcPlan {
    /// Bytes of a message at most, unpacked.
    pub(super) most: usize,
}

/// HTTP behind a port.
#[derive(Clone, Debug)]
pub(super) struct HttpPlan {
    pub(super) paths: [(Signal, String); 3],
    /// Bytes of a body at most, unpacked.
    pub(super) most: usize,
    pub(super) cors: Option<CorsSettings>,
}

/// What every port has, in the words of the two protocols.
struct Port<'a> {
    /// Where it stands in the section.
    path: &'static str,
    endpoint: &'a str,
    transport: Option<&'a str>,
    tls: &'a Optional<TlsServerConfig>,
    gates: Option<&'a GatesConfig>,
    limits: &'a LimitsConfig,
    timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protocols: Protocols::default(),
            reply: ReplyWord::default(),
            // SDKs give up after 10 s.
            reply_timeout: Duration::from_secs(8),
        }
    }
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4317".to_owned(),
            max_recv_msg_size_mib: 64,
            read_timeout: Duration::from_secs(30),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
            transport: None,
            auth: Unsupported,
            keepalive: Unsupported,
            max_concurrent_streams: Unsupported,
            read_buffer_size: Unsupported,
            write_buffer_size: Unsupported,
            include_metadata: Unsupported,
            middlewares: Unsupported,
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        let Timeouts { read_header_timeout, idle_timeout, .. } = Timeouts::default();
        Self {
            endpoint: "localhost:4318".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
            traces_url_path: "/v1/traces".to_owned(),
            max_request_body_size: ByteSize::from_bytes(64 << 20),
            read_timeout: Duration::from_secs(30),
            read_header_timeout: Duration::from_secs(read_header_timeout.as_secs()),
            idle_timeout: Duration::from_secs(idle_timeout.as_secs()),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
            cors: Optional::Absent,
            transport: None,
            auth: Unsupported,
            include_metadata: Unsupported,
            response_headers: Unsupported,
            compression_algorithms: Unsupported,
            write_timeout: Unsupported,
            keep_alives_enabled: Unsupported,
            middlewares: Unsupported,
        }
    }
}

impl Checked {
    /// Decodes and checks a section.
    ///
    /// # Errors
    /// All problems that can be found.
    pub(super) fn of(section: &Section) -> Result<Self, Problems> {
        let settings: Settings = section.decode()?;
        let mut problems = Unsupported::problems(section, &UNSUPPORTED);
        let (grpc, http) = (settings.protocols.grpc.as_ref(), settings.protocols.http.as_ref());
        if grpc.is_none() && http.is_none() {
            let help = "write protocols: {grpc: {}, http: {}}, or one of the two";
            problems.push(
                section
                    .error("protocols", "must specify at least one protocol when using the OTLP receiver")
                    .with_help(help),
            );
        }
        if settings.reply_timeout.get() < Span::from_millis(100) {
            problems.push(section.error("reply_timeout", "'reply_timeout' must be at least 100ms"));
        }
        let grpc_plan = grpc.map(|grpc| grpc.check(section, &mut problems));
        let http_plan = http.map(|http| Arc::new(http.check(section, &mut problems)));
        let ports = grpc.map(GrpcSettings::port).into_iter().chain(http.map(HttpSettings::port));
        let mut doors: Vec<DoorPlan> = Vec::new();
        let mut before: Option<Port<'_>> = None;
        for port in ports {
            if let Some(before) = before.as_ref().filter(|before| before.endpoint == port.endpoint) {
                port.compare(before, section, &mut problems);
            } else {
                doors.extend(port.check(section, &mut problems));
            }
            before.get_or_insert(port);
        }
        if problems.has_errors() {
            return Err(problems);
        }
        for door in &mut doors {
            door.grpc = grpc_plan.filter(|_| grpc.is_some_and(|grpc| grpc.endpoint == door.address));
            door.http = http_plan.clone().filter(|_| http.is_some_and(|http| http.endpoint == door.address));
        }
        let reply = Reply { word: settings.reply, within: settings.reply_timeout.get() };
        Ok(Self { doors, reply, warnings: problems })
    }
}

impl GrpcSettings {
    fn check(&self, section: &Section, problems: &mut Problems) -> GrpcPlan {
        if !(1..=MESSAGE_MIB_MAX).contains(&self.max_recv_msg_size_mib) {
            let what = format!("'max_recv_msg_size_mib' must be 1 to {MESSAGE_MIB_MAX}");
            problems.push(section.error("protocols.grpc.max_recv_msg_size_mib", what));
        }
        GrpcPlan { most: (self.max_recv_msg_size_mib as usize) << 20 }
    }

    fn port(&self) -> Port<'_> {
        Port {
            path: "protocols.grpc",
            endpoint: &self.endpoint,
            transport: self.transport.as_deref(),
            tls: &self.tls,
            gates: self.gates.as_ref(),
            limits: &self.limits,
            timeouts: Timeouts { read_timeout: self.read_timeout.get(), ..Timeouts::default() },
        }
    }
}

/// The largest message that may be allowed: what a sender over gRPC can say is 4 GiB, and a quarter of that is a mistake already.
const MESSAGE_MIB_MAX: u32 = 1024;

impl HttpSettings {
    fn check(&self, section: &Section, problems: &mut Problems) -> HttpPlan {
        let at = |key: &str| format!("protocols.http.{key}");
        let paths = [
            (Signal::Metrics, "metrics_url_path", &self.metrics_url_path),
            (Signal::Logs, "logs_url_path", &self.logs_url_path),
            (Signal::Traces, "traces_url_path", &self.traces_url_path),
        ];
        for (index, (_, key, path)) in paths.iter().enumerate() {
            let clean = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
            let what = if !path.starts_with('/') || !clean {
                format!("'{key}' must be a path that begins with '/', got {path:?}")
            } else if paths[..index].iter().any(|(_, _, other)| other == path) {
                format!("{path:?} is the path of another signal already")
            } else {
                continue;
            };
            problems.push(section.error(&at(key), what).with_help("such as /v1/metrics"));
        }
        let most = self.max_request_body_size.get();
        if !(1..=u64::from(MESSAGE_MIB_MAX) << 20).contains(&most) {
            let what = format!("'max_request_body_size' must be 1 byte to {MESSAGE_MIB_MAX}MiB");
            problems.push(section.error(&at("max_request_body_size"), what));
        }
        if self.cors.as_ref().is_some_and(|cors| cors.allowed_origins.is_empty()) {
            let what = "'allowed_origins' is empty: no page could send";
            problems.push(section.error(&at("cors.allowed_origins"), what).with_help("remove 'cors' instead"));
        }
        HttpPlan {
            paths: paths.map(|(signal, _, path)| (signal, path.clone())),
            most: usize::try_from(most).unwrap_or(usize::MAX),
            cors: self.cors.as_ref().cloned(),
        }
    }

    fn port(&self) -> Port<'_> {
        Port {
            path: "protocols.http",
            endpoint: &self.endpoint,
            transport: self.transport.as_deref(),
            tls: &self.tls,
            gates: self.gates.as_ref(),
            limits: &self.limits,
            timeouts: Timeouts {
                read_timeout: self.read_timeout.get(),
                read_header_timeout: self.read_header_timeout.get(),
                idle_timeout: self.idle_timeout.get(),
                ..Timeouts::default()
            },
        }
    }
}

impl Port<'_> {
    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn check(&self, section: &Section, problems: &mut Problems) -> Option<DoorPlan> {
        if let Some(transport) = self.transport.filter(|transport| *transport != "tcp") {
            let what = format!("the transport {transport:?} is not supported yet");
            problems.push(section.error(&self.at("transport"), what).with_help("remove it: tcp is spoken"));
        }
        problems.extend(self.limits.problems(section, &self.at("limits")));
        if let Some(tls) = self.tls.as_ref() {
            problems.extend(tls.problems(section, &self.at("tls")));
        }
        let endpoint: Result<Endpoint, _> =
            self.endpoint.parse().map_err(|what: String| section.error(&self.at("endpoint"), what));
        let endpoint = endpoint.map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, &self.at("gates"), self.gates).map_err(|more| problems.extend(more)).ok();
        let (endpoint, gates) = (endpoint?, gates?);
        problems.extend(gates.review(section, &endpoint, self.tls.as_ref(), "send telemetry"));
        Some(DoorPlan {
            address: self.endpoint.to_owned(),
            tls: self.tls.as_ref().cloned(),
            gates,
            limits: self.limits.clone(),
            timeouts: self.timeouts,
            grpc: None,
            http: None,
        })
    }

    /// Two protocols on one port have one door: what they say of it must be the same.
    fn compare(&self, other: &Self, section: &Section, problems: &mut Problems) {
        let same = [
            ("tls", self.tls == other.tls),
            ("gates", self.gates == other.gates),
            ("limits", self.limits == other.limits),
            ("read_timeout", self.timeouts.read_timeout == other.timeouts.read_timeout),
        ];
        for (key, _) in same.iter().filter(|(_, same)| !same) {
            let what = format!("{:?} serves both protocols, so '{key}' must be the same for both", self.endpoint);
            problems.push(
                section.error(&self.at(key), what).with_help("write it alike for both, or give them different ports"),
            );
        }
    }
}

impl DoorPlan {
    /// Bytes of a request on the wire at most.
    pub(super) fn largest_body(&self) -> u64 {
        let grpc = self.grpc.map_or(0, |grpc| grpc.most + super::body::FRAME);
        let http = self.http.as_ref().map_or(0, |http| http.most);
        grpc.max(http) as u64
    }

    /// What is spoken, for the log.
    pub(super) fn words(&self) -> &'static str {
        match (&self.grpc, &self.http) {
            (Some(_), Some(_)) => "grpc and http",
            (Some(_), None) => "grpc",
            _ => "http",
        }
    }
}

//! What the user writes: the Collector's keys.

use config::{ByteSize, Duration, Optional, Problems, Secret, Section, Unsupported};
use http::HeaderName;
use pipeline::net::{Gates, GatesConfig, LimitsConfig, Timeouts, TlsServerConfig};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::events::settings::{door_problems, endpoint, path_problem};
use crate::webhook::verify::{SchemeName, Verifier, VerifySettings};

/// Receiver `webhook_event`: bodies that are sent over HTTP as log records, with the Collector's keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Where to listen, `host:port`. Required.
    pub(super) endpoint: String,
    /// The path that takes bodies, `/events` by default.
    pub(super) path: String,
    /// The path that says that somebody listens, `/health_check` by default.
    pub(super) health_path: String,
    /// How long the head of a request may take, 500ms by default, at most 10s.
    pub(super) read_timeout: Duration,
    /// How long a sender may take nothing of its answer, 500ms by default, at most 10s.
    pub(super) write_timeout: Duration,
    /// How long a connection may stay open between two requests, 60s by default.
    pub(super) idle_timeout: Option<Duration>,
    /// A header that every request must carry.
    pub(super) required_header: RequiredHeader,
    /// A signature that every request must carry.
    pub(super) hmac_signature: Option<HmacSignature>,
    /// Whether each line of a body is a record of its own. Off by default.
    pub(super) split_logs_at_newline: bool,
    /// Whether each JSON document of a body is a record of its own. Off by default.
    pub(super) split_logs_at_json_boundary: bool,
    /// Whether all headers become attributes `header.<name>`. Off by default.
    pub(super) convert_headers_to_attributes: bool,
    /// Headers whose names it matches become attributes.
    pub(super) header_attribute_regex: String,
    /// Whether the parameters of the URL become attributes of the resource, as in the Collector; on by default.
    pub(super) convert_query_to_resource: bool,
    /// The largest body, packed and unpacked, 20MiB by default.
    pub(super) max_request_body_size: ByteSize,
    /// Serves HTTPS.
    pub(super) tls: Optional<TlsServerConfig>,
    /// Who may send. Without this key everybody may.
    pub(super) gates: Option<GatesConfig>,
    /// How many may connect.
    pub(super) limits: LimitsConfig,
    #[schemars(skip)]
    transport: Option<String>,
    #[schemars(skip)]
    dialer: Unsupported,
    #[schemars(skip)]
    auth: Unsupported,
    #[schemars(skip)]
    cors: Unsupported,
    #[schemars(skip)]
    include_metadata: Unsupported,
    #[schemars(skip)]
    include_tls_metadata: Unsupported,
    #[schemars(skip)]
    response_headers: Unsupported,
    #[schemars(skip)]
    compression_algorithms: Unsupported,
    #[schemars(skip)]
    read_header_timeout: Unsupported,
    #[schemars(skip)]
    keepalive: Unsupported,
    #[schemars(skip)]
    keep_alives_enabled: Unsupported,
    #[schemars(skip)]
    middlewares: Unsupported,
}

/// Keys of the Collector that are told apart from typing mistakes.
pub(super) const UNSUPPORTED: [(&str, &str); 11] = [
    ("dialer", "remove it: nothing is dialled here"),
    ("auth", "use `gates` beside it: bearer tokens, networks, client certificates"),
    ("cors", "remove it: pages of browsers cannot send here; they can to the receiver otlp"),
    ("include_metadata", "use `header_attribute_regex`: headers become attributes of the records"),
    ("include_tls_metadata", "remove it; `gates::mtls` says which certificates may send"),
    ("response_headers", "remove it: a proxy in front can add headers"),
    ("compression_algorithms", "remove it: gzip, zstd and deflate are taken"),
    ("read_header_timeout", "use `read_timeout`, which is for the head"),
    ("keepalive", "use `idle_timeout` beside it"),
    ("keep_alives_enabled", "remove it: `idle_timeout` ends connections that nobody uses"),
    ("middlewares", "remove it"),
];

/// The key `required_header`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequiredHeader {
    /// Its name.
    pub(super) key: String,
    /// Its value.
    pub(super) value: Secret,
}

/// The key `hmac_signature`: HMAC-SHA256 over the raw body, in hexadecimal.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HmacSignature {
    /// The secret that is shared with the sender.
    pub(super) secret: Secret,
    /// The header with the signature.
    pub(super) header: String,
    /// What stands before it, such as `sha256=`.
    pub(super) prefix: String,
}

/// A section that holds together.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) settings: Settings,
    pub(super) gates: Gates,
    pub(super) timeouts: Timeouts,
    /// Name and value of the header that must be there.
    pub(super) required: Option<(HeaderName, Secret)>,
    pub(super) verifier: Option<Verifier>,
    /// Which headers become attributes.
    pub(super) headers: Option<Regex>,
    pub(super) warnings: Problems,
}

/// The Collector's bound on both timeouts.
const TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// The largest automaton, 1 MiB.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            path: "/events".to_owned(),
            health_path: "/health_check".to_owned(),
            read_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_millis(500),
            idle_timeout: None,
            required_header: RequiredHeader::default(),
            hmac_signature: None,
            split_logs_at_newline: false,
            split_logs_at_json_boundary: false,
            convert_headers_to_attributes: false,
            header_attribute_regex: String::new(),
            convert_query_to_resource: true,
            max_request_body_size: ByteSize::from_bytes(20 << 20),
            tls: Optional::Absent,
            gates: None,
            limits: LimitsConfig::default(),
            transport: None,
            dialer: Unsupported,
            auth: Unsupported,
            cors: Unsupported,
            include_metadata: Unsupported,
            include_tls_metadata: Unsupported,
            response_headers: Unsupported,
            compression_algorithms: Unsupported,
            read_header_timeout: Unsupported,
            keepalive: Unsupported,
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
        settings.check(section, &mut problems);
        let missing = "missing receiver server endpoint from config";
        let endpoint =
            endpoint(section, &settings.endpoint, missing, "write host:port, such as endpoint: localhost:8088");
        let endpoint = endpoint.map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, "gates", settings.gates.as_ref());
        let gates = gates.map_err(|more| problems.extend(more)).ok();
        let required = settings.required(section, &mut problems);
        let verifier = settings.verifier(section, &mut problems);
        let headers = settings.headers(section, &mut problems);
        let (Some(endpoint), Some(gates)) = (endpoint, gates) else { return Err(problems) };
        if settings.gates.is_some() {
            problems.extend(gates.review(section, &endpoint, settings.tls.as_ref(), "send log records"));
        } else if !endpoint.is_loopback() && required.is_none() && settings.hmac_signature.is_none() {
            let what = format!("everybody who can reach {endpoint} may send log records");
            let help = "set hmac_signature, required_header or gates, or listen on localhost";
            problems.push(section.warning("endpoint", what).with_help(help));
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let timeouts = Timeouts {
            read_header_timeout: settings.read_timeout.get(),
            write_timeout: settings.write_timeout.get(),
            idle_timeout: settings.idle_timeout.map_or(Timeouts::default().idle_timeout, Duration::get),
            ..Timeouts::default()
        };
        Ok(Self { settings, gates, timeouts, required, verifier, headers, warnings: problems })
    }
}

impl Settings {
    fn check(&self, section: &Section, problems: &mut Problems) {
        if let Some(transport) = self.transport.as_ref().filter(|transport| *transport != "tcp") {
            let what = format!("the transport {transport:?} is not supported yet");
            problems.push(section.error("transport", what).with_help("remove it: tcp is spoken"));
        }
        for (key, path) in [("path", &self.path), ("health_path", &self.health_path)] {
            if let Some(what) = path_problem(path) {
                problems.push(section.error(key, what.replace("'path'", &format!("'{key}'"))));
            }
        }
        if self.path == self.health_path {
            problems.push(section.error("health_path", "'path' and 'health_path' must differ"));
        }
        for (key, timeout) in [("read_timeout", self.read_timeout), ("write_timeout", self.write_timeout)] {
            if timeout.get() > TIMEOUT_MAX {
                let what = format!("the duration specified for {key} exceeds the maximum allowed value of 10s");
                problems.push(section.error(key, what));
            }
        }
        if self.split_logs_at_newline && self.split_logs_at_json_boundary {
            let what = "split_logs_at_newline and split_logs_at_json_boundary cannot both be true";
            problems.push(section.error("split_logs_at_json_boundary", what));
        }
        if self.max_request_body_size.get() == 0 {
            let what = "'max_request_body_size' must be at least 1: nothing could be sent";
            problems.push(section.error("max_request_body_size", what));
        }
        problems.extend(door_problems(section, &self.limits, &self.tls));
    }

    fn required(&self, section: &Section, problems: &mut Problems) -> Option<(HeaderName, Secret)> {
        let RequiredHeader { key, value } = &self.required_header;
        if key.is_empty() != value.is_empty() {
            let what = "both key and value are required to assign a required_header";
            problems.push(section.error("required_header", what));
        }
        if key.is_empty() {
            return None;
        }
        let name = key.parse().map_err(|_| format!("{key:?} is no name of a header"));
        let name = name.map_err(|what| problems.push(section.error("required_header.key", what))).ok()?;
        Some((name, value.clone()))
    }

    fn verifier(&self, section: &Section, problems: &mut Problems) -> Option<Verifier> {
        let HmacSignature { secret, header, prefix } = self.hmac_signature.as_ref()?;
        let settings = VerifySettings {
            scheme: Some(SchemeName::Hmac),
            secret: secret.clone(),
            header: Some(header.clone()),
            prefix: Some(prefix.clone()),
            ..VerifySettings::default()
        };
        match Verifier::plan(section, "hmac_signature", Some(&settings), false) {
            Ok(verifier) => {
                problems.extend(verifier.warnings().clone());
                Some(verifier)
            }
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    }

    fn headers(&self, section: &Section, problems: &mut Problems) -> Option<Regex> {
        let pattern = match &*self.header_attribute_regex {
            "" if self.convert_headers_to_attributes => "",
            "" => return None,
            pattern => pattern,
        };
        let regex = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        regex
            .map_err(|error| {
                let what = format!("regex for header_attribute_regex failed to compile: {error}");
                problems.push(section.error("header_attribute_regex", what));
            })
            .ok()
    }
}

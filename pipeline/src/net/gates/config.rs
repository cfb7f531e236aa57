//! The key `gates`, and what can be wrong with it.

use ::config::{Problem, Problems, Secret, Section, StringList};
use schemars::JsonSchema;
use serde::Deserialize;

use super::certificate::CertificateGate;
use super::forwarded::TrustedProxies;
use super::network::{Network, Networks};
use super::token::{MIN_TOKEN_BYTES, TokenGate};
use super::{Mode, Rules};
use crate::net::endpoint::Endpoint;
use crate::net::tls::{TlsServerConfig, check_client_ca};

/// The most networks of one list: they are compared one after another.
const MAX_NETWORKS: usize = 1_024;

/// The key `gates` of a component that listens. All gates that are set must pass; null and empty mean unset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatesConfig {
    /// Requests need `Authorization: Bearer` with this token. At least 16 bytes, or there is a warning.
    pub token: Option<Secret>,
    /// The same from a file, one token a line, so that two can be valid while they are rotated. Read again when it changes.
    pub token_file: Option<String>,
    /// Requests must come from one of these networks, such as `10.0.0.0/8`; a list, or one text with commas.
    pub cidrs: Option<StringList>,
    /// Networks of proxies whose `X-Forwarded-For` is believed. Not a gate: it tells whom the others look at.
    pub trusted_proxies: Option<StringList>,
    /// Requests need a client certificate; needs `tls`.
    pub mtls: Option<MtlsGateConfig>,
    /// What a section with no gate set means: `unmounted` (default), the route is not there; `open`, everybody may enter.
    pub when_unset: Option<WhenUnset>,
}

/// The key `mtls` of `gates`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MtlsGateConfig {
    /// PEM file with the CAs of client certificates.
    pub client_ca_file: Option<String>,
    /// When not empty, the certificate must be for one of these DNS names or addresses (its subject alternative names).
    pub allowed_names: Option<StringList>,
}

/// What gates with nothing set mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnset {
    /// The route is not there: an unset variable must not publish what was meant to be closed.
    #[default]
    Unmounted,
    /// Everybody may enter.
    Open,
}

/// Collects what is wrong while gates are read.
struct Reader<'a> {
    section: &'a Section,
    path: &'a str,
    problems: Problems,
}

/// See [`super::Gates::plan`].
pub(super) fn plan(section: &Section, path: &str, config: &GatesConfig, written: bool) -> Result<Rules, Problems> {
    let mut reader = Reader { section, path, problems: Problems::new() };
    let networks = reader.networks("cidrs", config.cidrs.as_ref());
    let trusted = reader.networks("trusted_proxies", config.trusted_proxies.as_ref());
    let certificate = reader.certificate(config.mtls.as_ref());
    let token = reader.token(config);
    let gated = networks.is_some() || certificate.is_some() || token.is_some();
    let mode = match (gated, written, config.when_unset.unwrap_or_default()) {
        (true, ..) => Mode::Gated,
        (false, true, WhenUnset::Unmounted) => Mode::Unmounted,
        (false, false, _) | (false, true, WhenUnset::Open) => Mode::Open,
    };
    if reader.problems.has_errors() {
        return Err(reader.problems);
    }
    let trusted = TrustedProxies::new(trusted);
    Ok(Rules { mode, trusted, networks, certificate, token, path: path.to_owned(), warnings: reader.problems })
}

/// See [`super::Gates::review`].
pub(super) fn review(
    rules: &Rules,
    section: &Section,
    endpoint: &Endpoint,
    tls: Option<&TlsServerConfig>,
    purpose: &str,
) -> Problems {
    let mut problems = rules.warnings.clone();
    match rules.mode {
        Mode::Open if !endpoint.is_loopback() => problems.push(
            section
                .warning("endpoint", format!("everybody who can reach {endpoint} may {purpose}"))
                .with_help("set gates (token, cidrs or mtls), or listen on localhost"),
        ),
        Mode::Unmounted => problems.push(
            section
                .warning(&rules.path, "no gate is set, so the route answers 404 to everybody")
                .with_help("set token, token_file, cidrs or mtls; or when_unset: open"),
        ),
        Mode::Open | Mode::Gated => {}
    }
    if let Some(gate) = &rules.certificate {
        let place = format!("{}.mtls.client_ca_file", rules.path);
        match tls {
            None => problems.push(
                section
                    .error(&place, "'mtls' needs TLS: without it no client can show a certificate")
                    .with_help("add tls with cert_file and key_file"),
            ),
            Some(tls) if tls.client_ca().is_some_and(|path| path != gate.client_ca()) => problems.push(
                section
                    .error(&place, "'client_ca_file' differs from tls::client_ca_file: no certificate could pass both")
                    .with_help("remove tls::client_ca_file; the gate asks for the certificate"),
            ),
            Some(_) => {}
        }
    }
    problems
}

impl Reader<'_> {
    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn error(&mut self, key: &str, message: impl Into<String>, help: &str) {
        let problem = self.section.error(&self.at(key), message).with_help(help);
        self.problems.push(problem);
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) -> &mut Self {
        let problem: Problem = self.section.warning(&self.at(key), message);
        self.problems.push(problem);
        self
    }

    fn networks(&mut self, key: &'static str, list: Option<&StringList>) -> Option<Networks> {
        let list = list.filter(|list| !list.is_empty())?;
        if list.len() > MAX_NETWORKS {
            self.error(key, format!("'{key}' has {} networks, at most {MAX_NETWORKS}", list.len()), "join networks");
        }
        let mut networks = Vec::new();
        for (index, text) in list.iter().enumerate() {
            match text.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(error) => {
                    let place = format!("{key}[{index}]");
                    self.error(
                        &place,
                        error,
                        "write an address and a prefix length, such as 10.0.0.0/8 or 2001:db8::/32",
                    );
                }
            }
        }
        // With a problem the plan fails; a list that lost its members must not count as unset.
        Some(Networks::new(networks))
    }

    fn certificate(&mut self, config: Option<&MtlsGateConfig>) -> Option<CertificateGate> {
        let config = config?;
        let names = config.allowed_names.as_deref().unwrap_or_default();
        let Some(ca) = config.client_ca_file.as_deref().filter(|path| !path.is_empty()) else {
            if !names.is_empty() {
                self.error(
                    "mtls.allowed_names",
                    "'allowed_names' needs 'client_ca_file'",
                    "name the CA that signs the clients' certificates",
                );
            }
            return None;
        };
        if let Err(error) = check_client_ca(ca) {
            self.error("mtls.client_ca_file", error.what(), "give a PEM file with the CAs of client certificates");
        }
        match CertificateGate::new(ca, names) {
            Ok(gate) => Some(gate),
            Err((index, error)) => {
                self.error(&format!("mtls.allowed_names[{index}]"), error, "write a DNS name or an address");
                None
            }
        }
    }

    fn token(&mut self, config: &GatesConfig) -> Option<TokenGate> {
        let token = config.token.as_ref().filter(|token| !token.is_empty());
        let file = config.token_file.as_deref().filter(|path| !path.is_empty());
        let (key, gate) = match (token, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.error("token_file", "'token' and 'token_file' exclude each other", "remove one of them");
                return None;
            }
            (Some(token), None) => ("token", TokenGate::fixed(token)),
            (None, Some(path)) => ("token_file", TokenGate::file(path)),
        };
        match gate {
            Ok((gate, shortest)) => {
                if shortest < MIN_TOKEN_BYTES {
                    self.warn(
                        key,
                        format!("the token has {shortest} bytes; fewer than {MIN_TOKEN_BYTES} can be guessed"),
                    );
                }
                Some(gate)
            }
            Err(error) => {
                self.error(key, error, "make one with: openssl rand -hex 32");
                None
            }
        }
    }
}

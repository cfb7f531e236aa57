//! Who may enter a route: token, client address, client certificate. All that are set must pass.
//!
//! The order is fixed: the address first, since it is cheapest and tells a stranger least, then the certificate, then the token.
//! Whatever is missing, empty, repeated or not understood is refused. Nothing about a decision is remembered but how often an
//! address failed.

mod bucket;
mod certificate;
mod config;
mod forwarded;
mod guard;
mod network;
mod token;

use std::net::IpAddr;
use std::sync::Arc;

use ::config::{Problems, Section};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

pub use certificate::Certificate;
pub use config::{GatesConfig, MtlsGateConfig, WhenUnset};

use super::endpoint::Endpoint;
use super::limits::LimitsConfig;
use super::response::{ResponseBody, text, unknown_path};
use super::roster::home_of;
use super::server::Peer;
use super::tls::TlsServerConfig;
use crate::meter::{Count, Meters};
use bucket::Buckets;
use certificate::CertificateGate;
use forwarded::TrustedProxies;
use network::Networks;
use token::TokenGate;

/// The gates of one route. Clones share what they count.
#[derive(Clone, Debug)]
pub struct Gates {
    rules: Arc<Rules>,
    watch: Arc<Watch>,
}

/// What a gate says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is no gate.
    Open,
    /// All gates passed.
    Pass,
    /// The route is not there: gates were meant to be, and none is set.
    Unmounted,
    /// A gate said no.
    Refused(Refused),
}

/// Which gate said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A trusted proxy did not say for whom it asks, or what it said is malformed: 403.
    Forwarded,
    /// The client's address is in none of the networks: 403.
    Address,
    /// There is no client certificate, or not the right one: 403.
    Certificate,
    /// The client's address has failed too often: 429.
    TooOften,
    /// The token is missing or wrong: 401.
    Token,
}

/// What the configuration says.
#[derive(Debug)]
struct Rules {
    mode: Mode,
    trusted: TrustedProxies,
    networks: Option<Networks>,
    certificate: Option<CertificateGate>,
    token: Option<TokenGate>,
    /// Where the section stands, for what is found beside it.
    path: String,
    warnings: Problems,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Unmounted,
    Gated,
}

/// What happens at run time.
#[derive(Debug)]
struct Watch {
    failures: Buckets,
    counts: [Count; Refused::ALL.len()],
}

impl Gates {
    /// Checks the gates that stand at `path` of a section. Without such a key the route is open; with one in which nothing is
    /// set it is unmounted, unless `when_unset: open` says otherwise.
    ///
    /// # Errors
    /// All problems of the gates, with their places.
    pub fn plan(section: &Section, path: &str, config: Option<&GatesConfig>) -> Result<Self, Problems> {
        // `gates:` with nothing after it is a section with nothing set, not an absent one.
        let written = config.is_some() || section.has(path);
        let rules = config::plan(section, path, config.unwrap_or(&GatesConfig::default()), written)?;
        Ok(Self { rules: Arc::new(rules), watch: Watch::new(&LimitsConfig::default(), &Meters::unread(), None) })
    }

    /// What one should know about these gates at this door: warnings, and errors about keys that do not fit together. `tls` is
    /// the key `tls` of the same section; `purpose` is what who comes in may do there, such as `send signals`.
    #[must_use]
    pub fn review(
        &self,
        section: &Section,
        endpoint: &Endpoint,
        tls: Option<&TlsServerConfig>,
        purpose: &str,
    ) -> Problems {
        config::review(&self.rules, section, endpoint, tls, purpose)
    }

    /// Gates that remember failures up to these limits and count under the name of a component.
    #[must_use]
    pub fn watched(
        self,
        limits: &LimitsConfig,
        meters: &Meters,
        class: &'static str,
        id: impl std::fmt::Display,
    ) -> Self {
        Self { rules: self.rules, watch: Watch::new(limits, meters, Some((class, id.to_string()))) }
    }

    /// Whether there is nothing behind these gates for anybody.
    #[must_use]
    pub fn is_unmounted(&self) -> bool {
        self.rules.mode == Mode::Unmounted
    }

    /// Decides about one request, by its headers alone. Without a peer it is refused.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Admission {
        peer.map_or(Admission::Refused(Refused::Address), |peer| self.decide(headers, peer).0)
    }

    /// The decision, and the client's address where it was asked for and found.
    fn decide(&self, headers: &HeaderMap, peer: &Peer) -> (Admission, Option<IpAddr>) {
        if self.is_unmounted() {
            return (Admission::Unmounted, None);
        }
        if self.rules.mode == Mode::Open {
            // Trusted proxies are no gate: without one, who does not say for whom he asks is still let in.
            return (Admission::Open, self.client(headers, peer).ok());
        }
        match self.passes(headers, peer) {
            Err(refused) => {
                self.watch.counts[refused as usize].add(1);
                (Admission::Refused(refused), None)
            }
            Ok(client) => (Admission::Pass, Some(client)),
        }
    }

    /// The client's address: the peer's, or, when the peer is a trusted proxy, the rightmost address of `X-Forwarded-For` that is
    /// not one.
    ///
    /// # Errors
    /// When a trusted proxy does not say it, or not in a way that can be understood.
    pub fn client(&self, headers: &HeaderMap, peer: &Peer) -> Result<IpAddr, Refused> {
        self.rules.trusted.client(headers, peer.address.ip()).ok_or(Refused::Forwarded)
    }

    /// The CAs that the door must ask certificates of, for the `mtls` gate.
    pub(super) fn client_ca(&self) -> Option<&str> {
        self.rules.certificate.as_ref().map(CertificateGate::client_ca)
    }

    fn passes(&self, headers: &HeaderMap, peer: &Peer) -> Result<IpAddr, Refused> {
        let Rules { networks, certificate, token, .. } = &*self.rules;
        let client = self.client(headers, peer)?;
        if networks.as_ref().is_some_and(|networks| !networks.contain(client)) {
            return Err(Refused::Address);
        }
        if certificate.as_ref().is_some_and(|gate| !gate.passes(peer.certificate.as_ref())) {
            return Err(Refused::Certificate);
        }
        if let Some(gate) = token {
            // Before the comparison: else a guess would pass however many came before it.
            let home = home_of(client);
            if self.watch.failures.is_empty(home) {
                return Err(Refused::TooOften);
            }
            if !gate.passes(headers) {
                self.watch.failures.take(home);
                return Err(Refused::Token);
            }
        }
        Ok(client)
    }
}

impl Admission {
    /// Whether the request may enter.
    #[must_use]
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::Open | Self::Pass)
    }

    /// The answer for a request that may not enter.
    #[must_use]
    pub fn response(self) -> Option<Response<ResponseBody>> {
        match self {
            Self::Open | Self::Pass => None,
            Self::Unmounted => Some(unknown_path()),
            Self::Refused(refused) => Some(refused.response()),
        }
    }
}

impl Refused {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Forwarded, "trusted_proxies"),
        (Self::Address, "cidrs"),
        (Self::Certificate, "mtls"),
        (Self::TooOften, "auth_failures_per_second"),
        (Self::Token, "token"),
    ];

    /// 401, 403 or 429.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Forwarded | Self::Address | Self::Certificate => StatusCode::FORBIDDEN,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// The answer: it does not say which of the gates said no.
    #[must_use]
    pub fn response(self) -> Response<ResponseBody> {
        let status = self.status();
        let mut response = text(status, status.canonical_reason().unwrap_or("refused"));
        let headers = response.headers_mut();
        match self {
            Self::Token => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooOften => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Self::Forwarded | Self::Address | Self::Certificate => {}
        }
        response
    }
}

impl Watch {
    fn new(limits: &LimitsConfig, meters: &Meters, owner: Option<(&'static str, String)>) -> Arc<Self> {
        let counts = Refused::ALL.map(|(_, gate)| {
            let labels = owner.clone().into_iter().chain([("gate", gate.to_owned())]).collect();
            meters.count("weir_auth_failures", "Requests that a gate refused.", "{requests}", labels)
        });
        Arc::new(Self { failures: Buckets::new(limits.auth_failures_per_second), counts })
    }
}

#[cfg(test)]
mod tests;

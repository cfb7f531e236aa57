//! TLS at the door: certificates that are read again when their files change, client certificates, ALPN.

use std::sync::{Arc, Mutex, PoisonError};

use config::{Duration, Problems, Section};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::pem::{Pem, Wrong};
use crate::fault::Fault;

/// The key `tls` of a component that listens, with the Collector's names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsServerConfig {
    /// PEM file with the certificate and the chain that leads to its CA. Required.
    pub cert_file: String,
    /// PEM file with the certificate's private key. Required.
    pub key_file: String,
    /// PEM file with the CAs of client certificates. When it is set, a client without a certificate of one of them cannot
    /// connect.
    pub client_ca_file: Option<String>,
    /// The oldest version of TLS, `1.2` (default) or `1.3`.
    pub min_version: Option<TlsVersion>,
    /// The newest version of TLS, `1.2` or `1.3` (default).
    pub max_version: Option<TlsVersion>,
    /// How often at most the files are looked at for changes, 1s by default. They are looked at when somebody connects.
    pub reload_interval: Option<Duration>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// The certificates of one server.
#[derive(Debug)]
pub(super) struct Tls {
    config: TlsServerConfig,
    /// CAs of a gate: a client may come without a certificate, and the gate then says no to its requests.
    gate_ca: Option<String>,
    /// Never held over an await.
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    server: Arc<ServerConfig>,
    /// Of the files' bytes, those that could not be used included.
    seen: [u8; 32],
    looked_at: Instant,
}

/// All files.
struct Files {
    cert: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    gate_ca: Option<Pem>,
}

impl TlsServerConfig {
    /// What is wrong with the TLS settings that stand at `path` of a section, the files included.
    #[must_use]
    pub fn problems(&self, section: &Section, path: &str) -> Problems {
        match self.read(None).and_then(|files| self.build(&files)) {
            Ok(_) => Problems::new(),
            Err(wrong) => section.error(&format!("{path}.{}", wrong.key()), wrong.what()).into(),
        }
    }

    fn read(&self, gate_ca: Option<&str>) -> Result<Files, Wrong> {
        if self.min_version > self.max_version && self.max_version.is_some() {
            return Err(Wrong::new("min_version", "'min_version' is newer than 'max_version'"));
        }
        Ok(Files {
            cert: read("cert_file", &self.cert_file)?,
            key: read("key_file", &self.key_file)?,
            client_ca: self.client_ca().map(|path| Pem::read("client_ca_file", path)).transpose()?,
            gate_ca: gate_ca.map(|path| Pem::read("client_ca_file", path)).transpose()?,
        })
    }

    /// The path of the CAs whose certificates everybody needs; empty means unset.
    pub(super) fn client_ca(&self) -> Option<&str> {
        self.client_ca_file.as_deref().filter(|path| !path.is_empty())
    }

    fn build(&self, files: &Files) -> Result<ServerConfig, Wrong> {
        let (chain, key) = (files.cert.chain()?, files.key.private_key()?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&TlsVersion::between(self.min_version, self.max_version))
            .map_err(|error| Wrong::new("min_version", error.to_string()))?;
        let builder = match verifier(files, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server =
            builder.with_single_cert(chain, key).map_err(|error| files.key.refused(&files.cert, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

impl TlsVersion {
    /// The versions from `min`, 1.2 when it is not said, to `max`, the newest when it is not said.
    pub(super) fn between(min: Option<Self>, max: Option<Self>) -> Vec<&'static SupportedProtocolVersion> {
        let (min, max) = (min.unwrap_or(Self::V1_2), max.unwrap_or(Self::V1_3));
        [(Self::V1_3, &rustls::version::TLS13), (Self::V1_2, &rustls::version::TLS12)]
            .into_iter()
            .filter(|(version, _)| (min..=max).contains(version))
            .map(|(_, version)| version)
            .collect()
    }
}

impl Tls {
    pub(super) fn new(config: &TlsServerConfig, gate_ca: Option<&str>) -> Result<Self, Fault> {
        let files = config.read(gate_ca).map_err(Wrong::fault)?;
        let server = Arc::new(config.build(&files).map_err(Wrong::fault)?);
        let current = Current { server, seen: files.digest(), looked_at: Instant::now() };
        Ok(Self { config: config.clone(), gate_ca: gate_ca.map(str::to_owned), current: Mutex::new(current) })
    }

    /// What shakes hands, with the certificates as they are on disk. Files that cannot be used leave the old ones in place, with a
    /// warning: a renewal that is half done must not close the door.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let interval = self.config.reload_interval.map_or(std::time::Duration::from_secs(1), Duration::get);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= interval {
            current.looked_at = Instant::now();
            self.reload(&mut current);
        }
        TlsAcceptor::from(current.server.clone())
    }

    /// Reads a few files of some KiB, at most once per interval: less than the handshake costs that follows.
    fn reload(&self, current: &mut Current) {
        let files = match self.config.read(self.gate_ca.as_deref()) {
            Ok(files) => files,
            Err(wrong) => {
                // Told once: no file has this digest.
                if std::mem::take(&mut current.seen) != [0; 32] {
                    warn!(reason = %wrong, "certificates not read again, the old ones stay");
                }
                return;
            }
        };
        let digest = files.digest();
        if digest == current.seen {
            return;
        }
        current.seen = digest;
        match self.config.build(&files) {
            Ok(server) => {
                current.server = Arc::new(server);
                info!(cert_file = %self.config.cert_file, "certificates read again");
            }
            Err(wrong) => warn!(reason = %wrong, "certificates not usable, the old ones stay"),
        }
    }
}

impl Files {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in
            [Some(&self.cert), Some(&self.key), self.client_ca.as_ref(), self.gate_ca.as_ref()].into_iter().flatten()
        {
            digest.update(file.bytes().len().to_le_bytes());
            digest.update(file.bytes());
        }
        digest.finalize().into()
    }
}

fn verifier(files: &Files, provider: Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, Wrong> {
    let Some(ca) = files.client_ca.as_ref().or(files.gate_ca.as_ref()) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    ca.add_to(&mut roots)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if files.client_ca.is_some() { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| Wrong::new("client_ca_file", error.to_string()))
}

/// Reads CAs to see whether they can be used.
pub(super) fn check_client_ca(path: &str) -> Result<(), Wrong> {
    Pem::read("client_ca_file", path)?.add_to(&mut RootCertStore::empty())
}

fn read(key: &'static str, path: &str) -> Result<Pem, Wrong> {
    if path.is_empty() {
        return Err(Wrong::new(key, format!("'{key}' is required: the path of a PEM file")));
    }
    Pem::read(key, path)
}

//! TLS towards a destination.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use config::{Duration, Problems, Secret, Section};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::connect::Io;
use super::verify::{Lenient, Verify};
use crate::net::pem::{Pem, Wrong};
use crate::net::tls::TlsVersion;

/// The key `tls` of a component that calls others, with the Collector's names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsClientConfig {
    /// gRPC: no TLS. An `https://` endpoint has TLS all the same. Means nothing for HTTP, where the endpoint's scheme decides.
    pub insecure: bool,
    /// Whether any certificate of the server is good enough. For tests: whoever is on the way can read and change everything.
    pub insecure_skip_verify: bool,
    /// The name to ask for and to find in the server's certificate, instead of the endpoint's.
    pub server_name_override: String,
    /// PEM file with the CAs that the server's certificate may come from. The system's by default.
    pub ca_file: String,
    /// The same, written out.
    pub ca_pem: String,
    /// Whether the system's CAs hold beside `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// PEM file with our certificate and its chain, for servers that want one.
    pub cert_file: String,
    /// The same, written out.
    pub cert_pem: String,
    /// PEM file with our certificate's private key.
    pub key_file: String,
    /// The same, written out.
    pub key_pem: Secret,
    /// The oldest version of TLS, `1.2` (default) or `1.3`.
    pub min_version: Option<TlsVersion>,
    /// The newest version of TLS, `1.2` or `1.3` (default).
    pub max_version: Option<TlsVersion>,
    /// How often at most the files are looked at for changes, 1s by default. They are looked at when a connection is opened.
    pub reload_interval: Option<Duration>,
}

/// TLS as it is set up, with certificates that are read again when their files change.
#[derive(Debug)]
pub struct Tls {
    config: TlsClientConfig,
    verify: Verify,
    alpn: &'static [u8],
    /// Read once: the system's CAs change with the system.
    system: Option<RootCertStore>,
    server_name: Option<ServerName<'static>>,
    /// Never held over an await.
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    client: Arc<ClientConfig>,
    /// Of the files, those that could not be used included; none when they could not be read.
    seen: Option<Files>,
    looked_at: Instant,
}

/// TLS that is set up at the first connection: files that are missing by then are an outage like another, and may come back.
#[derive(Debug)]
pub struct LateTls {
    config: TlsClientConfig,
    verify: Verify,
    /// Never held over an await.
    ready: Mutex<Option<Arc<Tls>>>,
}

/// All parts.
#[derive(Clone, Debug, PartialEq)]
struct Files {
    ca: Option<Pem>,
    cert: Option<Pem>,
    key: Option<Pem>,
}

impl TlsClientConfig {
    /// What is wrong with what stands under `path`, the files included.
    pub fn problems(&self, section: &Section, path: &str) -> Problems {
        match self.check() {
            Ok(()) => Problems::new(),
            Err(wrong) => section.error(&format!("{path}.{}", wrong.key()), wrong.what()).into(),
        }
    }

    /// With no CAs of the system: whether those can be read is no matter of the file.
    fn check(&self) -> Result<(), Wrong> {
        self.names()?;
        self.build(&self.read()?, self.verify(), None, b"").map(drop)
    }

    fn names(&self) -> Result<Option<ServerName<'static>>, Wrong> {
        if self.server_name_override.is_empty() {
            return Ok(None);
        }
        let name = ServerName::try_from(self.server_name_override.clone());
        name.map(Some).map_err(|_| Wrong::new("server_name_override", "is no host name"))
    }

    fn read(&self) -> Result<Files, Wrong> {
        if self.max_version.is_some() && self.min_version > self.max_version {
            return Err(Wrong::new("min_version", "'min_version' is newer than 'max_version'"));
        }
        let part = |key, file: &str, text_key, text: &str| match (file, text) {
            ("", "") => Ok(None),
            ("", text) => Ok(Some(Pem::text(text_key, text))),
            (file, "") => Pem::read(key, file).map(Some),
            _ => Err(Wrong::new(key, format!("both '{key}' and '{text_key}' are set"))),
        };
        let files = Files {
            ca: part("ca_file", &self.ca_file, "ca_pem", &self.ca_pem)?,
            cert: part("cert_file", &self.cert_file, "cert_pem", &self.cert_pem)?,
            key: part("key_file", &self.key_file, "key_pem", self.key_pem.expose())?,
        };
        match (&files.cert, &files.key) {
            (Some(_), None) => Err(Wrong::new(
                "cert_file",
                "for our own certificate both a certificate and a key are needed, and the key is missing",
            )),
            (None, Some(_)) => Err(Wrong::new(
                "key_file",
                "for our own certificate both a certificate and a key are needed, and the certificate is missing",
            )),
            _ => Ok(files),
        }
    }

    fn verify(&self) -> Verify {
        if self.insecure_skip_verify { Verify::Nothing } else { Verify::Full }
    }

    fn build(
        &self,
        files: &Files,
        verify: Verify,
        system: Option<&RootCertStore>,
        alpn: &[u8],
    ) -> Result<ClientConfig, Wrong> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&TlsVersion::between(self.min_version, self.max_version))
            .map_err(|error| Wrong::new("min_version", error.to_string()))?;
        let mut roots = system.cloned().unwrap_or_else(RootCertStore::empty);
        if let Some(pem) = &files.ca {
            pem.add_to(&mut roots)?;
        }
        let builder = match verify {
            Verify::Full => builder.with_root_certificates(roots),
            Verify::Authority => {
                let any =
                    Lenient::of_any_name(roots, provider).map_err(|error| Wrong::new("ca_file", error.to_string()))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(any))
            }
            Verify::Nothing => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient::of_all(provider)))
            }
        };
        let mut client = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let (chain, own) = (cert.chain()?, key.private_key()?);
                builder.with_client_auth_cert(chain, own).map_err(|error| key.refused(cert, &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        client.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
        Ok(client)
    }
}

impl Tls {
    /// TLS that offers `alpn`.
    ///
    /// # Errors
    /// What is wrong with the files now, though they were good when the plan was made.
    pub fn new(config: &TlsClientConfig, alpn: &'static [u8]) -> Result<Self, Wrong> {
        Self::with(config, config.verify(), alpn)
    }

    fn with(config: &TlsClientConfig, verify: Verify, alpn: &'static [u8]) -> Result<Self, Wrong> {
        let own = !config.ca_file.is_empty() || !config.ca_pem.is_empty();
        let system = (!own || config.include_system_ca_certs_pool).then(system_roots);
        let server_name = config.names()?;
        let files = config.read()?;
        let client = Arc::new(config.build(&files, verify, system.as_ref(), alpn)?);
        let current = Mutex::new(Current { client, seen: Some(files), looked_at: Instant::now() });
        Ok(Self { config: config.clone(), verify, alpn, system, server_name, current })
    }

    /// Shakes hands over an open stream. `host` is the endpoint's.
    ///
    /// # Errors
    /// The server is not whom we want, or does not want us, or the stream broke.
    pub async fn connect(&self, host: &str, stream: Box<dyn Io>) -> io::Result<Box<dyn Io>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| io::Error::other(format!("{host:?} is no name that a certificate can hold")))?,
        };
        let stream = TlsConnector::from(self.client()).connect(name, stream).await?;
        Ok(Box::new(stream))
    }

    /// What shakes hands, with the files as they are on disk. Files that cannot be used leave the old ones in place, with a warning.
    fn client(&self) -> Arc<ClientConfig> {
        let interval = self.config.reload_interval.map_or(std::time::Duration::from_secs(1), Duration::get);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked_at.elapsed() >= interval {
            current.looked_at = Instant::now();
            self.reload(&mut current);
        }
        current.client.clone()
    }

    fn reload(&self, current: &mut Current) {
        let files = match self.config.read() {
            Ok(files) => files,
            Err(wrong) => {
                // Told once: what could not be read equals nothing that is read later.
                if current.seen.take().is_some() {
                    tracing::warn!(reason = %wrong, "certificates not read again, the old ones stay");
                }
                return;
            }
        };
        if current.seen.as_ref() == Some(&files) {
            return;
        }
        match self.config.build(&files, self.verify, self.system.as_ref(), self.alpn) {
            Ok(client) => {
                current.client = Arc::new(client);
                tracing::info!("certificates read again");
            }
            Err(wrong) => tracing::warn!(reason = %wrong, "certificates not usable, the old ones stay"),
        }
        current.seen = Some(files);
    }
}

impl LateTls {
    /// TLS with what `config` says, except for who the server has to be, which `verify` says.
    pub fn new(config: TlsClientConfig, verify: Verify) -> Self {
        Self { config, verify, ready: Mutex::default() }
    }

    /// Looks at the files as they are now.
    ///
    /// # Errors
    /// What is wrong with them, of which the time of the first connection will tell again.
    pub fn look(&self) -> Result<(), Wrong> {
        self.config.check()
    }

    /// What shakes hands.
    ///
    /// # Errors
    /// What is wrong with the files. They are read again when it is next asked for.
    pub fn get(&self) -> Result<Arc<Tls>, Wrong> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = &*ready {
            return Ok(tls.clone());
        }
        let tls = Arc::new(Tls::with(&self.config, self.verify, b"")?);
        Ok(ready.insert(tls).clone())
    }
}

/// Equal when they are set up alike.
impl PartialEq for LateTls {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.verify == other.verify
    }
}

/// The system's CAs; those of Mozilla where the system has none, as images from scratch do.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

//! The certificate gate: a client certificate of the right CA, for the right name.

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};

/// A client's certificate. The door has verified its chain and dates before anybody sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate(CertificateDer<'static>);

/// Asks for a certificate, and perhaps for a name in it.
#[derive(Debug)]
pub(super) struct CertificateGate {
    client_ca: String,
    names: Vec<ServerName<'static>>,
}

impl Certificate {
    pub(in crate::net) fn new(certificate: &CertificateDer<'_>) -> Self {
        Self(certificate.clone().into_owned())
    }

    /// Whether it is for this DNS name or address, by its subject alternative names (RFC 6125; a common name counts for nothing).
    fn is_for(&self, name: &ServerName<'_>) -> bool {
        ParsedCertificate::try_from(&self.0).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}

impl CertificateGate {
    /// With the index of the first name that is none.
    pub(super) fn new(client_ca: &str, names: &[String]) -> Result<Self, (usize, String)> {
        let name = |(index, name): (usize, &String)| {
            ServerName::try_from(name.clone()).map_err(|_| (index, format!("{name:?} is no DNS name and no address")))
        };
        let names = names.iter().enumerate().map(name).collect::<Result<_, _>>()?;
        Ok(Self { client_ca: client_ca.to_owned(), names })
    }

    pub(super) fn client_ca(&self) -> &str {
        &self.client_ca
    }

    pub(super) fn passes(&self, certificate: Option<&Certificate>) -> bool {
        certificate.is_some_and(|shown| self.names.is_empty() || self.names.iter().any(|name| shown.is_for(name)))
    }
}

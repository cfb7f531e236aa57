//! PEM files of both ends of TLS: read within bounds, and told of by the key that names them.

use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::fault::Fault;

/// The most bytes of a certificate, key or CA file; the bundle of all public CAs is 220 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The text behind one key, and the file that it is from.
#[derive(Clone, PartialEq)]
pub(super) struct Pem {
    key: &'static str,
    /// Empty when the text is written out.
    file: String,
    bytes: Vec<u8>,
}

/// What is wrong with the value of one key under `tls`.
#[derive(Debug)]
pub struct Wrong {
    key: &'static str,
    what: String,
}

impl Pem {
    /// Reads the file that `key` names.
    pub(super) fn read(key: &'static str, file: &str) -> Result<Self, Wrong> {
        let bytes = read_bounded(Path::new(file), MAX_FILE_BYTES)
            .map_err(|error| Wrong::new(key, format!("cannot read {file}: {error}")))?;
        Ok(Self { key, file: file.to_owned(), bytes })
    }

    /// A text that is written out.
    #[cfg(feature = "client")]
    pub(super) fn text(key: &'static str, text: &str) -> Self {
        Self { key, file: String::new(), bytes: text.into() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A certificate and the chain behind it.
    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Wrong> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let chain = chain.map_err(|error| self.wrong(&format!("is not PEM: {error}")))?;
        if chain.is_empty() { Err(self.wrong("holds no certificate in PEM")) } else { Ok(chain) }
    }

    /// A private key.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Wrong> {
        PrivateKeyDer::from_pem_slice(&self.bytes)
            .map_err(|error| self.wrong(&format!("holds no private key in PEM: {error}")))
    }

    /// Adds CAs, at least one.
    pub(super) fn add_to(&self, roots: &mut RootCertStore) -> Result<(), Wrong> {
        for certificate in self.chain()? {
            roots
                .add(certificate)
                .map_err(|error| self.wrong(&format!("holds a certificate that is no CA: {error}")))?;
        }
        Ok(())
    }

    /// What rustls has against this key beside `certificate`.
    pub(super) fn refused(&self, certificate: &Self, error: &rustls::Error) -> Wrong {
        use rustls::{Error, InconsistentKeys};
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let beside = if certificate.file.is_empty() { "the certificate" } else { &certificate.file };
                self.wrong(&format!("is not the key of {beside}"))
            }
            error => self.wrong(&format!("cannot be used: {error}")),
        }
    }

    fn wrong(&self, what: &str) -> Wrong {
        let shown = if self.file.is_empty() { format!("'{}'", self.key) } else { self.file.clone() };
        Wrong::new(self.key, format!("{shown} {what}"))
    }
}

impl Wrong {
    pub(super) fn new(key: &'static str, what: impl Into<String>) -> Self {
        Self { key, what: what.into() }
    }

    /// The key under `tls`.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// What is wrong with it.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn fault(self) -> Fault {
        Fault::new(format!("cannot use {self}"))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tls::{}: {}", self.key, self.what)
    }
}

impl std::error::Error for Wrong {}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("key", &self.key).field("file", &self.file).finish_non_exhaustive()
    }
}

/// A whole file, but never more of it than `most` bytes.
pub(super) fn read_bounded(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("has more than {most} bytes")));
    }
    Ok(bytes)
}

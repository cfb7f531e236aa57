//! TLS, as strict as libpq's `sslmode` says (postgresql.org/docs/15/libpq-ssl.html), and strictest when nothing is said.

use pipeline::net::client::{LateTls, TlsClientConfig, Verify, Wrong};

/// What is asked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it; who it is, is not checked.
    Prefer,
    /// TLS; who the server is, is not checked.
    Require,
    /// TLS with a certificate of a trusted authority.
    VerifyCa,
    /// And for this host.
    #[default]
    VerifyFull,
}

impl SslMode {
    #[cfg(feature = "sql-postgres")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
        all.into_iter().find(|mode| mode.name() == text)
    }

    /// TLS that asks that of the server.
    pub(crate) fn tls(self, files: TlsClientConfig) -> LateTls {
        let verify = match self {
            Self::Disable | Self::Prefer | Self::Require => Verify::Nothing,
            Self::VerifyCa => Verify::Authority,
            Self::VerifyFull => Verify::Full,
        };
        LateTls::new(files, verify)
    }

    /// As libpq calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// The parameters of a datasource that name the files: CAs, certificate, key.
pub(crate) type FileNames = [&'static str; 3];

/// What is wrong with the files, by their names in a datasource.
pub(crate) fn told(wrong: &Wrong, [ca, certificate, key]: FileNames) -> String {
    let parameter = match wrong.key() {
        "ca_file" => ca,
        "cert_file" => certificate,
        "key_file" => key,
        other => other,
    };
    format!("TLS cannot be set up: {parameter}: {}", wrong.what())
}

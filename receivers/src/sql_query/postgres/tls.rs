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
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    /// TLS that asks that of the server.
    pub(super) fn tls(self, files: TlsClientConfig) -> LateTls {
        let verify = match self {
            Self::Disable | Self::Prefer | Self::Require => Verify::Nothing,
            Self::VerifyCa => Verify::Authority,
            Self::VerifyFull => Verify::Full,
        };
        LateTls::new(files, verify)
    }
}

/// What is wrong with the files, by libpq's names.
pub(super) fn told(wrong: &Wrong) -> String {
    let parameter = match wrong.key() {
        "ca_file" => "sslrootcert",
        "cert_file" => "sslcert",
        "key_file" => "sslkey",
        other => other,
    };
    format!("TLS cannot be set up: {parameter}: {}", wrong.what())
}

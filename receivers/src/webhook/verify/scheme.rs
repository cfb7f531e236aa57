//! The recipes of known senders, and the ingredients of unknown ones.

use std::time::Duration;

use http::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::encoding::{Encoding, base64_bytes};
use super::keys::{Algorithm, Key};
use super::ring::Made;
use super::signature::Form;
use super::template::Part;

/// How a sender signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    /// Where the signature stands.
    pub(super) header: HeaderName,
    /// In what form it stands there.
    pub(super) form: Form,
    /// Where the time of signing stands, unless the form holds it or none is signed.
    pub(super) timestamp: Option<HeaderName>,
    /// In what unit the time is written.
    pub(super) unit: TimeUnit,
    /// Where a signed delivery id stands.
    pub(super) id: Option<HeaderName>,
    /// What is signed, in order.
    pub(super) signed: Vec<Part>,
    /// With which hash.
    pub(super) algorithm: Algorithm,
    /// How the code is written.
    pub(super) encoding: Encoding,
    /// How old, or how far in the future, a signed time may be; none when any will do.
    pub(super) tolerance: Option<Duration>,
    /// How a secret is written.
    pub(super) secret: SecretForm,
}

/// In what unit a time is written, since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum TimeUnit {
    /// Seconds.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretForm {
    /// Its bytes are the key.
    Plain,
    /// Base64 of the key, `whsec_` before it or not; or that of the sender's public key, with `whpk_` before it.
    Whsec,
}

/// Default tolerance of schemes that sign a time: what the senders' own libraries use.
pub(super) const TOLERANCE: Duration = Duration::from_secs(300);
/// What stands before public and private keys of Standard Webhooks.
const PUBLIC: &str = "whpk_";
const PRIVATE: &str = "whsk_";

impl Scheme {
    /// Cycles: `X-Cycles-Signature: sha256=<hex>` over the body. Neither time nor id is signed.
    pub(super) fn cycles() -> Self {
        Self::over_body(HeaderName::from_static("x-cycles-signature"), "sha256=")
    }

    /// GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body. `X-GitHub-Delivery` is not signed and not believed.
    pub(super) fn github() -> Self {
        Self::over_body(HeaderName::from_static("x-hub-signature-256"), "sha256=")
    }

    /// Standard Webhooks 1.0.0: `webhook-signature: v1,<base64> …` over `id.timestamp.body`, or `v1a,<base64> …` where the sender has a
    /// key pair of Ed25519.
    pub(super) fn standard_webhooks() -> Self {
        Self::standard(["webhook-signature", "webhook-timestamp", "webhook-id"])
    }

    /// Svix, from which Standard Webhooks came: the same under names of its own.
    pub(super) fn svix() -> Self {
        Self::standard(["svix-signature", "svix-timestamp", "svix-id"])
    }

    /// Stripe: `Stripe-Signature: t=<seconds>,v1=<hex>` over `timestamp.body`.
    pub(super) fn stripe() -> Self {
        Self {
            form: Form::Fields { time: "t", code: "v1" },
            signed: vec![Part::Timestamp, Part::Text(".".into()), Part::Body],
            tolerance: Some(TOLERANCE),
            ..Self::over_body(HeaderName::from_static("stripe-signature"), "")
        }
    }

    /// Slack: `X-Slack-Signature: v0=<hex>` over `v0:timestamp:body`.
    pub(super) fn slack() -> Self {
        Self {
            timestamp: Some(HeaderName::from_static("x-slack-request-timestamp")),
            signed: vec![Part::Text("v0:".into()), Part::Timestamp, Part::Text(":".into()), Part::Body],
            tolerance: Some(TOLERANCE),
            ..Self::over_body(HeaderName::from_static("x-slack-signature"), "v0=")
        }
    }

    /// HMAC-SHA256 in hexadecimal over the body, behind a prefix in one header.
    pub(super) fn over_body(header: HeaderName, prefix: &str) -> Self {
        Self {
            header,
            form: Form::Prefixed(prefix.into()),
            timestamp: None,
            unit: TimeUnit::Seconds,
            id: None,
            signed: vec![Part::Body],
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            tolerance: None,
            secret: SecretForm::Plain,
        }
    }

    fn standard([signature, timestamp, id]: [&'static str; 3]) -> Self {
        let dot = || Part::Text(".".into());
        Self {
            form: Form::Versions { code: "v1", signature: "v1a" },
            timestamp: Some(HeaderName::from_static(timestamp)),
            id: Some(HeaderName::from_static(id)),
            signed: vec![Part::Id, dot(), Part::Timestamp, dot(), Part::Body],
            encoding: Encoding::Base64,
            tolerance: Some(TOLERANCE),
            secret: SecretForm::Whsec,
            ..Self::over_body(HeaderName::from_static(signature), "")
        }
    }

    /// Whether a time is signed.
    pub(super) fn signs_time(&self) -> bool {
        self.signed.contains(&Part::Timestamp)
    }
}

impl SecretForm {
    /// The key of a secret as its sender hands it out; an error never quotes it.
    ///
    /// # Errors
    /// When it is not written this way.
    pub(super) fn key(self, algorithm: Algorithm, secret: &str) -> Result<Made<Key>, &'static str> {
        let public = secret.strip_prefix(PUBLIC).filter(|_| self == Self::Whsec);
        if let Some(text) = public {
            let bytes = base64_bytes(text).ok().and_then(|bytes| bytes.try_into().ok());
            let bytes: [u8; _] = bytes.ok_or("the public key is not 32 bytes in base64 behind 'whpk_'")?;
            return Ok(Made { bytes: bytes.len(), key: Key::Public(bytes) });
        }
        let bytes = self.bytes(secret)?;
        Ok(Made { key: Key::shared(algorithm, &bytes), bytes: bytes.len() })
    }

    fn bytes(self, secret: &str) -> Result<Vec<u8>, &'static str> {
        if secret.is_empty() {
            return Err("the secret is empty");
        }
        match self {
            Self::Plain => Ok(secret.as_bytes().to_vec()),
            Self::Whsec if secret.starts_with(PRIVATE) => Err(
                "this is the key that signs, which nobody but the sender should have: its public key begins with 'whpk_'",
            ),
            Self::Whsec => match base64_bytes(secret.strip_prefix("whsec_").unwrap_or(secret)) {
                Ok(bytes) if bytes.is_empty() => Err("the secret is empty behind 'whsec_'"),
                Ok(bytes) => Ok(bytes),
                Err(_) => Err("the secret is not base64: this sender's begin with 'whsec_'"),
            },
        }
    }
}

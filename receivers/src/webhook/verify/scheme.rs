//! The recipes of known senders, and the ingredients of unknown ones.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::HeaderName;

use super::keys::{Algorithm, Key};

/// How a sender signs.
#[derive(Clone, Debug)]
pub(crate) struct Scheme {
    /// Where the signature stands.
    pub(crate) header: HeaderName,
    /// In what form it stands there.
    pub(crate) form: Form,
    /// Where the time of signing stands, unless the form holds it.
    pub(crate) timestamp: Option<HeaderName>,
    /// Where a signed delivery id stands.
    pub(crate) id: Option<HeaderName>,
    /// What was signed, in order.
    pub(crate) signed: Vec<Part>,
    /// With which hash.
    pub(crate) algorithm: Algorithm,
    /// How the code is written.
    pub(crate) encoding: Encoding,
    /// How old, or how far in the future, a signed time may be.
    pub(crate) tolerance: Option<Duration>,
}

/// How a header holds signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A prefix and one code: `sha256=<code>`.
    Prefixed(Box<str>),
    /// Codes by version, space between: `v1,<code> v1,<code>`. Other versions are passed over.
    Versions(&'static str),
    /// Fields with a time: `t=<seconds>,v1=<code>,v1=<code>`.
    Fields {
        /// The field with the time.
        time: &'static str,
        /// The field with a code.
        code: &'static str,
    },
}

/// A piece of the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The raw body.
    Body,
    /// The time as it was sent.
    Timestamp,
    /// The delivery id as it was sent.
    Id,
    /// Fixed text.
    Text(Box<str>),
    /// Another header, which must stand exactly once.
    Header(HeaderName),
}

/// How a code is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// RFC 4648 section 4, with padding.
    Base64,
    /// RFC 4648 section 5, without padding.
    Base64Url,
}

/// Default tolerance of schemes that sign a time: what the senders' own libraries use.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(300);

impl Scheme {
    /// Cycles: `X-Cycles-Signature: sha256=<hex>` over the body. Neither time nor id is signed.
    pub(crate) fn cycles() -> Self {
        Self::over_body("x-cycles-signature")
    }

    /// GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body. `X-GitHub-Delivery` is not signed and not believed.
    pub(crate) fn github() -> Self {
        Self::over_body("x-hub-signature-256")
    }

    /// Standard Webhooks 1.0.0: `webhook-signature: v1,<base64> …` over `id.timestamp.body`.
    pub(crate) fn standard_webhooks() -> Self {
        let dot = || Part::Text(".".into());
        Self {
            header: HeaderName::from_static("webhook-signature"),
            form: Form::Versions("v1"),
            timestamp: Some(HeaderName::from_static("webhook-timestamp")),
            id: Some(HeaderName::from_static("webhook-id")),
            signed: vec![Part::Id, dot(), Part::Timestamp, dot(), Part::Body],
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Base64,
            tolerance: Some(TOLERANCE),
        }
    }

    /// Stripe: `Stripe-Signature: t=<seconds>,v1=<hex>` over `timestamp.body`.
    pub(crate) fn stripe() -> Self {
        Self {
            header: HeaderName::from_static("stripe-signature"),
            form: Form::Fields { time: "t", code: "v1" },
            timestamp: None,
            signed: vec![Part::Timestamp, Part::Text(".".into()), Part::Body],
            tolerance: Some(TOLERANCE),
            ..Self::over_body("stripe-signature")
        }
    }

    /// Slack: `X-Slack-Signature: v0=<hex>` over `v0:timestamp:body`.
    pub(crate) fn slack() -> Self {
        Self {
            form: Form::Prefixed("v0=".into()),
            timestamp: Some(HeaderName::from_static("x-slack-request-timestamp")),
            signed: vec![Part::Text("v0:".into()), Part::Timestamp, Part::Text(":".into()), Part::Body],
            tolerance: Some(TOLERANCE),
            ..Self::over_body("x-slack-signature")
        }
    }

    fn over_body(header: &'static str) -> Self {
        Self {
            header: HeaderName::from_static(header),
            form: Form::Prefixed("sha256=".into()),
            timestamp: None,
            id: None,
            signed: vec![Part::Body],
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            tolerance: None,
        }
    }

    /// A key for this scheme from a secret as its sender hands it out. Standard Webhooks secrets are base64 behind `whsec_`; all
    /// others are taken as they are.
    ///
    /// # Errors
    /// When a Standard Webhooks secret is not base64.
    pub(crate) fn key(&self, secret: &str) -> Result<Key, base64::DecodeError> {
        let bytes = match (&self.form, secret.strip_prefix("whsec_")) {
            (Form::Versions(_), Some(encoded)) => STANDARD.decode(encoded)?,
            _ => secret.as_bytes().to_vec(),
        };
        Ok(Key::new(self.algorithm, &bytes))
    }
}

impl Encoding {
    /// The bytes of a code; none when it is not written this way.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex(text),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()).collect()
}

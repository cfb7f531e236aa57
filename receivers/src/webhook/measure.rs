//! For benchmarks: what it costs to find out whether a request is genuine, without a door around it.

use config::{Problems, Section};
use http::HeaderMap;
use pdata::UnixNanos;
use pipeline::Meters;
use serde::Deserialize;

use super::reason::Reason;
use super::verify::{Verified, Verifier, VerifySettings};

/// What a believed request is known by.
pub struct Proof<'a> {
    /// The place of the key that fits.
    pub key: Option<usize>,
    /// The id that was signed.
    pub id: Option<&'a str>,
    /// The time that was signed.
    pub time: Option<UnixNanos>,
}

/// The key `verify` of a source, ready to verify.
pub struct Verification(Verifier);

/// A section with nothing but the key `verify`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    verify: Option<VerifySettings>,
}

impl Verification {
    /// From a section that holds the key `verify`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(yaml: &str) -> Result<Self, Problems> {
        let section = Section::from_yaml("webhook/bench", yaml)?;
        let source: Source = section.decode()?;
        let verifier = Verifier::plan(&section, "verify", source.verify.as_ref(), false)?;
        Ok(Self(verifier.watched(&Meters::unread(), "webhook/bench", "bench")))
    }

    /// What one should know about the settings.
    #[must_use]
    pub fn warnings(&self) -> &Problems {
        self.0.warnings()
    }

    /// Whether a request is believed.
    ///
    /// # Errors
    /// A word for why it is not.
    pub fn verify<'a>(&self, headers: &'a HeaderMap, body: &[u8], now: UnixNanos) -> Result<Proof<'a>, &'static str> {
        let verified = self.0.verify(headers, body, now).map_err(|refused| Reason::from(refused).word())?;
        let Verified { key, signed_id: id, signed_time: time } = verified;
        Ok(Proof { key, id, time })
    }
}

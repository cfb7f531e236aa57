//! Is this request what its sender signed?
//!
//! All signing schemes are one recipe with different ingredients ([`Scheme`]): which header holds the signature and in what
//! form, what is signed, under which hash. Verification works on the raw bytes, before anything is decompressed or parsed. It
//! tries every active key against every signature of its kind without an early exit and compares in constant time. What is missing,
//! empty, repeated or malformed is refused, whoever sent it.
//!
//! What a verified request may be believed is what was signed: the body, and the id and the time where the scheme covers them.
//! All other headers are anybody's.

mod encoding;
mod keys;
mod ring;
mod scheme;
mod settings;
mod signature;
mod template;

use std::sync::OnceLock;

use config::Problems;
use http::HeaderMap;
use http::header::HeaderName;
use pdata::UnixNanos;
use pipeline::{Count, Meters};

use self::keys::{Feed, Key, Shown, Token};
use self::ring::{Active, Ring};
use self::scheme::{Scheme, TimeUnit};
use self::signature::Entry;
use self::template::Part;

pub(crate) use self::keys::same;
pub(crate) use self::settings::{SchemeName, VerifySettings};

/// Decides whether requests of one source are believed. Shared by all connections; keys in files are read again by whoever
/// asks, at most once a second.
#[derive(Debug)]
pub(crate) struct Verifier {
    way: Way,
    warnings: Problems,
    used: Used,
}

#[derive(Debug)]
enum Way {
    /// By a code over the body.
    Signed { scheme: Scheme, ring: Ring<Key> },
    /// By a secret that is sent along.
    Token { header: HeaderName, prefix: Box<str>, ring: Ring<Token> },
    /// Not at all.
    Open,
}

/// What a believed request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified<'a> {
    /// The place of the key that fits, counted from 0: written secrets first, then those of files. None without keys.
    pub(crate) key: Option<usize>,
    /// The delivery's id, where the scheme signs one.
    pub(crate) signed_id: Option<&'a str>,
    /// When it was signed, where the scheme signs that.
    pub(crate) signed_time: Option<UnixNanos>,
}

/// Why a request is not believed. A closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A header that the scheme needs is not there, or is empty.
    Missing,
    /// A header that may stand once stands twice.
    Repeated,
    /// A header is not of the scheme's form, or holds what cannot be a code of its algorithm.
    Malformed,
    /// No active key fits.
    Bad,
    /// Authentic, but signed too long ago or too far in the future.
    Stale,
    /// No active key fits, but a file with secrets cannot be read, so it is not known whether one would. Not the sender's
    /// fault: to be answered 503, so that it sends again.
    Unready,
}

/// How often each key fitted. Counted from the first time on: of keys that nobody uses there is nothing to say.
#[derive(Debug)]
struct Used {
    meters: Meters,
    labels: Vec<(&'static str, String)>,
    counts: [OnceLock<Count>; ring::KEYS_MAX],
}

impl Verifier {
    fn new(way: Way, warnings: Problems) -> Self {
        let used = Used { meters: Meters::unread(), labels: Vec::new(), counts: Default::default() };
        Self { way, warnings, used }
    }

    /// Counts which key fits, under the names of a receiver and its source. Who changes a secret sees when the old one is no
    /// longer used.
    #[must_use]
    pub(crate) fn watched(mut self, meters: &Meters, receiver: &str, source: &str) -> Self {
        let labels = vec![("receiver", receiver.to_owned()), ("source", source.to_owned())];
        self.used = Used { meters: meters.clone(), labels, counts: Default::default() };
        self
    }

    /// What one should know about it, with places.
    pub(crate) fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// Whether a request is believed that shows nothing at all.
    fn lets_nobodies_in(&self) -> bool {
        self.verify(&HeaderMap::new(), b"", UnixNanos::UNSET).is_ok()
    }

    /// Verifies a request as it came, at wall time `now`.
    ///
    /// # Errors
    /// Why it must not be believed.
    pub(crate) fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
        now: UnixNanos,
    ) -> Result<Verified<'a>, Refused> {
        let verified = match &self.way {
            Way::Signed { scheme, ring } => scheme.verify(ring, headers, body, now)?,
            Way::Token { header, prefix, ring } => {
                let shown = single_bytes(headers, header)?;
                let token = shown.strip_prefix(prefix.as_bytes()).ok_or(Refused::Malformed)?;
                let active = ring.active();
                let key = active.named(keys::find_token(&active.keys, token))?;
                Verified { key: Some(key), signed_id: None, signed_time: None }
            }
            Way::Open => Verified { key: None, signed_id: None, signed_time: None },
        };
        verified.key.inspect(|key| self.used.add(*key));
        Ok(verified)
    }
}

impl Used {
    fn add(&self, key: usize) {
        let count = self.counts[key].get_or_init(|| {
            let labels = self.labels.iter().cloned().chain([("key", key.to_string())]).collect();
            let about = "Requests verified, by the place of the key that fitted.";
            self.meters.count("weir_webhook_signature_key_used", about, "{requests}", labels)
        });
        count.add(1);
    }
}

impl Scheme {
    fn verify<'a>(
        &self,
        ring: &Ring<Key>,
        headers: &'a HeaderMap,
        body: &[u8],
        now: UnixNanos,
    ) -> Result<Verified<'a>, Refused> {
        let mut shown = Shown::default();
        let header = single(headers, &self.header)?;
        let inline = self.form.read(header, |entry| match entry {
            Entry::Code(text) => shown.codes.extend(self.encoding.decode(self.algorithm, text)),
            Entry::Signature(text) => shown.signatures.extend(self.encoding.signature(text)),
        })?;
        if shown.is_empty() {
            return Err(Refused::Malformed);
        }
        let written = match &self.timestamp {
            Some(name) => Some(single(headers, name)?),
            None => inline,
        };
        let time = written.map(|text| self.unit.read(text)).transpose()?;
        let id = self.id.as_ref().map(|name| single(headers, name)).transpose()?;
        let free = template::free(&self.signed, id, headers)?;

        let active = ring.active();
        let found = keys::find(&active.keys, &shown, |signed: &mut dyn Feed| {
            let mut free = free.iter();
            for part in &self.signed {
                signed.update(match part {
                    Part::Body => body,
                    Part::Timestamp => written.unwrap_or_default().as_bytes(),
                    Part::Text(text) => text.as_bytes(),
                    Part::Id | Part::Header(_) => free.next().copied().unwrap_or_default().as_bytes(),
                });
            }
        });
        let key = active.named(found)?;
        // After the signature: a forger learns nothing of our clock, and what is called stale is authentic.
        if let (Some(tolerance), Some(time)) = (self.tolerance, time)
            && now.since(time).max(time.since(now)) > tolerance
        {
            return Err(Refused::Stale);
        }
        Ok(Verified { key: Some(key), signed_id: id, signed_time: time })
    }
}

impl<K> Active<K> {
    fn named(&self, found: Option<usize>) -> Result<usize, Refused> {
        found.ok_or(if self.incomplete { Refused::Unready } else { Refused::Bad })
    }
}

impl TimeUnit {
    /// A whole number of this unit since 1970, as all schemes write their times: digits and nothing else, up to the year 5138.
    fn read(self, text: &str) -> Result<UnixNanos, Refused> {
        let (digits_max, nanos) = match self {
            Self::Seconds => (11, 1_000_000_000),
            Self::Millis => (14, 1_000_000),
        };
        if text.len() > digits_max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refused::Malformed);
        }
        let count: u64 = text.parse().map_err(|_| Refused::Malformed)?;
        Ok(UnixNanos(count.saturating_mul(nanos)))
    }
}

/// The text of a header that must stand exactly once and not be empty.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    let bytes = single_bytes(headers, name)?;
    // Visible ASCII and spaces: what else a header can hold is no part of any scheme.
    let plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    std::str::from_utf8(bytes).ok().filter(|_| plain).ok_or(Refused::Malformed)
}

fn single_bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Refused::Missing),
        (Some(_), Some(_)) => Err(Refused::Repeated),
        (Some(value), None) if value.is_empty() => Err(Refused::Missing),
        (Some(value), None) => Ok(value.as_bytes()),
    }
}

#[cfg(test)]
mod tests;

//! Is this request what its sender signed?
//!
//! All schemes are one recipe with different ingredients ([`Scheme`]): which header holds the signature and in what form, what was
//! signed, under which algorithm. Verification works on the raw bytes, before anything is decompressed or parsed; it tries every
//! key and every signature without an early exit and compares in constant time. A signature header that is missing, empty,
//! repeated or malformed fails closed.

mod keys;
mod scheme;
mod signature;

use http::HeaderMap;
use http::header::HeaderName;
use pdata::UnixNanos;

pub(crate) use keys::{Algorithm, Key};
pub(crate) use scheme::{Encoding, Form, Part, Scheme};

/// What verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding<'a> {
    /// The sender holds one of the keys.
    Authentic(Signed<'a>),
    /// It must not be believed, and why.
    Forged(Flaw),
}

/// What the signature covers besides the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    /// The delivery's id, where the scheme signs one.
    pub(crate) id: Option<&'a str>,
    /// When it was signed, where the scheme signs that.
    pub(crate) time: Option<UnixNanos>,
    /// Which of the keys fits, counted from 0.
    pub(crate) key: usize,
}

/// Why a request is not believed. A closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A header that the scheme needs is not there, or empty.
    Missing,
    /// A header that may stand once stands twice.
    Repeated,
    /// A header is not of the scheme's form.
    Malformed,
    /// No key fits.
    Mismatch,
    /// Signed too long ago, or too far in the future.
    Stale,
}

/// At most so many signatures in one header are looked at; senders that rotate keys send two.
const SIGNATURES_MAX: usize = 8;

impl Flaw {
    /// The word for metrics and answers.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale",
        }
    }
}

/// Verifies a request at wall time `now`.
pub(crate) fn verify<'a>(
    scheme: &Scheme,
    keys: &[Key],
    headers: &'a HeaderMap,
    body: &[u8],
    now: UnixNanos,
) -> Finding<'a> {
    match check(scheme, keys, headers, body, now) {
        Ok(signed) => Finding::Authentic(signed),
        Err(flaw) => Finding::Forged(flaw),
    }
}

fn check<'a>(
    scheme: &Scheme,
    keys: &[Key],
    headers: &'a HeaderMap,
    body: &[u8],
    now: UnixNanos,
) -> Result<Signed<'a>, Flaw> {
    let header = single(headers, &scheme.header)?;
    let parsed = signature::parse(&scheme.form, header)?;
    let timestamp = match (&scheme.timestamp, parsed.timestamp) {
        (_, Some(inline)) => Some(inline),
        (Some(name), None) => Some(single(headers, name)?),
        (None, None) => None,
    };
    let id = scheme.id.as_ref().map(|name| single(headers, name)).transpose()?;
    let time = timestamp.map(seconds).transpose()?;

    let mut others = smallvec::SmallVec::<[&str; 4]>::new();
    for part in &scheme.signed {
        if let Part::Header(name) = part {
            others.push(single(headers, name)?);
        }
    }
    let found = keys::find(keys, scheme.encoding, &parsed.signatures, |mac| {
        let mut others = others.iter();
        for part in &scheme.signed {
            match part {
                Part::Body => mac.update(body),
                Part::Timestamp => mac.update(timestamp.unwrap_or_default().as_bytes()),
                Part::Id => mac.update(id.unwrap_or_default().as_bytes()),
                Part::Text(text) => mac.update(text.as_bytes()),
                Part::Header(_) => mac.update(others.next().copied().unwrap_or_default().as_bytes()),
            }
        }
    });
    let key = found.ok_or(Flaw::Mismatch)?;
    // Only now: a forger learns nothing of our clock.
    if let (Some(tolerance), Some(time)) = (scheme.tolerance, time)
        && (now.since(time) > tolerance || time.since(now) > tolerance)
    {
        return Err(Flaw::Stale);
    }
    Ok(Signed { id, time, key })
}

/// The value of a header that must stand exactly once and not be empty.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Flaw> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Flaw::Missing)?;
    if values.next().is_some() {
        return Err(Flaw::Repeated);
    }
    let value = value.to_str().map_err(|_| Flaw::Malformed)?;
    if value.is_empty() { Err(Flaw::Missing) } else { Ok(value) }
}

/// Whole seconds since 1970, as all schemes write their times.
fn seconds(text: &str) -> Result<UnixNanos, Flaw> {
    let plain = !text.is_empty() && text.len() <= 11 && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = text.parse().map_err(|_| Flaw::Malformed)?;
    if plain { Ok(UnixNanos(seconds.saturating_mul(1_000_000_000))) } else { Err(Flaw::Malformed) }
}

#[cfg(test)]
mod tests;

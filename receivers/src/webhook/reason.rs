//! Why something was not counted: a closed set of words, so that no sender can write into a label.

use http::StatusCode;

use super::verify;

/// Why a request, or an event of one, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Another method than the source's.
    Method,
    /// A Content-Type that is not taken.
    MediaType,
    /// A Content-Encoding that is not taken.
    Encoding,
    /// The body is too large, packed or unpacked, or holds too many events.
    TooLarge,
    /// Its framing or packing is broken.
    Body,
    /// It came too slowly.
    Slow,
    /// A header that the scheme needs is not there.
    SignatureMissing,
    /// It stands twice.
    SignatureRepeated,
    /// It is not of the scheme's form.
    SignatureMalformed,
    /// No key fits.
    SignatureBad,
    /// The keys cannot be read now.
    SecretUnreadable,
    /// The challenge's token is wrong, or what it should echo is missing.
    Challenge,
    /// Authentic, and its time is too far from now.
    Stale,
    /// Authentic, and not to be read as an event.
    Malformed,
    /// Authentic, and older than the dedup window.
    TooOld,
    /// Too many requests a second.
    Rate,
    /// Too many bodies at once, or the ledger's queue did not move in time.
    Overloaded,
    /// The spool is full.
    SpoolFull,
    /// The ledger cannot be written now.
    NotReady,
}

impl Reason {
    pub(super) const ALL: [Self; 19] = [
        Self::Method,
        Self::MediaType,
        Self::Encoding,
        Self::TooLarge,
        Self::Body,
        Self::Slow,
        Self::SignatureMissing,
        Self::SignatureRepeated,
        Self::SignatureMalformed,
        Self::SignatureBad,
        Self::SecretUnreadable,
        Self::Challenge,
        Self::Stale,
        Self::Malformed,
        Self::TooOld,
        Self::Rate,
        Self::Overloaded,
        Self::SpoolFull,
        Self::NotReady,
    ];

    /// The word for labels and answers.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::MediaType => "media_type",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
            Self::Body => "body",
            Self::Slow => "slow",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureRepeated => "signature_repeated",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureBad => "signature_bad",
            Self::SecretUnreadable => "secret_unreadable",
            Self::Challenge => "challenge",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::TooOld => "too_old",
            Self::Rate => "rate",
            Self::Overloaded => "overloaded",
            Self::SpoolFull => "spool_full",
            Self::NotReady => "not_ready",
        }
    }

    /// What a request is answered that ends for this reason. An authentic one that cannot be used is 200: senders try again on
    /// anything else, and at last give the whole subscription up.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::SignatureMissing | Self::SignatureRepeated | Self::SignatureMalformed | Self::SignatureBad => {
                StatusCode::UNAUTHORIZED
            }
            Self::Challenge => StatusCode::FORBIDDEN,
            Self::Stale | Self::Malformed | Self::TooOld => StatusCode::OK,
            Self::Rate => StatusCode::TOO_MANY_REQUESTS,
            Self::SecretUnreadable | Self::Overloaded | Self::SpoolFull | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl From<verify::Refused> for Reason {
    fn from(refused: verify::Refused) -> Self {
        match refused {
            verify::Refused::Missing => Self::SignatureMissing,
            verify::Refused::Repeated => Self::SignatureRepeated,
            verify::Refused::Malformed => Self::SignatureMalformed,
            verify::Refused::Bad => Self::SignatureBad,
            verify::Refused::Stale => Self::Stale,
            verify::Refused::Unready => Self::SecretUnreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place_and_has_a_word_of_its_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert!(!Reason::ALL[..place].iter().any(|other| other.word() == reason.word()));
        }
    }
}

//! How codes are written in headers.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::{Algorithm, Code, SIGNATURE_BYTES};

/// How a code is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// Hexadecimal, in either case.
    #[default]
    Hex,
    /// RFC 4648 section 4, with or without padding.
    Base64,
    /// RFC 4648 section 5, with or without padding.
    Base64Url,
}

/// Padding says nothing that the length does not; bits behind the last byte must be zero, so no two texts are one code
/// but for it.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

impl Encoding {
    /// The code that a text stands for; none when the text is not written this way or is no code of the algorithm.
    pub(super) fn decode(self, algorithm: Algorithm, text: &str) -> Option<Code> {
        Code::written(algorithm, |buffer| self.bytes(text, buffer))
    }

    /// The signature of Ed25519 that a text stands for; none when it is none.
    pub(super) fn signature(self, text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
        let mut signature = [0; SIGNATURE_BYTES];
        (self.bytes(text, &mut signature)? == SIGNATURE_BYTES).then_some(signature)
    }

    fn bytes(self, text: &str, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Self::Hex => hex(text, buffer),
            Self::Base64 => BASE64.decode_slice(text, buffer).ok(),
            Self::Base64Url => BASE64_URL.decode_slice(text, buffer).ok(),
        }
    }
}

/// Bytes of base64 as secrets are handed out.
///
/// # Errors
/// When the text is not base64.
pub(super) fn base64_bytes(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    BASE64.decode(text)
}

fn hex(text: &str, buffer: &mut [u8]) -> Option<usize> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() / 2 > buffer.len() {
        return None;
    }
    let mut all = 0;
    for (byte, pair) in buffer.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        *byte = high << 4 | low & 0xf;
        all |= high | low;
    }
    (all & NO_DIGIT == 0).then_some(digits.len() / 2)
}

/// What each byte is worth as a hexadecimal digit, or [`NO_DIGIT`].
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_in_all_its_spellings_and_in_no_other() {
        let reads = |encoding: Encoding, text: &str| encoding.decode(Algorithm::Sha1, text).is_some();
        for (encoding, text, read) in [
            (Encoding::Hex, "00112233445566778899aabbccddeeff00112233", true),
            (Encoding::Hex, "00112233445566778899AABBCCDDEEFF00112233", true),
            (Encoding::Hex, "00112233445566778899aabbccddeeff0011223", false),
            (Encoding::Hex, "00112233445566778899aabbccddeeff001122", false),
            (Encoding::Hex, "00112233445566778899aabbccddeeff0011223344", false),
            (Encoding::Hex, "00112233445566778899aabbccddeeff0011223g", false),
            (Encoding::Hex, "", false),
            (Encoding::Base64, "ABEiM0RVZneImaq7zN3u/wARIjM=", true),
            (Encoding::Base64, "ABEiM0RVZneImaq7zN3u/wARIjM", true),
            (Encoding::Base64, "ABEiM0RVZneImaq7zN3u/wARIjN=", false), // a bit behind the last byte
            (Encoding::Base64, "ABEiM0RVZneImaq7zN3u_wARIjM=", false),
            (Encoding::Base64, "ABEiM0RVZneImaq7zN3u/wARIg==", false),
            (Encoding::Base64, "", false),
            (Encoding::Base64Url, "ABEiM0RVZneImaq7zN3u_wARIjM=", true),
            (Encoding::Base64Url, "ABEiM0RVZneImaq7zN3u_wARIjM", true),
            (Encoding::Base64Url, "ABEiM0RVZneImaq7zN3u/wARIjM", false),
        ] {
            assert_eq!(reads(encoding, text), read, "{encoding:?} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", padded in "[A-Za-z0-9+/_-]{0,120}={0,3}") {
            for text in [&text, &padded] {
                for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
                    for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                        let code = encoding.decode(algorithm, text);
                        prop_assert!(code.is_none() || text.len() >= algorithm.bytes());
                    }
                }
            }
        }
    }
}

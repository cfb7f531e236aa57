//! Keys, the codes that they make or the signatures that they check, and what senders show of both.

use hmac::{Hmac, KeyInit, Mac as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use smallvec::SmallVec;
use subtle::{Choice, ConstantTimeEq};

/// The hash behind a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    /// Only where the sender offers nothing better.
    Sha1,
    /// What nearly all senders use.
    #[default]
    Sha256,
    /// Codes of 64 bytes.
    Sha512,
}

/// A key, ready to verify with.
#[derive(Clone)]
pub(super) enum Key {
    /// A secret that is shared with the sender. Its key schedule is worked out once.
    Shared(Box<Mac>),
    /// A sender's public key of Ed25519.
    Public([u8; PUBLIC_BYTES]),
}

/// A code in the making.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// Takes what is signed, piece by piece.
pub(super) trait Feed {
    /// Adds bytes.
    fn update(&mut self, bytes: &[u8]);
}

/// A message authentication code. As long as its algorithm makes it; a shorter or longer one is never compared.
#[derive(Clone, Copy)]
pub(super) struct Code {
    bytes: [u8; CODE_BYTES_MAX],
    length: usize,
}

/// The longest code, of SHA-512.
const CODE_BYTES_MAX: usize = 64;
/// A public key of Ed25519.
pub(super) const PUBLIC_BYTES: usize = 32;
/// A signature of Ed25519.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// A static token's digest: comparing digests tells nothing of the token's length.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

/// What a request shows: one code or signature as a rule, two while a sender changes its key.
#[derive(Default)]
pub(super) struct Shown {
    /// Codes that a shared secret makes.
    pub(super) codes: SmallVec<[Code; 2]>,
    /// Signatures that a public key checks.
    pub(super) signatures: SmallVec<[[u8; SIGNATURE_BYTES]; 1]>,
}

impl Algorithm {
    /// The length of its codes.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl Key {
    /// A key from secret bytes of any length.
    pub(super) fn shared(algorithm: Algorithm, secret: &[u8]) -> Self {
        const ANY: &str = "an HMAC key may have any length (RFC 2104, section 2)";
        Self::Shared(Box::new(match algorithm {
            Algorithm::Sha1 => Mac::Sha1(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha256 => Mac::Sha256(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha512 => Mac::Sha512(Hmac::new_from_slice(secret).expect(ANY)),
        }))
    }
}

impl Mac {
    fn finish(self) -> Code {
        match self {
            Self::Sha1(mac) => Code::of(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => Code::of(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => Code::of(&mac.finalize().into_bytes()),
        }
    }
}

impl Feed for Mac {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }
}

impl Feed for Vec<u8> {
    fn update(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Shown {
    /// Whether there is nothing that any key could fit.
    pub(super) fn is_empty(&self) -> bool {
        self.codes.is_empty() && self.signatures.is_empty()
    }
}

impl Code {
    fn of(bytes: &[u8]) -> Self {
        let mut code = Self { bytes: [0; CODE_BYTES_MAX], length: bytes.len() };
        code.bytes[..bytes.len()].copy_from_slice(bytes);
        code
    }

    /// A code that `write` writes into a buffer of the algorithm's length; `write` gives the number of bytes.
    pub(super) fn written(algorithm: Algorithm, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Self> {
        let mut code = Self { bytes: [0; CODE_BYTES_MAX], length: algorithm.bytes() };
        let length = write(&mut code.bytes)?;
        (length == code.length).then_some(code)
    }
}

impl ConstantTimeEq for Code {
    /// All bytes of the buffer, whatever the length: what is behind it is zero on both sides.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & (self.length as u64).ct_eq(&(other.length as u64))
    }
}

impl Token {
    pub(super) fn new(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Which key made one of the codes or signatures over what `feed` feeds, counted from 0. Every key is tried against all that is shown
/// of its kind, so that time does not tell which of them fits, or how nearly; of several that fit the first one is named.
pub(super) fn find(keys: &[Key], shown: &Shown, feed: impl Fn(&mut dyn Feed)) -> Option<usize> {
    // Ed25519 goes over its message twice, so it must stand in one piece; codes are made of the pieces.
    let mut message = Vec::new();
    if !shown.signatures.is_empty() && keys.iter().any(|key| matches!(key, Key::Public(_))) {
        feed(&mut message);
    }
    first(keys, |key| match key {
        Key::Shared(mac) => {
            let mut mac = Mac::clone(mac);
            feed(&mut mac);
            let code = mac.finish();
            shown.codes.iter().fold(Choice::from(0), |fits, shown| fits | shown.ct_eq(&code))
        }
        Key::Public(key) => {
            let key = UnparsedPublicKey::new(&ED25519, key);
            let fits = |signature: &[u8; SIGNATURE_BYTES]| u8::from(key.verify(&message, signature).is_ok());
            shown.signatures.iter().fold(Choice::from(0), |found, signature| found | fits(signature).into())
        }
    })
}

/// Which token was shown, looked for in the same way.
pub(super) fn find_token(tokens: &[Token], shown: &[u8]) -> Option<usize> {
    let shown = Token::new(shown);
    first(tokens, |token| token.0.ct_eq(&shown.0))
}

/// Whether two texts are the same, in a time that tells neither how nearly nor how long the first one is.
pub(crate) fn same(wanted: &[u8], given: &[u8]) -> bool {
    Token::new(wanted).0.ct_eq(&Token::new(given).0).into()
}

fn first<K>(keys: &[K], fits: impl Fn(&K) -> Choice) -> Option<usize> {
    keys.iter().enumerate().rev().fold(None, |found, (index, key)| if fits(key).into() { Some(index) } else { found })
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([REDACTED])")
    }
}

impl std::fmt::Debug for Token {
    /// Not even the digest: that of a short token can be undone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token([REDACTED])")
    }
}

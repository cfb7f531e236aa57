//! Keys, and the codes that they make and that senders show.

use hmac::{Hmac, KeyInit, Mac as _};
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

/// A secret, ready to verify with: its key schedule is worked out once.
#[derive(Clone)]
pub(super) struct Key(State);

/// A code in the making.
pub(super) struct Mac(State);

#[derive(Clone)]
enum State {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// A message authentication code. As long as its algorithm makes it; a shorter or longer one is never compared.
#[derive(Clone, Copy)]
pub(super) struct Code {
    bytes: [u8; CODE_BYTES_MAX],
    length: usize,
}

/// The longest code, of SHA-512.
const CODE_BYTES_MAX: usize = 64;

/// A static token's digest: comparing digests tells nothing of the token's length.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

/// Codes that a request shows: one as a rule, two while a sender changes its secret.
pub(super) type Shown = SmallVec<[Code; 2]>;

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
    pub(super) fn new(algorithm: Algorithm, secret: &[u8]) -> Self {
        const ANY: &str = "an HMAC key may have any length (RFC 2104, section 2)";
        Self(match algorithm {
            Algorithm::Sha1 => State::Sha1(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha256 => State::Sha256(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha512 => State::Sha512(Hmac::new_from_slice(secret).expect(ANY)),
        })
    }

    /// The code over what `feed` feeds.
    fn code(&self, feed: &impl Fn(&mut Mac)) -> Code {
        let mut mac = Mac(self.0.clone());
        feed(&mut mac);
        mac.finish()
    }
}

impl Mac {
    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(mac) => mac.update(bytes),
            State::Sha256(mac) => mac.update(bytes),
            State::Sha512(mac) => mac.update(bytes),
        }
    }

    fn finish(self) -> Code {
        match self.0 {
            State::Sha1(mac) => Code::of(&mac.finalize().into_bytes()),
            State::Sha256(mac) => Code::of(&mac.finalize().into_bytes()),
            State::Sha512(mac) => Code::of(&mac.finalize().into_bytes()),
        }
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

/// Which key made one of the codes over what `feed` feeds, counted from 0. Every key makes its code and every pair is
/// compared, so that time does not tell which of them fits, or how nearly; of several that fit the first one is named.
pub(super) fn find(keys: &[Key], shown: &[Code], feed: impl Fn(&mut Mac)) -> Option<usize> {
    first(keys, |key| {
        let code = key.code(&feed);
        shown.iter().fold(Choice::from(0), |fits, shown| fits | shown.ct_eq(&code))
    })
}

/// Which token was shown, looked for in the same way.
pub(super) fn find_token(tokens: &[Token], shown: &[u8]) -> Option<usize> {
    let shown = Token::new(shown);
    first(tokens, |token| token.0.ct_eq(&shown.0))
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

//! Keys and message authentication codes.

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::scheme::Encoding;

/// A secret, ready to sign with: the key schedule is worked out once.
#[derive(Clone)]
pub(crate) struct Key(State);

/// The hash behind a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Only where the sender offers nothing better.
    Sha1,
    /// What nearly all senders use.
    Sha256,
    /// Longer, slower on 32-bit machines.
    Sha512,
}

/// A code in the making.
#[derive(Clone)]
pub(crate) struct Mac(State);

#[derive(Clone)]
enum State {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// The longest code, of SHA-512.
type Code = smallvec::SmallVec<[u8; 64]>;

impl Key {
    /// A key from secret bytes of any length.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Self {
        const ANY: &str = "an HMAC key may have any length (RFC 2104, section 2)";
        Self(match algorithm {
            Algorithm::Sha1 => State::Sha1(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha256 => State::Sha256(Hmac::new_from_slice(secret).expect(ANY)),
            Algorithm::Sha512 => State::Sha512(Hmac::new_from_slice(secret).expect(ANY)),
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([REDACTED])")
    }
}

impl Mac {
    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(mac) => mac.update(bytes),
            State::Sha256(mac) => mac.update(bytes),
            State::Sha512(mac) => mac.update(bytes),
        }
    }

    fn finish(self) -> Code {
        match self.0 {
            State::Sha1(mac) => Code::from_slice(&mac.finalize().into_bytes()),
            State::Sha256(mac) => Code::from_slice(&mac.finalize().into_bytes()),
            State::Sha512(mac) => Code::from_slice(&mac.finalize().into_bytes()),
        }
    }
}

/// Which key made one of the signatures over what `feed` feeds. All pairs are compared, each in constant time; of several that
/// fit the first key counts.
pub(super) fn find(keys: &[Key], encoding: Encoding, signatures: &[&str], feed: impl Fn(&mut Mac)) -> Option<usize> {
    let given: smallvec::SmallVec<[Vec<u8>; 2]> = signatures.iter().filter_map(|text| encoding.decode(text)).collect();
    let mut found = None;
    for (index, key) in keys.iter().enumerate().rev() {
        let mut mac = Mac(key.0.clone());
        feed(&mut mac);
        let code = mac.finish();
        let mut fits = subtle::Choice::from(0);
        for given in &given {
            // `ct_eq` of slices tells lengths apart at once; the length of a code is no secret.
            fits |= given.as_slice().ct_eq(&code);
        }
        if bool::from(fits) {
            found = Some(index);
        }
    }
    found
}

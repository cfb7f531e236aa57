//! Log-ins: what proves that we know the password (dev.mysql.com, "Authentication Methods").

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    Native,
    CachingSha2,
    /// The password itself.
    Clear,
}

/// How far what is said can be overheard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Privacy {
    /// By anybody on the way.
    None,
    /// By somebody on the way who pretends to be the server.
    Hidden,
    /// By nobody but the server: a certificate was verified, or it is a socket of this machine.
    Private,
}

impl Plugin {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "mysql_native_password" => Self::Native,
            "caching_sha2_password" => Self::CachingSha2,
            "mysql_clear_password" => Self::Clear,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Clear => "mysql_clear_password",
        }
    }

    /// The proof. Without a password there is none to give.
    pub(super) fn proof(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        let password = password.as_bytes();
        match self {
            Self::Clear => [password, &[0]].concat(),
            _ if password.is_empty() => Vec::new(),
            Self::Native => {
                let once = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[password]);
                let twice = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&once]);
                xor(once, &hash(&SHA1_FOR_LEGACY_USE_ONLY, &[nonce, &twice]))
            }
            Self::CachingSha2 => {
                let once = hash(&SHA256, &[password]);
                let twice = hash(&SHA256, &[&once]);
                xor(once, &hash(&SHA256, &[&twice, nonce]))
            }
        }
    }
}

fn hash(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn xor(mut left: Vec<u8>, right: &[u8]) -> Vec<u8> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left ^= right);
    left
}

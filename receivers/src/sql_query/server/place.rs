//! Where a server is, in whichever form that is written.

use std::borrow::Cow;
use std::path::PathBuf;

use config::Secret;
use pipeline::net::client::LateTls;

use super::tls::{FileNames, SslMode, told};
use super::trouble::{Trouble, unavailable};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// What is wrong with what was written. Never holds it but for names of parameters: there is a password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key where it stands.
    pub(crate) key: &'static str,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// A password, or where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Password {
    pub(crate) written: Option<Secret>,
    /// Read at each connection.
    pub(crate) file: Option<PathBuf>,
}

impl Password {
    /// As it is now; `None`: none is set.
    pub(crate) fn read<E>(&self) -> Result<Option<String>, Trouble<E>> {
        self.text().map_err(unavailable)
    }

    fn text(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.file else {
            return Ok(self.written.as_ref().map(|password| password.expose().to_owned()));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("'password_file' {} cannot be read: {error}", path.display()))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// What is wrong now with the files that a connection will need, each with its key; a parameter of the datasource has none.
pub(crate) fn unusable(
    password: &Password,
    mode: SslMode,
    tls: &LateTls,
    names: FileNames,
) -> Vec<(Option<&'static str>, String)> {
    let password = password.text().err().map(|message| (Some("password_file"), message));
    let tls = if mode == SslMode::Disable { Ok(()) } else { tls.look() };
    password.into_iter().chain(tls.err().map(|wrong| (None, told(&wrong, names)))).collect()
}

/// A text without its percent escapes; `None` when one of them is none, or what comes of it is no text.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// A database as messages name it: without a password.
pub(crate) fn shown(hosts: &[Host], database: &str) -> String {
    match hosts.first() {
        Some(Host::Tcp(host, port)) => format!("{host}:{port}/{database}"),
        Some(Host::Unix(path)) => format!("{}/{database}", path.display()),
        None => database.to_owned(),
    }
}

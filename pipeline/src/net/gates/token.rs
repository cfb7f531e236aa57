//! The token gate: `Authorization: Bearer`, RFC 6750.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::config::Secret;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::net::pem::read_bounded;

/// A shorter token can be guessed; 16 random bytes are what NIST asks of a session secret.
pub(super) const MIN_TOKEN_BYTES: usize = 16;
/// The most tokens of a file: a rotation needs two, a handful of scrapers one each.
const MAX_TOKENS: usize = 64;
/// The most bytes of a token file.
const MAX_FILE_BYTES: u64 = 64 * 1_024;
/// How often at most the file is read again. It is small, and reading it is surer than its times, which some file systems
/// keep too coarsely for two changes in a row.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Digest = [u8; 32];

/// Tokens that pass. Only their digests are kept.
pub(super) enum TokenGate {
    Fixed(Arc<[Digest]>),
    File(TokenFile),
}

/// Tokens in a file, one a line.
pub(super) struct TokenFile {
    path: PathBuf,
    /// Never held over an await.
    read: Mutex<Read>,
}

struct Read {
    /// None pass while the file cannot be read or holds none: closed is the safe side.
    tokens: Result<Arc<[Digest]>, String>,
    at: Instant,
}

impl TokenGate {
    /// One token, and its length.
    pub(super) fn fixed(token: &Secret) -> Result<(Self, usize), String> {
        let text = token.expose();
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        check(text)?;
        Ok((Self::Fixed([digest(text.as_bytes())].into()), text.len()))
    }

    /// The tokens of a file, and the length of the shortest.
    pub(super) fn file(path: &str) -> Result<(Self, usize), String> {
        let path = PathBuf::from(path);
        let (tokens, shortest) = read(&path)?;
        let read = Mutex::new(Read { tokens: Ok(tokens), at: Instant::now() });
        Ok((Self::File(TokenFile { path, read }), shortest))
    }

    /// Whether the request shows a token that passes.
    pub(super) fn passes(&self, headers: &HeaderMap) -> bool {
        let Some(shown) = shown(headers) else { return false };
        let shown = digest(shown);
        match self {
            Self::Fixed(tokens) => is_one_of(&shown, tokens),
            Self::File(file) => file.tokens().is_some_and(|tokens| is_one_of(&shown, &tokens)),
        }
    }
}

impl std::fmt::Debug for TokenGate {
    /// Not even the digests: that of a short token can be undone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenGate([REDACTED])")
    }
}

impl TokenFile {
    /// The tokens as they are on disk, at most a second old.
    fn tokens(&self) -> Option<Arc<[Digest]>> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() >= LOOK_EVERY {
            last.at = Instant::now();
            let next = read(&self.path).map(|(tokens, _)| tokens);
            match (&last.tokens, &next) {
                (old, new) if old == new => {}
                (_, Ok(_)) => info!(file = %self.path.display(), "tokens read again"),
                (_, Err(error)) => warn!(%error, "no token passes until the file is right again"),
            }
            last.tokens = next;
        }
        last.tokens.as_ref().ok().cloned()
    }
}

/// The token that a request shows: exactly one `Authorization` header, with the scheme `Bearer` in any case (RFC 9110, 11.1).
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let (scheme, rest) = line.as_bytes().split_at_checked(b"Bearer".len())?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(b"Bearer") && rest.starts_with(b" ") && !token.is_empty()).then_some(token)
}

/// Looks at all tokens, and at all bytes of each, so that time tells nothing.
fn is_one_of(shown: &Digest, tokens: &[Digest]) -> bool {
    tokens.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(shown)).into()
}

fn digest(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

fn read(path: &Path) -> Result<(Arc<[Digest]>, usize), String> {
    let shown = path.display();
    let bytes = read_bounded(path, MAX_FILE_BYTES).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.len() > MAX_TOKENS {
        return Err(format!("{shown} holds {} tokens, at most {MAX_TOKENS}", lines.len()));
    }
    for line in &lines {
        check(line).map_err(|error| format!("{shown}: {error}"))?;
    }
    let shortest = lines.iter().map(|line| line.len()).min().ok_or_else(|| format!("{shown} holds no token"))?;
    Ok((lines.iter().map(|line| digest(line.as_bytes())).collect(), shortest))
}

/// Whether a token can stand in a header; never quotes it.
fn check(token: &str) -> Result<(), String> {
    if token.is_empty() {
        return Err("the token is empty".to_owned());
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token holds a space, a line break or a character that is not ASCII: no client could send it"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (header::AUTHORIZATION, HeaderValue::from_str(line).unwrap()));
        lines.collect()
    }

    #[test]
    fn only_the_whole_token_shown_once_passes() {
        let (gate, _) = TokenGate::fixed(&Secret::new(TOKEN)).unwrap();
        for (lines, passes) in [
            (&["Bearer 0123456789abcdef"][..], true),
            (&["bearer 0123456789abcdef"], true),
            (&["BEARER 0123456789abcdef"], true),
            (&["Bearer   0123456789abcdef"], true),
            (&[], false),
            (&[""], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&["Bearer    "], false),
            (&["0123456789abcdef"], false),
            (&["Bearer0123456789abcdef"], false),
            (&["Bearer\t0123456789abcdef"], false),
            (&["Bearer wrong"], false),
            (&["Bearer 0123456789abcde"], false),
            (&["Bearer 0123456789abcdef0"], false),
            (&["Bearer 123456789abcdef"], false),
            (&["Bearer 0123456789ABCDEF"], false),
            (&["Bearer 0123456789abcdef "], false),
            (&["Bearer 0123456789abcdef,"], false),
            (&["Bearer \"0123456789abcdef\""], false),
            (&["Bearer token=0123456789abcdef"], false),
            (&["Basic 0123456789abcdef"], false),
            (&["Basic MDEyMzQ1Njc4OWFiY2RlZg=="], false),
            (&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"], false),
            (&["Bearer 0123456789abcdef", "Bearer wrong"], false),
            (&["Bearer wrong", "Bearer 0123456789abcdef"], false),
            (&["Bearer 0123456789abcdef", ""], false),
            (&["Bearer wrong, Bearer 0123456789abcdef"], false),
        ] {
            assert_eq!(gate.passes(&headers(lines)), passes, "{lines:?}");
        }
    }

    #[test]
    fn one_trailing_line_break_is_no_part_of_a_token() {
        for text in ["0123456789abcdef\n", "0123456789abcdef\r\n"] {
            let (gate, length) = TokenGate::fixed(&Secret::new(text)).unwrap();
            assert_eq!((gate.passes(&headers(&["Bearer 0123456789abcdef"])), length), (true, 16));
        }
        for text in ["a\n\n", "\n", "a b", "a\tb", "\u{e9}"] {
            TokenGate::fixed(&Secret::new(text)).unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotated_file_is_heard_within_a_second() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("old-old-old-old-old\n");
        let (gate, _) = TokenGate::file(file.path().to_str().unwrap()).unwrap();
        let passes = |token: &str| gate.passes(&headers(&[&format!("Bearer {token}")]));
        let later = || tokio::time::advance(LOOK_EVERY);
        assert!(passes("old-old-old-old-old"));
        write("old-old-old-old-old\r\n\nnew-new-new-new-new");
        later().await;
        assert!(passes("old-old-old-old-old") && passes("new-new-new-new-new"));
        write("new-new-new-new-new\n");
        later().await;
        assert!(!passes("old-old-old-old-old") && passes("new-new-new-new-new"));
        write("");
        later().await;
        assert!(!passes("new-new-new-new-new") && !passes(""));
        std::fs::remove_file(file.path()).unwrap();
        later().await;
        assert!(!passes("new-new-new-new-new"));
        write("new-new-new-new-new\n");
        later().await;
        assert!(passes("new-new-new-new-new"));
    }

    #[test]
    fn a_file_that_gives_no_token_is_told_at_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, part) in [
            ("", "holds no token"),
            ("\n\n", "holds no token"),
            ("two words\n", "holds a space"),
            (&"x\n".repeat(65), "at most 64"),
            (&"x".repeat(70_000), "more than 65536 bytes"),
        ] {
            std::fs::write(path, text).unwrap();
            let error = TokenGate::file(path).unwrap_err();
            assert!(error.contains(part) && !error.contains("two words"), "{error}");
        }
        assert!(TokenGate::file("/nowhere/token").unwrap_err().starts_with("cannot read /nowhere/token: "));
    }
}

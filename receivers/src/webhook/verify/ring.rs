//! The keys that are active now: written ones, and those of files that are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::{info, warn};

/// Active keys of one source at most. A rotation needs two; each costs a hash of the body.
pub(super) const KEYS_MAX: usize = 8;
/// The most bytes of a file with secrets.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// How often at most files are read again, as the token gate does: they are small, and reading them is surer than their times,
/// which some file systems keep too coarsely for two changes in a row.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keys by their place: the written ones first, then those of each file, line by line.
pub(super) struct Ring<K> {
    make: Make<K>,
    written: Vec<K>,
    files: Vec<PathBuf>,
    /// Without files never changed. Never held over an await.
    now: Mutex<Now<K>>,
}

/// Makes a key of a secret; the error says what is wrong with the secret and never quotes it.
pub(super) type Make<K> = Box<dyn Fn(&str) -> Result<Made<K>, &'static str> + Send + Sync>;

/// A key, and how many secret bytes went into it.
pub(super) struct Made<K> {
    pub(super) key: K,
    pub(super) bytes: usize,
}

/// What is active.
pub(super) struct Active<K> {
    pub(super) keys: Arc<[K]>,
    /// Whether a file could not be read, so that a key that should be here may not be.
    pub(super) incomplete: bool,
}

struct Now<K> {
    keys: Arc<[K]>,
    /// The digest of what was read of each file, or why it could not be.
    read: Vec<Result<[u8; 32], String>>,
    at: Instant,
}

impl<K: Clone> Ring<K> {
    /// A ring of written keys, and of keys that stand in files.
    pub(super) fn new(make: Make<K>, written: Vec<K>, files: Vec<PathBuf>) -> Self {
        let now = Mutex::new(Now { keys: written.clone().into(), read: Vec::new(), at: Instant::now() });
        let ring = Self { make, written, files, now };
        if !ring.files.is_empty() {
            ring.read_again(&mut ring.now.lock().unwrap_or_else(PoisonError::into_inner));
        }
        ring
    }

    /// The keys as they are now; those of files at most a second old. Without any there is nobody to believe.
    pub(super) fn active(&self) -> Active<K> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && now.at.elapsed() >= LOOK_EVERY {
            self.read_again(&mut now);
        }
        Active { keys: now.keys.clone(), incomplete: now.read.iter().any(Result::is_err) }
    }

    /// Files that cannot be used lose their keys: closed is the safe side, and who takes a file away means it.
    fn read_again(&self, now: &mut Now<K>) {
        now.at = Instant::now();
        let texts: Vec<_> = self.files.iter().map(|path| read(path)).collect();
        let mut keys = self.written.clone();
        let mut read = Vec::new();
        for (path, text) in self.files.iter().zip(&texts) {
            let made = text.clone().and_then(|text| {
                let made = keys_of(path, &text, &self.make)?;
                let room = KEYS_MAX.saturating_sub(keys.len());
                if made.len() > room {
                    return Err(format!(
                        "{}: {} secrets more than {KEYS_MAX} in all",
                        path.display(),
                        made.len() - room
                    ));
                }
                keys.extend(made.into_iter().map(|made| made.key));
                Ok(Sha256::digest(&text).into())
            });
            read.push(made);
        }
        for (path, (old, new)) in self.files.iter().zip(now.read.iter().zip(&read)) {
            match new {
                _ if old == new => {}
                Ok(_) => info!(file = %path.display(), "secrets read again"),
                Err(error) => warn!(%error, "its secrets are not believed until the file is right again"),
            }
        }
        if now.read != read {
            (now.keys, now.read) = (keys.into(), read);
        }
    }
}

impl<K> std::fmt::Debug for Ring<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("written", &self.written.len()).field("files", &self.files).finish_non_exhaustive()
    }
}

/// The keys that a file holds now.
///
/// # Errors
/// When it cannot be read, holds none, or one of them is wrong.
pub(super) fn look<K>(path: &Path, make: &Make<K>) -> Result<Vec<Made<K>>, String> {
    keys_of(path, &read(path)?, make)
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown} has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// One secret a line; empty lines are passed over, and nothing is trimmed but the line break.
fn keys_of<K>(path: &Path, text: &str, make: &Make<K>) -> Result<Vec<Made<K>>, String> {
    let shown = path.display();
    let keys = text.lines().filter(|line| !line.is_empty()).map(make).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| format!("{shown}: {error}"))?;
    if keys.is_empty() {
        return Err(format!("{shown} holds no secret"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make() -> Make<String> {
        Box::new(|secret| match secret {
            "bad" => Err("the secret is bad"),
            _ => Ok(Made { key: secret.to_owned(), bytes: secret.len() }),
        })
    }

    fn ring(written: &[&str], files: &[&Path]) -> Ring<String> {
        let written = written.iter().map(|&key| key.to_owned()).collect();
        Ring::new(make(), written, files.iter().map(|&path| path.to_owned()).collect())
    }

    fn keys(ring: &Ring<String>) -> (Vec<String>, bool) {
        let Active { keys, incomplete } = ring.active();
        (keys.to_vec(), incomplete)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotated_file_is_heard_within_a_second_and_a_broken_one_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("old\n");
        let ring = ring(&["written"], &[file.path()]);
        let all = |keys: &[&str]| std::iter::once("written").chain(keys.iter().copied()).map(str::to_owned).collect();
        assert_eq!(keys(&ring), (all(&["old"]), false));
        for (text, expected, incomplete) in [
            ("new\r\n\nold\n", &["new", "old"][..], false),
            ("new", &["new"], false),
            ("", &[], true),
            ("new\n", &["new"], false),
            ("new\nbad\n", &[], true),
            ("1\n2\n3\n4\n5\n6\n7\n", &["1", "2", "3", "4", "5", "6", "7"], false),
            ("1\n2\n3\n4\n5\n6\n7\n8\n", &[], true),
        ] {
            write(text);
            tokio::time::advance(LOOK_EVERY).await;
            assert_eq!(keys(&ring), (all(expected), incomplete), "{text:?}");
        }
        std::fs::remove_file(file.path()).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(keys(&ring), (all(&[]), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_breaks_takes_no_other_keys_along() {
        let files = [tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap()];
        std::fs::write(files[0].path(), "first\n").unwrap();
        std::fs::write(files[1].path(), "second\n").unwrap();
        let ring = ring(&[], &[files[0].path(), files[1].path()]);
        std::fs::write(files[0].path(), "x".repeat(70_000)).unwrap();
        assert_eq!(keys(&ring), (vec!["first".to_owned(), "second".to_owned()], false), "not yet a second old");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(keys(&ring), (vec!["second".to_owned()], true));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, part) in [
            (&b""[..], "holds no secret"),
            (b"\n\r\n", "holds no secret"),
            (b"good\nbad\n", "the secret is bad"),
            (b"\xff\xfe", "cannot read"),
            (&[b'x'; 70_000], "more than 65536 bytes"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let Err(error) = look(file.path(), &make()) else { panic!("{text:?}") };
            assert!(error.contains(part) && !error.contains("good"), "{error}");
        }
    }
}

//! A lock on a file: flock(2), which ends with the process that holds it, and only then.
//!
//! A holder that is frozen still holds it, so there is no lease and nothing that it could miss. The file carries the number of the last
//! term, which each holder raises before it reads anything.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline::BoxFuture;

use super::Lock;
use crate::sql_query::source::{ReadError, Reason};

/// A lock on the file at a path.
pub(crate) struct FileLock {
    path: PathBuf,
    held: Option<Arc<File>>,
}

/// Digits of a term in the file, and a line feed: one write that no crash cuts in two.
const LENGTH: usize = 21;

impl FileLock {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, held: None }
    }
}

impl Lock for FileLock {
    fn take(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async move {
            self.held = None;
            let path = self.path.clone();
            // A file on a network drive may take its time.
            let taken = tokio::task::spawn_blocking(move || take(&path)).await;
            let taken = taken.unwrap_or_else(|_| Err(trouble(&self.path, "the thread that locks it has ended")))?;
            Ok(taken.map(|(file, term)| {
                self.held = Some(Arc::new(file));
                term
            }))
        })
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let Some(file) = self.held.clone() else { return Err(trouble(&self.path, "it is not held")) };
            let path = self.path.clone();
            let checked = tokio::task::spawn_blocking(move || check(&file, &path)).await;
            let checked = checked.unwrap_or_else(|_| Err(trouble(&self.path, "the thread that looks at it has ended")));
            if checked.is_err() {
                self.held = None;
            }
            checked
        })
    }

    fn release(&mut self) -> BoxFuture<'_, ()> {
        // Closing it gives it back. The file stays: who removes it while another opens it makes two locks of one.
        Box::pin(async move { self.held = None })
    }
}

fn take(path: &Path) -> Result<Option<(File, u64)>, ReadError> {
    let told = |error: std::io::Error| trouble(path, error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(told)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(told(error)),
    }
    check(&file, path)?;
    let mut written = String::new();
    (&mut file).take(LENGTH as u64 + 1).read_to_string(&mut written).map_err(told)?;
    let last: Option<u64> = if written.is_empty() { Some(0) } else { written.trim_end().parse().ok() };
    // Somebody's file that was named by mistake must not be written over.
    let Some(last) = last.filter(|_| written.len() <= LENGTH) else {
        return Err(trouble(path, "it holds something else than a number; it is no lock of weir"));
    };
    let term = last.saturating_add(1);
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(format!("{term:020}\n").as_bytes())).map_err(told)?;
    file.sync_all().map_err(told)?;
    Ok(Some((file, term)))
}

/// Whether the path still leads to the file that is locked: a lock on a file that was removed keeps nobody out.
fn check(file: &File, path: &Path) -> Result<(), ReadError> {
    let told = |error: std::io::Error| trouble(path, error);
    let (held, there) = (file.metadata().map_err(told)?, std::fs::metadata(path).map_err(told)?);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if (held.dev(), held.ino()) != (there.dev(), there.ino()) {
            return Err(trouble(path, "it was replaced by another file"));
        }
    }
    #[cfg(not(unix))]
    let _ = (held, there);
    Ok(())
}

fn trouble(path: &Path, why: impl std::fmt::Display) -> ReadError {
    let why = format!("the lock {} cannot be used: {why} (singleton, lock_file)", path.display());
    ReadError::new(Reason::Unavailable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holds_it_and_terms_only_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let (mut one, mut two) = (FileLock::new(path.clone()), FileLock::new(path.clone()));
        assert_eq!(one.take().await, Ok(Some(1)));
        assert_eq!(two.take().await, Ok(None));
        assert_eq!(one.check().await, Ok(()));
        one.release().await;
        assert_eq!(two.take().await, Ok(Some(2)));
        drop(two);
        assert_eq!(one.take().await, Ok(Some(3)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "00000000000000000003\n");
    }

    #[tokio::test]
    async fn a_lock_that_was_removed_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let (mut one, mut two) = (FileLock::new(path.clone()), FileLock::new(path.clone()));
        assert_eq!(one.take().await, Ok(Some(1)));
        std::fs::remove_file(&path).unwrap();
        assert!(two.take().await.unwrap().is_some());
        let why = one.check().await.unwrap_err().why;
        assert!(why.contains("it was replaced by another file"), "{why}");
        assert_eq!(one.take().await, Ok(None));
    }

    #[tokio::test]
    async fn a_file_that_is_no_lock_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["dear diary", "1234567890123456789012", "12\nand more of it"] {
            std::fs::write(&path, text).unwrap();
            let why = FileLock::new(path.clone()).take().await.unwrap_err().why;
            assert!(why.contains("it is no lock of weir"), "{why}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let why = FileLock::new(folder.path().join("no/x")).take().await.unwrap_err().why;
        assert!(why.contains("No such file"), "{why}");
    }
}

//! The folder of a ledger: its names, its lock, and making renames durable.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pdata::Seed;

use crate::fault::Fault;
use crate::seize::seize;

/// The folder of one ledger, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

/// The database's name in its folder.
pub(super) const DATABASE: &str = "ledger.db";
/// A rebuilt database that waits to take the place of a damaged one. It stands under this name only when it is whole and on disk.
pub(super) const NEXT: &str = "ledger.db.next";
const BUILDING: &str = "ledger.db.building";
const SEED: &str = "ledger.seed";
const LOCK: &str = "ledger.lock";
/// Damaged files that are kept for whoever wants to look; older ones go.
const QUARANTINED_MAX: usize = 4;

impl Folder {
    /// Makes the folder if need be and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, Fault> {
        let fault =
            |what: &str, error: io::Error| Fault::new(format!("cannot {what} {}", path.display())).caused_by(error);
        if !path.is_dir() {
            // For its owner only: what is in it decides what counts.
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| fault("make the state folder", error))?;
            if let Some(parent) = path.parent() {
                sync_folder(parent).map_err(|error| fault("sync the parent of the state folder", error))?;
            }
        }
        let lock = File::options().create(true).append(true).open(path.join(LOCK));
        let lock = lock.map_err(|error| fault("open the lock in", error))?;
        match seize(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Fault::new(format!("the ledger in {} is in use by another process", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(fault("lock", error)),
        }
    }

    /// Whether another process holds the lock. A shared lock is tried, so that those who only ask do not meet.
    pub(super) fn is_held(path: &Path) -> bool {
        let lock = File::options().append(true).open(path.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Whether there is no database, or none with anything in it.
    pub(super) fn is_empty(&self) -> bool {
        std::fs::metadata(self.database()).map_or(0, |file| file.len()) == 0
    }

    /// The seed that stands beside the database, so that damage to one page does not take it.
    pub(super) fn seed(&self) -> Option<Seed> {
        let text = std::fs::read_to_string(self.path.join(SEED)).ok()?;
        let text = text.strip_suffix('\n')?;
        (text.len() == 32)
            .then(|| u128::from_str_radix(text, 16).ok())?
            .map(|bits| Seed::from_bytes(bits.to_be_bytes()))
    }

    /// Writes the seed beside the database, durably, unless it stands there already.
    pub(super) fn keep_seed(&self, seed: &Seed) -> io::Result<()> {
        if self.seed().as_ref() == Some(seed) {
            return Ok(());
        }
        let fresh = self.path.join("ledger.seed.new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(format!("{:032x}\n", u128::from_be_bytes(seed.bytes())).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, self.path.join(SEED))?;
        self.sync()
    }

    /// Where a rebuilt database is made, with what an earlier attempt left cleared away.
    pub(super) fn building(&self) -> io::Result<PathBuf> {
        let building = self.path.join(BUILDING);
        for suffix in ["", "-wal", "-shm", "-journal"] {
            remove(&with_suffix(&building, suffix))?;
        }
        Ok(building)
    }

    /// Declares the rebuilt database whole: from here on a crash ends with it in place.
    pub(super) fn declare(&self) -> io::Result<()> {
        let building = self.path.join(BUILDING);
        File::open(&building)?.sync_all()?;
        std::fs::rename(&building, self.path.join(NEXT))?;
        self.sync()
    }

    /// Puts a rebuilt database in place and the damaged one aside, if there is one that was declared whole. May be
    /// interrupted at any point and done again.
    pub(super) fn exchange(&self, stamp: u64) -> io::Result<bool> {
        let next = self.path.join(NEXT);
        if !next.exists() {
            return Ok(false);
        }
        let database = self.database();
        let aside = self.path.join(format!("{DATABASE}.corrupt-{stamp}"));
        // The log goes first: a database must never meet the log of another one.
        for suffix in ["-wal", ""] {
            let from = with_suffix(&database, suffix);
            if from.exists() {
                std::fs::rename(&from, with_suffix(&aside, suffix))?;
            }
        }
        remove(&with_suffix(&database, "-shm"))?;
        self.sync()?;
        std::fs::rename(&next, &database)?;
        self.sync()?;
        self.forget_old_quarantine()?;
        Ok(true)
    }

    /// After a failed fsync: the log's pages in memory count as written though they are not. A copy under a new inode makes the
    /// system write them all again.
    pub(super) fn rewrite_log(&self) -> io::Result<()> {
        let log = with_suffix(&self.database(), "-wal");
        let Ok(bytes) = std::fs::read(&log) else { return Ok(()) };
        let copy = with_suffix(&self.database(), "-wal.copy");
        let written = std::fs::write(&copy, bytes).and_then(|()| File::open(&copy)?.sync_all());
        if let Err(error) = written {
            // A half copy must not take the room that the disk may lack.
            remove(&copy)?;
            return Err(error);
        }
        std::fs::rename(&copy, &log)?;
        self.sync()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    fn forget_old_quarantine(&self) -> io::Result<()> {
        let prefix = format!("{DATABASE}.corrupt-");
        let mut kept: Vec<PathBuf> = std::fs::read_dir(&self.path)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .filter(|path| !path.to_string_lossy().ends_with("-wal"))
            .collect();
        kept.sort();
        let excess = kept.len().saturating_sub(QUARANTINED_MAX);
        for path in &kept[..excess] {
            remove(&with_suffix(path, "-wal"))?;
            remove(path)?;
        }
        Ok(())
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    // A relative path of one part has the empty path as its parent.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_where() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::lock(folder.path()).unwrap();
        let fault = Folder::lock(folder.path()).unwrap_err().to_string();
        assert_eq!(fault, format!("the ledger in {} is in use by another process", folder.path().display()));
        drop(first);
        Folder::lock(folder.path()).unwrap();
    }
}

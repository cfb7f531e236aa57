//! The folder of a spool: its names, its lock, and what makes names durable.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::crc;
use super::walk::read_at;
use crate::fault::Fault;
use crate::seize::seize;

/// The folder of one spool.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

/// The prefix of the partition that takes what has none of its own.
pub(super) const MAIN: &str = "main";
/// The prefix of dead letters.
pub(super) const DEAD: &str = "dead";
const LOCK: &str = "queue.lock";
const SEGMENT: &str = "seg";
const POSITION: &str = "pos";
/// What a fold writes, before it takes the place of a segment.
const FOLD: &str = "fold";
const PROBE: &str = "probe";
/// Damaged bytes that are kept for whoever wants to look: so many files of at most so many bytes.
const ASIDE_MAX: usize = 16;
const ASIDE_BYTES: u64 = 1 << 20;

impl Folder {
    /// Makes the folder if need be, for its owner only.
    pub(super) fn make(path: &Path) -> Result<Self, Fault> {
        let fault =
            |what: &str, error: io::Error| Fault::new(format!("cannot {what} {}", path.display())).caused_by(error);
        if !path.is_dir() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| fault("make the queue's folder", error))?;
            if let Some(parent) = path.parent() {
                sync(parent).map_err(|error| fault("sync the parent of the queue's folder", error))?;
            }
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Locks it for as long as the file lives; the system lets go when the process ends, however it ends.
    pub(super) fn lock(&self) -> Result<File, Fault> {
        let path = self.path.join(LOCK);
        let fault = |error: io::Error| Fault::new(format!("cannot lock {}", path.display())).caused_by(error);
        let lock = File::options().create(true).append(true).mode(0o600).open(&path).map_err(fault)?;
        match seize(&lock) {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                Err(Fault::new(format!("the queue in {} is in use by another process", self.path.display())))
            }
            Err(TryLockError::Error(error)) => Err(fault(error)),
        }
    }

    pub(super) fn segment(&self, prefix: &str, first: u64) -> PathBuf {
        self.path.join(format!("{prefix}-{first:020}.{SEGMENT}"))
    }

    /// Whether an agent has ever kept a spool here.
    pub(super) fn was_a_spool(&self) -> bool {
        self.path.join(LOCK).exists() || self.segments().is_ok_and(|segments| !segments.is_empty())
    }

    /// Damaged places that were put aside.
    pub(super) fn put_aside_count(&self) -> io::Result<u64> {
        let mut count = 0;
        for entry in std::fs::read_dir(&self.path)? {
            count += u64::from(entry?.path().extension().is_some_and(|extension| extension == "damaged"));
        }
        Ok(count)
    }

    /// All segments, as prefix and first number, in the order of their numbers.
    pub(super) fn segments(&self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let parts = name.to_str().and_then(|name| name.strip_suffix(".seg")?.rsplit_once('-'));
            if let Some((prefix, Ok(first))) = parts.map(|(prefix, first)| (prefix, first.parse())) {
                found.push((prefix.to_owned(), first));
            }
        }
        found.sort_unstable_by(|one, two| (one.1, &one.0).cmp(&(two.1, &two.0)));
        Ok(found)
    }

    /// A new segment.
    pub(super) fn create(&self, prefix: &str, first: u64) -> io::Result<File> {
        OpenOptions::new().append(true).read(true).create_new(true).mode(0o600).open(self.segment(prefix, first))
    }

    pub(super) fn delete(&self, prefix: &str, first: u64) -> io::Result<()> {
        match std::fs::remove_file(self.segment(prefix, first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes what is to take the place of a segment, and syncs it.
    pub(super) fn write_fold(&self, prefix: &str, first: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.segment(prefix, first).with_extension(FOLD);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    /// Puts what was written in the place of the segment.
    pub(super) fn take_fold(&self, prefix: &str, first: u64) -> io::Result<()> {
        let path = self.segment(prefix, first);
        std::fs::rename(path.with_extension(FOLD), path)
    }

    /// Deletes what a fold wrote and does not need. What stays is deleted by the next start.
    pub(super) fn drop_fold(&self, prefix: &str, first: u64) {
        std::fs::remove_file(self.segment(prefix, first).with_extension(FOLD)).ok();
    }

    /// Deletes what folds left that a crash broke off: all that they were to stand for is there.
    pub(super) fn drop_folds(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == FOLD) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// How far a partition is delivered. 0 when nobody has said so, or what is there is damaged: then more is sent again.
    pub(super) fn position(&self, prefix: &str) -> u64 {
        let mut bytes = [0; 12];
        let read = File::open(self.position_path(prefix)).and_then(|file| read_at(&file, &mut bytes, 0));
        let (seq, check) = bytes.split_at(8);
        match read {
            Ok(12) if crc(seq).to_le_bytes() == check => {
                u64::from_le_bytes(seq.try_into().expect("eight of twelve bytes"))
            }
            _ => 0,
        }
    }

    /// The highest position that stands here, whether or not anything is left of its partition: numbers must not begin anew behind it, or what
    /// gets them would pass for delivered.
    pub(super) fn last_position(&self) -> io::Result<u64> {
        let mut last = 0;
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let prefix = name.to_str().and_then(|name| name.strip_suffix(POSITION)?.strip_suffix('.'));
            last = last.max(prefix.map_or(0, |prefix| self.position(prefix)));
        }
        Ok(last)
    }

    /// Says how far a partition is delivered. In place and without an fsync: what a crash takes of it is sent again.
    pub(super) fn keep_position(&self, prefix: &str, seq: u64) -> io::Result<()> {
        let mut bytes = seq.to_le_bytes().to_vec();
        let check = crc(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        let file =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(self.position_path(prefix))?;
        file.write_all_at(&bytes, 0)
    }

    pub(super) fn forget_position(&self, prefix: &str) {
        // At worst an old position stands there, for numbers that do not come again: see `last_position`.
        std::fs::remove_file(self.position_path(prefix)).ok();
    }

    fn position_path(&self, prefix: &str) -> PathBuf {
        self.path.join(format!("{prefix}.{POSITION}"))
    }

    /// Whether the disk takes so many bytes and an fsync.
    pub(super) fn probe(&self, bytes: usize) -> io::Result<()> {
        let path = self.path.join(PROBE);
        let tried = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let tried = tried.and_then(|mut file| file.write_all(&vec![0; bytes]).and_then(|()| file.sync_all()));
        // Whatever came of it, it must not take the room that the disk may lack.
        let gone = std::fs::remove_file(&path);
        tried?;
        gone?;
        self.sync()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }
}

/// Keeps a copy of damaged bytes, the newest only.
pub(super) fn put_aside(folder: &Path, name: &str, file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from((to - from).min(ASIDE_BYTES)).unwrap_or(0)];
    let read = read_at(file, &mut bytes, from)?;
    let mut kept: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "damaged"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    kept.sort();
    let excess = (kept.len() + 1).saturating_sub(ASIDE_MAX);
    for (_, path) in &kept[..excess] {
        std::fs::remove_file(path)?;
    }
    let path = folder.join(format!("{name}.damaged"));
    let mut out = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    out.write_all(&bytes[..read])
}

fn sync(path: &Path) -> io::Result<()> {
    // A relative path of one part has the empty path as its parent.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

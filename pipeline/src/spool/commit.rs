//! The committer: takes all that waits, writes it, makes it durable with one fsync for each partition, answers.
//!
//! It runs where blocking is allowed, one at a time, and ends when nothing waits. While it syncs, the next group gathers.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError};

use config::Signal;
use tokio::sync::oneshot;

use super::folder::{DEAD, MAIN};
use super::frame::{self, Encoding, HEAD, Head};
use super::partition::{Partition, Segment};
use super::{Parcel, Shared};

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    file: File,
    len: u64,
}

/// A parcel on its way to the disk.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) partition: Arc<Partition>,
    pub(super) parcel: Parcel,
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

/// The most bytes that one group writes, unless one parcel has more.
const GROUP_BYTES: u64 = 8 << 20;

impl Parcel {
    /// Bytes of its frame.
    pub(super) fn frame(&self) -> u64 {
        (HEAD + self.note().len() + self.body.len()) as u64
    }

    fn note(&self) -> &str {
        let mut end = self.note.len().min(usize::from(u16::MAX));
        while !self.note.is_char_boundary(end) {
            end -= 1;
        }
        &self.note[..end]
    }

    /// Appends its frame.
    pub(super) fn put(&self, seq: u64, time: u64, sure: u64, out: &mut Vec<u8>) -> Head {
        let head = self.head(seq, time, sure);
        head.put(out);
        out.extend_from_slice(self.note().as_bytes());
        out.extend_from_slice(&self.body);
        head
    }

    fn head(&self, seq: u64, time: u64, sure: u64) -> Head {
        let note = self.note();
        Head {
            length: u32::try_from(note.len() + self.body.len()).unwrap_or(u32::MAX),
            seq,
            time: if self.time == 0 { time } else { self.time },
            sure: u32::try_from(sure).unwrap_or(u32::MAX),
            items: u32::try_from(self.items).unwrap_or(u32::MAX),
            signal: self.signal,
            encoding: self.encoding,
            note: u16::try_from(note.len()).expect("a note is cut there"),
            check: frame::crc_of(note.as_bytes(), &self.body),
        }
    }
}

impl Default for Parcel {
    fn default() -> Self {
        Self {
            signal: Signal::Metrics,
            encoding: Encoding::Identity,
            items: 0,
            time: 0,
            note: String::new(),
            body: bytes::Bytes::new(),
        }
    }
}

impl Shared {
    /// Does all that waits.
    pub(super) fn work(&self) {
        let _ending = Ending(self);
        loop {
            let (jobs, chores) = {
                let mut pending = self.pending();
                let mut bytes = 0;
                let mut fits = |job: &Job| {
                    bytes += job.parcel.frame();
                    bytes <= GROUP_BYTES
                };
                let count = pending.jobs.iter().take_while(|job| fits(job)).count().max(1).min(pending.jobs.len());
                let jobs: Vec<_> = pending.jobs.drain(..count).collect();
                let chores = std::mem::take(&mut pending.chores);
                if jobs.is_empty() && chores.is_empty() {
                    pending.running = false;
                    pending.began = None;
                    return;
                }
                pending.began = (!jobs.is_empty()).then(|| self.clock.now());
                (jobs, chores)
            };
            self.commit(jobs);
            for partition in chores {
                self.tidy(&partition);
            }
        }
    }

    fn commit(&self, jobs: Vec<Job>) {
        let mut groups: Vec<(Arc<Partition>, Vec<Job>)> = Vec::new();
        for job in jobs {
            match groups.iter_mut().find(|(partition, _)| Arc::ptr_eq(partition, &job.partition)) {
                Some((_, group)) => group.push(job),
                None => groups.push((job.partition.clone(), vec![job])),
            }
        }
        for (partition, group) in groups {
            let bytes = group.iter().map(|job| job.parcel.frame()).sum();
            let outcome = self.write(&partition, &group, bytes);
            match &outcome {
                Ok(()) => {
                    self.telemetry.commits.add(1);
                    if partition.prefix != DEAD {
                        self.telemetry.stored_batches.add(group.len() as u64);
                        self.telemetry.stored_items.add(group.iter().map(|job| job.parcel.items).sum());
                    }
                }
                Err(error) => {
                    self.telemetry.failed.add(1);
                    partition.release(bytes);
                    self.failed(error, bytes);
                }
            }
            for job in group {
                // Who does not wait any more has given up; what he sent is on disk all the same.
                job.answer.send(outcome.as_ref().copied().map_err(ToString::to_string)).ok();
            }
        }
    }

    fn write(&self, partition: &Partition, group: &[Job], bytes: u64) -> io::Result<()> {
        let mut writing = partition.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.as_ref().is_some_and(|active| self.is_full(partition, active.len)) {
            partition.close_newest();
            *writing = None;
        }
        let seq = self.next_seq(group.len());
        let time = self.clock.wall().0;
        let mut buffer = if writing.is_some() { Vec::new() } else { frame::header(&partition.key) };
        let header = buffer.len() as u64;
        // Of a new file nothing is sure, its header neither.
        let sure = writing.as_ref().map_or(0, |active| active.len);
        buffer.reserve(usize::try_from(bytes).unwrap_or(0));
        let mut heads = Vec::with_capacity(group.len());
        for (job, seq) in group.iter().zip(seq..) {
            heads.push(job.parcel.put(seq, time, sure, &mut buffer));
        }
        match writing.take() {
            Some(mut active) => {
                let written = active.file.write_all(&buffer).and_then(|()| active.file.sync_data());
                if let Err(error) = written {
                    // The system may count pages as written that are not: nothing more goes into this file. What is in it beyond
                    // the last good fsync was not answered for.
                    active.file.set_len(active.len).ok();
                    partition.close_newest();
                    return Err(error);
                }
                active.len += bytes;
                partition.wrote(None, &heads, bytes, active.len);
                *writing = Some(active);
            }
            None => {
                let file = self.begin(partition, seq, &buffer).inspect_err(|_| {
                    // Half a file is of no use; if it cannot be deleted now, the next start ignores it.
                    self.folder.delete(&partition.prefix, seq).ok();
                })?;
                partition.wrote(Some(Segment::new(seq, header)), &heads, bytes, header + bytes);
                *writing = Some(Active { file, len: header + bytes });
            }
        }
        Ok(())
    }

    fn begin(&self, partition: &Partition, first: u64, buffer: &[u8]) -> io::Result<File> {
        if partition.prefix == DEAD {
            self.make_room_for_the_dead(partition, buffer.len() as u64);
        }
        let mut file = self.folder.create(&partition.prefix, first)?;
        file.write_all(buffer)?;
        file.sync_data()?;
        // Without this the file could be gone after a power failure, whatever is in it.
        self.folder.sync()?;
        Ok(file)
    }

    /// Segments are small against the bound, so that room comes back bit by bit; one of which everything is delivered is given up
    /// sooner, since nothing in it is of use.
    fn is_full(&self, partition: &Partition, len: u64) -> bool {
        let full = segment_bytes(partition.limit, self.options.fold);
        len >= full || (len >= full / 4 && partition.fill().batches == 0)
    }

    fn make_room_for_the_dead(&self, partition: &Partition, bytes: u64) {
        while partition.fill().bytes + bytes > partition.limit {
            let Some(segment) = partition.evict() else { return };
            self.telemetry.dead_dropped.add(segment.items);
            self.delete(partition, &segment);
        }
    }

    /// Deletes what is delivered, and says how far that is.
    fn tidy(&self, partition: &Partition) {
        let finished = partition.finished();
        for segment in &finished {
            self.delete(partition, segment);
        }
        if !finished.is_empty() && partition.prefix != MAIN && partition.fill().bytes == 0 {
            self.end_names();
        }
        if let Some(delivered) = partition.position() {
            match self.folder.keep_position(&partition.prefix, delivered) {
                Ok(()) => partition.position_saved(delivered),
                Err(error) => {
                    tracing::debug!(%error, "the queue's position is not kept; after a crash more is sent again")
                }
            }
        }
    }

    fn delete(&self, partition: &Partition, segment: &Segment) {
        match self.folder.delete(&partition.prefix, segment.first) {
            Ok(()) => partition.deleted(segment),
            // It goes on counting as used, which it is; the next start tries again.
            Err(error) => tracing::warn!(%error, "cannot delete a delivered part of the sending queue"),
        }
    }
}

/// Segments of a partition that may have so many bytes. Where what waits is folded they are small: the first and the last are out of
/// a fold's reach.
pub(super) fn segment_bytes(limit: u64, fold: bool) -> u64 {
    (limit / 16).clamp(64 << 10, if fold { 1 << 20 } else { 16 << 20 })
}

/// Whatever ends the committer, another may follow.
struct Ending<'s>(&'s Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut pending = self.0.pending();
            pending.running = false;
            pending.began = None;
        }
        self.0.rested.notify_waiters();
    }
}

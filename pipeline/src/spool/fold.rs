//! Folding: what waits is written anew, without what newer parcels have made needless.
//!
//! Segments that are closed, and that the reader has not come to, are sifted from the newest to the oldest, so that of every parcel it
//! is known what came after it. What is left of neighbours goes into one file, which is synced and then takes the name of the oldest of
//! them by a rename; the others are deleted when the rename is durable. Numbers stay with their parcels, so after a crash in between
//! a start finds the later files' parcels a second time, under numbers that it has seen, and passes them over.
//!
//! In memory stand one file that is written, one that is read, and what the [`Sieve`] remembers. What the reader has in hand, the
//! file it reads and the one that is being written are left alone.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Parcel;
use super::commit::segment_bytes;
use super::frame::{self, Encoding};
use super::partition::{Partition, Segment, State, Stored, stored};
use super::walk::{Step, Walk, payload};

/// Says what of the parcels that wait is still needed. It is shown them from the newest to the oldest.
pub trait Sieve: Send {
    /// What is needed of a parcel, when all that it was shown before comes after it.
    fn sift(&mut self, stored: &Stored) -> Sifted;

    /// Before the next parcel there is one that cannot be read.
    fn gap(&mut self);
}

/// What is needed of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sifted {
    /// All of it.
    Whole,
    /// So much.
    Part {
        /// How the body is compressed.
        encoding: Encoding,
        /// Points or records in it.
        items: u64,
        /// The body.
        body: bytes::Bytes,
    },
    /// None of it.
    Nothing,
}

/// What is left of some segments that follow each other, the oldest first.
#[derive(Default)]
struct Run {
    segments: VecDeque<Segment>,
    parcels: VecDeque<(u64, Parcel)>,
    /// Of the frames of these parcels.
    bytes: u64,
    /// Whether anything was left out.
    less: bool,
}

/// What a look at a segment gave.
enum Look {
    /// What is left of it.
    Left(Run),
    /// It is damaged. Whoever reads it will put the damage aside; until then nothing in it is touched.
    Damaged,
    /// The reader is through with it, or the fold is to end.
    Over,
}

/// Stops a fold when whoever waits for it is gone.
struct Leash(Arc<AtomicBool>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Partition {
    /// Whether so much has come since the last fold that another one pays. A fold reads all that waits: it is due when a file has come,
    /// and half as much as the last one left, so that what waits stays within one and a half of what a fold leaves, and over an
    /// outage of any length each byte is read about three times.
    #[must_use]
    pub fn is_ripe(&self) -> bool {
        let state = self.lock();
        let bytes = |folded: bool| -> u64 {
            state.behind_the_reader().filter(|segment| segment.folded == folded).map(|segment| segment.end).sum()
        };
        let fresh = bytes(false);
        fresh > 0 && fresh * 2 >= bytes(true) && self.shared.ailing().is_none()
    }

    /// Writes what waits anew without what `sieve` leaves out. Safe to drop: it then ends with the parcel it is at. One at a time in a
    /// spool.
    ///
    /// # Errors
    /// When the disk does not give or take something: then what is not folded stays as it is.
    pub async fn fold(self: &Arc<Self>, mut sieve: Box<dyn Sieve>) -> io::Result<()> {
        let turn = self.shared.folding.clone().lock_owned().await;
        let (partition, stop) = (self.clone(), Arc::<AtomicBool>::default());
        let leash = Leash(stop.clone());
        let folding = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            partition.fold_now(&mut *sieve, &stop)
        });
        let folded = folding.await.map_err(io::Error::other)?;
        drop(leash);
        folded.inspect_err(|_| self.shared.telemetry.fold_failures.add(1))
    }

    /// The same, where blocking is allowed.
    pub(super) fn fold_now(&self, sieve: &mut dyn Sieve, stop: &AtomicBool) -> io::Result<()> {
        let folded = self.fold_files(sieve, stop);
        // However far that came: what was left out must not come back when something newer has been delivered.
        folded.and(self.shared.folder.sync())
    }

    fn fold_files(&self, sieve: &mut dyn Sieve, stop: &AtomicBool) -> io::Result<()> {
        let candidates: Vec<_> = self.lock().behind_the_reader().cloned().collect();
        let most = segment_bytes(self.limit, true);
        let mut run = Run::default();
        for segment in candidates.into_iter().rev() {
            let older = match self.look(&segment, sieve, stop)? {
                Look::Left(older) if run.bytes + older.bytes <= most => {
                    run.put_before(older);
                    continue;
                }
                Look::Left(older) => older,
                Look::Damaged => {
                    sieve.gap();
                    self.lock().mark_folded(segment.first);
                    Run::default()
                }
                Look::Over => return Ok(()),
            };
            if !self.put_in_place(std::mem::replace(&mut run, older))? {
                return Ok(());
            }
        }
        self.put_in_place(run).map(drop)
    }

    /// Sifts one segment.
    fn look(&self, segment: &Segment, sieve: &mut dyn Sieve, stop: &AtomicBool) -> io::Result<Look> {
        let file = match File::open(self.path_of(segment.first)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Over),
            file => file?,
        };
        let mut heads = Vec::new();
        let mut walk = Walk::between(&file, segment.begin, segment.end);
        loop {
            match walk.step()? {
                Step::End => break,
                Step::Frame(head, at) => heads.push((head, at)),
                Step::Damaged { from, .. } if from < segment.sure => return Ok(Look::Damaged),
                Step::Damaged { .. } => {}
            }
        }
        let mut run = Run { segments: [segment.clone()].into(), ..Run::default() };
        for (head, at) in heads.into_iter().rev() {
            if stop.load(Ordering::Relaxed) || self.shared.closing.load(Ordering::Relaxed) {
                return Ok(Look::Over);
            }
            let Some(payload) = payload(&file, &head, at)? else { return Ok(Look::Damaged) };
            let stored = stored(&head, payload);
            let sifted = sieve.sift(&stored);
            run.put_first(stored, sifted);
        }
        Ok(Look::Left(run))
    }

    /// Puts what is left of some segments in their place. False when the reader has come to one of them: then they stay as they are.
    fn put_in_place(&self, run: Run) -> io::Result<bool> {
        let Some(first) = run.segments.front().map(|segment| segment.first) else { return Ok(true) };
        if run.segments.len() == 1 && !run.less {
            self.lock().mark_folded(first);
            return Ok(true);
        }
        let folder = &self.shared.folder;
        let fresh = run.segment(first, frame::header(&self.key).len() as u64);
        if fresh.is_some() {
            folder.write_fold(&self.prefix, first, &run.file(&self.key)).inspect_err(|_| {
                // It takes room; if it cannot be deleted now, the next start does.
                folder.drop_fold(&self.prefix, first);
            })?;
        }
        // From here to the end the reader stays where it is.
        let _front = self.front();
        if !self.lock().behind_the_reader().any(|segment| segment.first == first) {
            folder.drop_fold(&self.prefix, first);
            return Ok(false);
        }
        let kept = usize::from(fresh.is_some());
        if kept == 1 {
            folder.take_fold(&self.prefix, first).inspect_err(|_| folder.drop_fold(&self.prefix, first))?;
        }
        let old: Vec<_> = run.segments.into();
        let folded = self.lock().replace(&old, fresh.clone());
        self.shared.telemetry.folded.add(folded);
        if let Some(fresh) = &fresh {
            self.grew(fresh.end);
            self.deleted(&old[0]);
        }
        // What the new file stands for goes only when no crash can take its name away again.
        if kept == 1 && old.len() > 1 {
            folder.sync()?;
        }
        for segment in &old[kept..] {
            // What cannot be deleted goes on counting as used; the next start tries again.
            folder.delete(&self.prefix, segment.first)?;
            self.deleted(segment);
        }
        Ok(true)
    }
}

impl Run {
    fn put_first(&mut self, stored: Stored, sifted: Sifted) {
        let Stored { seq, time, signal, encoding, items, note, body } = stored;
        let whole = Parcel { signal, encoding, items, time, note, body };
        self.less |= sifted != Sifted::Whole;
        let parcel = match sifted {
            Sifted::Whole => whole,
            Sifted::Part { encoding, items, body } => Parcel { encoding, items, body, ..whole },
            Sifted::Nothing => return,
        };
        self.bytes += parcel.frame();
        self.parcels.push_front((seq, parcel));
    }

    fn put_before(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.segments.extend(newer.segments);
        self.parcels.extend(newer.parcels);
        self.bytes += newer.bytes;
        self.less |= newer.less;
    }

    /// The segment that takes the place of all; none when nothing is left.
    fn segment(&self, first: u64, header: u64) -> Option<Segment> {
        let ((_, oldest), (last, _)) = (self.parcels.front()?, self.parcels.back()?);
        let end = header + self.bytes;
        Some(Segment {
            end,
            sure: end,
            last: *last,
            batches: self.parcels.len() as u64,
            items: self.parcels.iter().map(|(_, parcel)| parcel.items).sum(),
            oldest: oldest.time,
            closed: true,
            folded: true,
            ..Segment::new(first, header)
        })
    }

    /// The bytes of its file. All of it is synced before it gets its name: whatever is broken in it later is damage.
    fn file(&self, key: &str) -> Vec<u8> {
        let mut out = frame::header(key);
        let end = out.len() as u64 + self.bytes;
        for (seq, parcel) in &self.parcels {
            parcel.put(*seq, 0, end, &mut out);
        }
        out
    }
}

impl State {
    /// The closed segments that the reader has not come to, the oldest first.
    fn behind_the_reader(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().skip_while(|segment| segment.passed).skip(1).filter(|segment| segment.closed)
    }

    fn mark_folded(&mut self, first: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.first == first) {
            segment.folded = true;
        }
    }

    /// Puts one segment, or none, in the place of some, and gives how many items that costs.
    fn replace(&mut self, old: &[Segment], fresh: Option<Segment>) -> u64 {
        let place = self.segments.iter().position(|segment| segment.first == old[0].first);
        let place = place.expect("segments behind the reader stay");
        let (mut batches, mut items) = (0, 0);
        for segment in self.segments.drain(place..place + old.len()) {
            batches += segment.batches;
            items += segment.items;
        }
        let (kept_batches, kept_items) = fresh.as_ref().map_or((0, 0), |fresh| (fresh.batches, fresh.items));
        self.batches -= batches - kept_batches;
        self.items -= items - kept_items;
        if let Some(fresh) = fresh {
            self.segments.insert(place, fresh);
        }
        items - kept_items
    }
}

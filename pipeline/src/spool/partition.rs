//! One partition: parcels in the order they came, in segments of their own.
//!
//! Three parties touch it: whoever stores takes room, the committer writes and deletes, one reader takes parcels out and says how
//! far it has come. The state under the lock is small and no file is touched while it is held.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use config::Signal;
use tokio::sync::Notify;

use super::Shared;
use super::folder;
use super::frame::{Encoding, Head};
use super::walk::{Step, Walk, payload};

/// One partition of a spool, as its reader sees it.
#[derive(Debug)]
pub struct Partition {
    pub(super) shared: Arc<Shared>,
    /// What all its files begin with.
    pub(super) prefix: String,
    pub(super) key: String,
    pub(super) limit: u64,
    state: Mutex<State>,
    reading: Mutex<Option<(u64, Arc<File>)>>,
    /// Held by the reader while it reads, and by a fold while it puts files in each other's place.
    front: Mutex<()>,
    pub(super) writing: Mutex<Option<super::commit::Active>>,
    /// Who waits for room, in the order they came.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) arrived: Notify,
}

/// A parcel that was taken out.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number; rises within a partition.
    pub seq: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub time: u64,
    /// What it carries.
    pub signal: Signal,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// Points or records.
    pub items: u64,
    /// Why it was refused, for dead letters; else empty.
    pub note: String,
    /// The body.
    pub body: Bytes,
}

/// What is known of one segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The number in its name: not above that of its first parcel.
    pub(super) first: u64,
    /// Where the first frame stands that is not delivered, as found when the spool was opened.
    pub(super) begin: u64,
    /// Bytes of it that may be read.
    pub(super) end: u64,
    /// What is broken before this was answered for.
    pub(super) sure: u64,
    /// The number of its last parcel.
    pub(super) last: u64,
    /// Parcels and items that were not taken out yet.
    pub(super) batches: u64,
    pub(super) items: u64,
    /// When its first parcel was stored.
    pub(super) oldest: u64,
    /// Nothing is added any more.
    pub(super) closed: bool,
    /// The reader has left it behind.
    pub(super) passed: bool,
    /// A fold has been through it.
    pub(super) folded: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) segments: VecDeque<Segment>,
    /// Bytes of all segments, and of what is on its way into them.
    pub(super) bytes: u64,
    pub(super) reserved: u64,
    /// Not delivered.
    pub(super) batches: u64,
    pub(super) items: u64,
    /// Where the reader is in the first segment that it has not passed.
    pub(super) at: Option<u64>,
    pub(super) taken: u64,
    pub(super) out: VecDeque<Out>,
    pub(super) delivered: u64,
    /// As it stands in the file.
    pub(super) saved: u64,
    /// How often in a row it was found with nothing in it.
    pub(super) rests: u32,
    pub(super) gone: bool,
}

/// A parcel in the reader's hands.
#[derive(Debug)]
pub(super) struct Out {
    seq: u64,
    items: u64,
    time: u64,
    done: bool,
}

/// What is in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Parcels that are not delivered.
    pub batches: u64,
    /// Points and records in them.
    pub items: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest was stored, in nanoseconds since 1970; none when nothing waits.
    pub oldest: Option<u64>,
}

impl Segment {
    pub(super) fn new(first: u64, begin: u64) -> Self {
        Self {
            first,
            begin,
            end: begin,
            sure: begin,
            last: first,
            batches: 0,
            items: 0,
            oldest: 0,
            closed: false,
            passed: false,
            folded: false,
        }
    }
}

impl Partition {
    /// A partition with the segments that were found; `delivered` is the number of the last parcel that need not be sent.
    pub(super) fn new(
        shared: Arc<Shared>,
        prefix: String,
        key: String,
        limit: u64,
        segments: Vec<Segment>,
        delivered: u64,
    ) -> Self {
        let sum = |of: fn(&Segment) -> u64| segments.iter().map(of).sum();
        let state = State {
            bytes: sum(|segment| segment.end),
            batches: sum(|segment| segment.batches),
            items: sum(|segment| segment.items),
            segments: segments.into(),
            taken: delivered,
            delivered,
            saved: delivered,
            ..State::default()
        };
        Self {
            shared,
            prefix,
            key,
            limit,
            state: Mutex::new(state),
            reading: Mutex::default(),
            front: Mutex::default(),
            writing: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// What its parcels have in common; empty for the one that takes what has no partition of its own.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is in it.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let state = self.lock();
        let waiting = state.segments.iter().find(|segment| segment.batches > 0).map(|segment| segment.oldest);
        let oldest = state.out.front().map(|out| out.time).or(waiting);
        Fill { batches: state.batches, items: state.items, bytes: state.bytes, oldest }
    }

    /// Ends when there is something to take, or may be. Safe to drop.
    pub async fn arrival(&self) {
        let arrived = self.arrived.notified();
        if !self.has_more() {
            arrived.await;
        }
    }

    /// Takes the next parcels out, at least one if there is one, and no more once they have `bytes`. What is damaged is put aside
    /// and counted. Each is to be ended by [`done`](Self::done). One reader only.
    ///
    /// # Errors
    /// When the disk does not give them now. Nothing was taken then.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Vec<Stored>> {
        if !self.has_more() {
            return Ok(Vec::new());
        }
        let partition = self.clone();
        let taking = tokio::task::spawn_blocking(move || partition.take_now(bytes));
        taking.await.map_err(io::Error::other)?
    }

    /// The same, where blocking is allowed.
    pub(super) fn take_now(&self, most: usize) -> io::Result<Vec<Stored>> {
        let _front = self.front();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(place) = self.place() {
            let Place { first, at, end, sure, last } = place;
            let file = self.open(first)?;
            let mut walk = Walk::between(&file, at, end);
            loop {
                match walk.step()? {
                    Step::End => break,
                    Step::Damaged { from, to } if from < sure => self.put_aside(&file, first, from, to),
                    Step::Damaged { .. } => {}
                    // Twice on disk, since a fold was broken off by a crash.
                    Step::Frame(head, _) if head.seq <= self.lock().taken => {}
                    Step::Frame(head, at) => match payload(&file, &head, at)? {
                        None if at < sure => self.put_aside(&file, first, at, at + head.frame()),
                        None => {}
                        Some(payload) => {
                            bytes += payload.len();
                            taken.push(stored(&head, payload));
                            self.hand_out(&head, walk.at);
                            if bytes >= most {
                                return Ok(taken);
                            }
                        }
                    },
                }
                self.lock().at = Some(walk.at);
            }
            if !self.pass(first, last) {
                break;
            }
        }
        Ok(taken)
    }

    /// The parcel with this number is where it was to go, or will never go.
    pub fn done(&self, seq: u64) {
        let mut state = self.lock();
        if let Some(out) = state.out.iter_mut().find(|out| out.seq == seq) {
            out.done = true;
        }
        while let Some(out) = state.out.pop_front_if(|out| out.done) {
            state.batches -= 1;
            state.items -= out.items;
            state.delivered = out.seq;
        }
        let finished = state.finished();
        drop(state);
        if finished {
            self.shared.chores(self);
        }
    }

    fn has_more(&self) -> bool {
        let state = self.lock();
        state.segments.iter().any(|segment| !segment.passed && (segment.closed || state.at_of(segment) < segment.end))
    }

    fn place(&self) -> Option<Place> {
        let state = self.lock();
        let segment = state.segments.iter().find(|segment| !segment.passed)?;
        let Segment { first, end, sure, last, .. } = *segment;
        Some(Place { first, at: state.at.unwrap_or(segment.begin), end, sure, last })
    }

    fn hand_out(&self, head: &Head, at: u64) {
        let mut state = self.lock();
        let items = u64::from(head.items);
        state.out.push_back(Out { seq: head.seq, items, time: head.time, done: false });
        (state.taken, state.at) = (head.seq, Some(at));
        if let Some(segment) = state.segments.iter_mut().find(|segment| !segment.passed) {
            segment.batches = segment.batches.saturating_sub(1);
            segment.items = segment.items.saturating_sub(items);
        }
    }

    /// Leaves a segment behind when nothing will be added to it. What it should have held and did not is damage.
    fn pass(&self, first: u64, last: u64) -> bool {
        let mut state = self.lock();
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.first == first) else { return true };
        if segment.last != last {
            // Written to since it was looked at.
            return true;
        }
        if !segment.closed {
            return false;
        }
        segment.passed = true;
        let (batches, items) = (std::mem::take(&mut segment.batches), std::mem::take(&mut segment.items));
        state.batches -= batches;
        state.items -= items;
        state.at = None;
        let finished = state.finished();
        drop(state);
        self.shared.telemetry.damaged_items.add(items);
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if finished {
            self.shared.chores(self);
        }
        true
    }

    /// A segment that the disk refuses to give is left behind, with all that is in it; its file is kept under another name.
    pub fn give_up_segment(&self) {
        let _front = self.front();
        let Some(Place { first, .. }) = self.place() else { return };
        self.shared.telemetry.damaged.add(1);
        let path = self.path_of(first);
        std::fs::rename(&path, path.with_extension("unreadable")).ok();
        let mut state = self.lock();
        let last = state.segments.iter_mut().find(|segment| segment.first == first).map(|segment| {
            segment.closed = true;
            segment.last
        });
        drop(state);
        if let Some(last) = last {
            *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.pass(first, last);
        }
    }

    fn put_aside(&self, file: &File, first: u64, from: u64, to: u64) {
        self.shared.telemetry.damaged.add(1);
        let name = format!("{}-{first}-{from}", self.prefix);
        tracing::error!(file = %self.path_of(first).display(), from, to, "damage in the sending queue: put aside, the rest goes on");
        if let Err(error) = folder::put_aside(&self.shared.folder.path, &name, file, from, to) {
            tracing::warn!(%error, "cannot put the damaged bytes aside");
        }
    }

    fn open(&self, first: u64) -> io::Result<Arc<File>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = reading.as_ref().filter(|(open, _)| *open == first) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(self.path_of(first))?);
        *reading = Some((first, file.clone()));
        Ok(file)
    }

    pub(super) fn path_of(&self, first: u64) -> PathBuf {
        self.shared.folder.segment(&self.prefix, first)
    }

    pub(super) fn front(&self) -> MutexGuard<'_, ()> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the reader is.
struct Place {
    first: u64,
    at: u64,
    end: u64,
    sure: u64,
    last: u64,
}

impl State {
    /// Whether the oldest segment holds nothing that is needed any more.
    pub(super) fn finished(&self) -> bool {
        let Some(segment) = self.segments.front() else { return false };
        segment.passed && self.out.front().is_none_or(|out| out.seq > segment.last)
    }

    fn at_of(&self, segment: &Segment) -> u64 {
        let current =
            self.segments.iter().find(|segment| !segment.passed).is_some_and(|one| one.first == segment.first);
        self.at.filter(|_| current).unwrap_or(segment.begin)
    }
}

pub(super) fn stored(head: &Head, payload: Vec<u8>) -> Stored {
    let mut body = Bytes::from(payload);
    let note = body.split_to(usize::from(head.note));
    Stored {
        seq: head.seq,
        time: head.time,
        signal: head.signal,
        encoding: head.encoding,
        items: u64::from(head.items),
        note: String::from_utf8_lossy(&note).into_owned(),
        body,
    }
}

//! What a folder holds when it is opened: which segments, what is in them, how far each partition is delivered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Shared;
use super::folder::{self, DEAD, Folder, MAIN};
use super::partition::{Partition, Segment};
use super::walk::{Step, Walk, key_of, payload};

/// One partition as it was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) key: Option<String>,
    pub(super) segments: Vec<Segment>,
    /// Segments in which nothing is left.
    pub(super) finished: Vec<u64>,
    pub(super) delivered: u64,
    /// The number of the last parcel that is whole.
    pub(super) last: u64,
    /// The highest number that was ever given, as far as the files tell: a parcel torn by a crash has one too.
    pub(super) highest: u64,
}

/// How well a scan looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Heads everywhere; payloads where a crash may have torn them, in the newest segment. The others are checked when they are read.
    Quick,
    /// Everything.
    Whole,
}

/// What is wrong in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) prefix: String,
    pub(super) first: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Scans all partitions, by prefix.
pub(super) fn scan(folder: &Folder, look: Look, wrong: &mut Vec<Wrong>) -> io::Result<BTreeMap<String, Found>> {
    let mut all: BTreeMap<String, Found> = BTreeMap::new();
    let segments = folder.segments()?;
    let newest: BTreeMap<&String, u64> = segments.iter().map(|(prefix, first)| (prefix, *first)).collect();
    for (prefix, first) in &segments {
        let found = all.entry(prefix.clone()).or_insert_with(|| {
            let delivered = folder.position(prefix);
            Found { delivered, last: delivered, highest: delivered, ..Found::default() }
        });
        let newest = newest.get(prefix) == Some(first);
        let file = match File::open(folder.segment(prefix, *first)) {
            // Delivered and deleted meanwhile by the agent that runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        if let Some((key, _)) = key_of(&file)? {
            found.key.get_or_insert(key);
        }
        found.highest = found.highest.max(*first);
        let scanned = scan_segment(&file, *first, found, newest || look == Look::Whole)?;
        for (from, to) in scanned.wrong {
            wrong.push(Wrong { prefix: prefix.clone(), first: *first, from, to });
        }
        if scanned.segment.batches == 0 {
            found.finished.push(*first);
        } else {
            found.segments.push(scanned.segment);
        }
    }
    Ok(all)
}

impl Shared {
    /// Takes over what was found: deletes what is of no use, and makes a partition of the rest.
    pub(super) fn take_in(self: &Arc<Self>, found: BTreeMap<String, Found>, wrong: &[Wrong]) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let mut deleted = false;
        for (prefix, Found { key, mut segments, finished, delivered, .. }) in found {
            for first in finished {
                // Deleted before a crash and back again, or cut off before anything was in it, or damaged from end to end: the
                // others are put aside when they are read.
                for Wrong { from, to, .. } in
                    wrong.iter().filter(|wrong| wrong.first == first && wrong.prefix == prefix)
                {
                    self.telemetry.damaged.add(1);
                    let path = self.folder.segment(&prefix, first);
                    let kept = File::open(path).and_then(|file| {
                        folder::put_aside(&self.folder.path, &format!("{prefix}-{first}-{from}"), &file, *from, *to)
                    });
                    kept.ok();
                }
                deleted |= self.folder.delete(&prefix, first).is_ok();
            }
            if prefix == DEAD {
                // Nobody reads them: all of it is kept until the bound.
                let limit = self.options.dead_bytes;
                let dead = Partition::new(self.clone(), prefix, String::new(), limit, segments, 0);
                partitions.dead = Some(Arc::new(dead));
                continue;
            }
            if segments.is_empty() {
                self.folder.forget_position(&prefix);
                continue;
            }
            segments.iter_mut().for_each(|segment| segment.closed = true);
            // What stands in it from an earlier life may have any key.
            if prefix == MAIN && self.options.max_partitions > 0 {
                self.mixed.store(true, Ordering::Relaxed);
            }
            self.telemetry.replayed_items.add(segments.iter().map(|segment| segment.items).sum());
            self.grow(segments.iter().map(|segment| segment.end).sum());
            let (key, limit) = (key.unwrap_or_default(), self.limit_of(&prefix));
            let partition = Partition::new(self.clone(), prefix.clone(), key, limit, segments, delivered);
            partitions.live.insert(prefix, Arc::new(partition));
        }
        if deleted {
            self.end_names();
        }
    }

    /// Makes it durable that files are gone. A partition that came back with a power failure would take what comes of its key, before what
    /// waits of it in the common one.
    pub(super) fn end_names(&self) {
        if let Err(error) = self.folder.sync() {
            tracing::warn!(%error, "deleted parts of the sending queue may come back after a power failure");
        }
    }
}

struct Scanned {
    segment: Segment,
    wrong: Vec<(u64, u64)>,
}

fn scan_segment(file: &File, first: u64, found: &mut Found, payloads: bool) -> io::Result<Scanned> {
    let mut walk = Walk::new(file)?;
    let mut segment = Segment::new(first, walk.at);
    let mut odd = Vec::new();
    segment.closed = true;
    loop {
        match walk.step()? {
            Step::End => break,
            Step::Damaged { from, to } => odd.push((from, to)),
            Step::Frame(head, at) => {
                segment.sure = segment.sure.max(u64::from(head.sure));
                // Of a torn parcel the head may stand. A later start that does not look at payloads takes its number for a parcel's: no
                // other may have it.
                found.highest = found.highest.max(head.seq);
                if payloads && payload(file, &head, at)?.is_none() {
                    odd.push((at, at + head.frame()));
                    continue;
                }
                segment.end = walk.at;
                if head.seq <= found.last {
                    if segment.batches == 0 {
                        segment.begin = walk.at;
                    }
                    continue;
                }
                found.last = head.seq;
                segment.last = head.seq;
                if segment.batches == 0 {
                    segment.oldest = head.time;
                }
                segment.batches += 1;
                segment.items += u64::from(head.items);
            }
        }
    }
    // All that is broken before this was on disk when something after it was written.
    let sure = segment.sure;
    segment.end = segment.end.max(odd.iter().filter(|(from, _)| *from < sure).map(|(_, to)| *to).max().unwrap_or(0));
    let wrong = odd.into_iter().filter(|(from, _)| *from < sure).collect();
    Ok(Scanned { segment, wrong })
}
